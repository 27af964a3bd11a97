"""Speaking: many texts and prompts at once, each row as if it were alone.

The AR reads one code a step for all rows together; a row leaves the batch when it
ends, and the rest go on without it. Every row has random numbers of its own, so
what it says does not depend on its neighbours. A row that says nothing, or does
not end, is a result too. Source: VALL-E (arXiv:2301.02111), section 4.3.

Shapes: B batch, P phones, Q = 8 codebooks, T frames, T' frames of the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.ar import AR, Reading
from model.batches import Batch, Example, collate
from model.checkpoint import CheckpointError, load
from model.nar import NAR, STAGES, Task
from model.sampling import DEFAULT, EMPTY, Sampling, sample
from model.settings import CODEBOOK_SIZE, FRAME_RATE, NUM_CODEBOOKS

FRAMES_PER_PHONE = 12  # twice what slow reading takes: a row that speaks on has lost its text


@dataclass(frozen=True)
class Request:
    """Something to say, and in which voice."""

    phones: NDArray[np.uint16]  # [P]: the prompt's, followed by those to say
    prompt_codes: NDArray[np.uint16]  # [8, T']
    seed: int
    max_frames: int | None = None  # of new speech; null for a limit from the number of phones


@dataclass(frozen=True)
class Generated:
    """What was said."""

    codes: NDArray[np.uint16]  # [8, T]: the new frames alone, none where the AR ended at once
    finished: bool  # the AR said something and ended it; false for a row that is empty or met its limit


@dataclass(frozen=True)
class Pair:
    """The two halves of VALL-E."""

    ar: AR
    nar: NAR

    @property
    def symbols(self) -> tuple[str, ...]:
        """The phone symbol table: id -> symbol."""
        return self.ar.settings.symbols

    @property
    def codec(self) -> str:
        """The identity of the codec whose codes it speaks."""
        return self.ar.settings.codec


def load_pair(ar: Path, nar: Path, device: str = "cpu", symbols: tuple[str, ...] | None = None) -> Pair:
    """Two checkpoints that belong together.

    Raises:
        CheckpointError: one cannot be used, or they differ in half, phones or codec.
    """
    first, second = load(ar, device, symbols), load(nar, device, symbols)
    if not isinstance(first, AR):
        raise CheckpointError(f"{ar} is a NAR, and an AR is needed")
    if not isinstance(second, NAR):
        raise CheckpointError(f"{nar} is an AR, and a NAR is needed")
    for what in ("symbols", "codec"):
        if getattr(first.settings, what) != getattr(second.settings, what):
            raise CheckpointError(f"{ar} and {nar} do not belong together: their {what} differ")
    return Pair(first, second)


def limit(request: Request) -> int:
    """The most new frames that a request may have."""
    if request.max_frames is not None:
        return request.max_frames
    expected: int = FRAMES_PER_PHONE * len(request.phones) - request.prompt_codes.shape[1]
    return max(expected, 0) + FRAME_RATE


@torch.inference_mode()
def generate(
    pair: Pair, requests: Sequence[Request], sampling: Sampling = DEFAULT, num_rows: int = 32
) -> list[Generated]:
    """Speech for every request, in order.

    Args:
        pair: both halves, on one device.
        requests: texts and prompts; they may differ in length.
        sampling: of the AR. The NAR takes the likeliest code.
        num_rows: rows of a batch; it bounds memory and changes nothing else but speed.
    """
    results: list[Generated | None] = [None] * len(requests)
    by_limit = sorted(range(len(requests)), key=lambda place: limit(requests[place]))
    for first in range(0, len(requests), num_rows):
        places = by_limit[first : first + num_rows]
        rows = [requests[place] for place in places]
        said = say_first(pair.ar, rows, sampling)
        filled = say_rest(pair.nar, rows, [codes for codes, _ in said])
        for place, codes, (_, finished) in zip(places, filled, said, strict=True):
            results[place] = Generated(codes, finished)
    return [result for result in results if result is not None]


def say_first(ar: AR, requests: Sequence[Request], sampling: Sampling) -> list[tuple[NDArray[np.uint16], bool]]:
    """The first codebook `[T]` of what each request says, and whether it ended by itself after something was said."""
    device = ar.code_embedding.weight.device
    batch = _collate(requests).to(device)
    limits = torch.tensor([limit(request) for request in requests])
    said = torch.full((len(requests), int(limits.max())), EMPTY, device=device)
    lengths = limits.clone()
    chances = torch.stack([_chances(request.seed, said.shape[1]) for request in requests]).to(device)

    rows = torch.arange(len(requests))[limits > 0]
    prompt = batch.codes[:, 0]
    logits, reading = ar.start(batch.phones, batch.phone_lengths, prompt, batch.code_lengths, said.shape[1])
    recent = _last(prompt, batch.code_lengths, sampling.window)
    logits, recent = _keep(rows.to(device), len(requests), logits, recent, reading)
    for frame in range(said.shape[1]):
        here = rows.to(device)
        codes = sample(logits, recent, chances[here, frame], sampling)
        goes_on = (codes != CODEBOOK_SIZE).cpu()
        lengths[rows[~goes_on]] = frame
        said[here, frame] = codes
        recent = torch.cat([recent, codes.unsqueeze(1)], dim=1)[:, 1:]
        left = (goes_on & (limits[rows] > frame + 1)).nonzero().squeeze(1)
        if len(left) == 0:
            break
        if len(left) < len(rows):
            rows, codes = rows[left], codes[left.to(device)]
            _, recent = _keep(left.to(device), len(here), logits, recent, reading)
        logits = ar.step(codes, reading)
    return [
        (codes[:length].astype(np.uint16), 0 < length < row_limit)
        for codes, length, row_limit in zip(said.cpu().numpy(), lengths.tolist(), limits.tolist(), strict=True)
    ]


def say_rest(nar: NAR, requests: Sequence[Request], first: Sequence[NDArray[np.uint16]]) -> list[NDArray[np.uint16]]:
    """All eight codebooks `[8, T]` for first codebooks `[T]`, in seven greedy passes."""
    device = nar.code_embeddings.device
    whole = [
        Example(request.phones, np.concatenate([request.prompt_codes, np.repeat(new[None], NUM_CODEBOOKS, 0)], axis=1))
        for request, new in zip(requests, first, strict=True)
    ]
    batch = collate(whole).to(device)
    prompt_lengths = torch.tensor([request.prompt_codes.shape[1] for request in requests], device=device)
    for stage in STAGES:
        task = Task(torch.full_like(prompt_lengths, stage), torch.zeros_like(prompt_lengths), prompt_lengths)
        likeliest = nar(batch.phones, batch.phone_lengths, batch.codes, batch.code_lengths, task).argmax(dim=-1)
        is_prompt = task.in_prompt(batch.codes.shape[2])
        batch.codes[:, stage - 1] = torch.where(is_prompt, batch.codes[:, stage - 1], likeliest)
    codes = batch.codes.cpu().numpy().astype(np.uint16)
    return [
        codes[row, :, request.prompt_codes.shape[1] :][:, : len(new)]
        for row, (request, new) in enumerate(zip(requests, first, strict=True))
    ]


def _collate(requests: Sequence[Request]) -> Batch:
    return collate([Example(request.phones, request.prompt_codes) for request in requests])


def _chances(seed: int, num_frames: int) -> Tensor:
    """Two random numbers for each frame `[T, 2]`, the same whatever the device and the neighbours."""
    return torch.from_numpy(np.random.default_rng(seed).random((num_frames, 2)))


def _last(codes: Tensor, lengths: Tensor, window: int) -> Tensor:
    """The last codes of each row `[B, K]` of codes `[B, T]`, `EMPTY` before its first."""
    places = lengths[:, None] - window + torch.arange(window, device=codes.device)
    if codes.shape[1] == 0:
        return torch.full_like(places, EMPTY)
    return codes.gather(1, places.clamp(min=0)).masked_fill(places < 0, EMPTY)


def _keep(rows: Tensor, num_rows: int, logits: Tensor, recent: Tensor, reading: Reading) -> tuple[Tensor, Tensor]:
    """Lets all rows but these leave the batch."""
    if len(rows) == num_rows:
        return logits, recent
    reading.keep(rows)
    return logits[rows], recent[rows]
