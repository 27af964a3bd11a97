"""Decoding: the first codebook frame by frame, then the other seven at once.

The AR reads one code a step for all rows together, or one group of codes; a row that
ends leaves the batch, and the rest go on without it. Every row has random numbers of its
own. On a CPU no row need be worse for company or better for being
alone, down to the last bit, because rows attend apart and are multiplied by fours
(`model.valle.ar.EVEN_ROWS`): one by itself is summed in another order. Without that every logit
of 2,384 steps had other last bits in company, by 9e-6 at most. On an accelerator a
batch's rounding is its own.
Source: VALL-E (arXiv:2301.02111), section 4.3.

Shapes: B batch, P phones, Q = 8 codebooks, T frames, T' frames of the prompt, G codes of a group, K window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.cpu.threads import SMALL, one_thread
from model.valle import monotonic
from model.valle.ar import AR, NUM_CODES, Reading
from model.valle.batch import Batch, Example, collate
from model.valle.cache import Together
from model.valle.nar import NAR, STAGES, Task
from model.valle.sampling import EMPTY, Sampling, sample
from model.valle.settings import CODEBOOK_SIZE, FRAME_RATE, NUM_CODEBOOKS

FRAMES_PER_PHONE = 12  # twice what slow reading takes: a row that speaks on has lost its text

Codes = NDArray[np.uint16]


@dataclass(frozen=True)
class Request:
    """Something to say, and in which voice."""

    phones: Codes  # [P]: the prompt's, followed by those to say
    prompt_codes: Codes  # [8, T']
    seed: int
    max_frames: int | None = None  # of new speech; null for a limit from the number of phones
    language: str | None = None  # one that the halves know; null where they know none
    prompt_phones: int | None = None  # how many of the phones the prompt says; null where nobody knows


@dataclass(frozen=True)
class Generated:
    """What was said."""

    codes: Codes  # [8, T]: the new frames alone, none where the AR ended at once
    finished: bool  # the AR said something and ended it; false for a row that is empty or met its limit

    @property
    def empty(self) -> bool:
        """Nothing was said."""
        return not self.codes.size

    @property
    def endless(self) -> bool:
        """The row met its limit before it ended."""
        return not self.finished and not self.empty


def limit(request: Request) -> int:
    """The most new frames that a request may have."""
    if request.max_frames is not None:
        return request.max_frames
    expected: int = FRAMES_PER_PHONE * len(request.phones) - request.prompt_codes.shape[1]
    return max(expected, 0) + FRAME_RATE


class Spoken(NamedTuple):
    """What one step has said."""

    rows: list[int]  # the requests that are still speaking, or have just ended
    codes: Codes  # [rows, G]: the next frames of each, `<EOS>` behind the last


def speak(
    ar: AR, requests: Sequence[Request], sampling: Sampling, *, together: bool | None = None, compile: bool = False
) -> Iterator[Spoken]:
    """First codes of all requests, step by step, until each has ended or met its limit.

    Args:
        ar: the AR.
        requests: texts and prompts.
        sampling: how a code is chosen.
        together: which cache (`model.valle.cache`); null for the one that suits the device.
        compile: lets torch.compile make the step; it means rows together, in a batch whose shape seldom changes.
    """
    device, group, size = ar.code_embedding.weight.device, ar.settings.group, ar.settings.size
    limits = [limit(request) for request in requests]
    slots = [row for row in range(len(requests)) if limits[row] > 0]  # the request of each row of the batch
    going = set(slots)
    if not going:
        return
    num_groups = -(-max(limits) // group)
    chances = torch.stack([_chances(requests[row].seed, num_groups * group) for row in slots]).to(device)
    here = [requests[row] for row in slots]
    logits, recent, reading = _begin(ar, here, num_groups, sampling, True if compile else together)
    if reading.pointing is not None:  # nothing loops that goes through its phones, and a vowel is a code repeated
        sampling = replace(sampling, window=0)
    read = torch.compile(ar.read, dynamic=False) if compile else None
    for number in range(num_groups):
        codes = torch.empty(len(slots), group, dtype=torch.long, device=device)
        pointing, choices = reading.pointing, logits[:, 0, NUM_CODES:]
        logits = logits[..., :NUM_CODES] if pointing is None else pointing.barred(logits[..., :NUM_CODES])
        for place in range(group):
            next_logits = logits[:, place]
            if ar.settings.chained and place:
                next_logits = ar.chained(place, codes[:, place - 1], reading)
                next_logits = next_logits if pointing is None else pointing.barred(next_logits[:, None])[:, 0]
            codes[:, place] = sample(next_logits, recent, chances[:, number * group + place], sampling)
            recent = torch.cat([recent, codes[:, place : place + 1]], dim=1)[:, 1:]
        said = codes.cpu().numpy().astype(np.uint16)
        live = [place for place, row in enumerate(slots) if row in going]
        yield Spoken([slots[place] for place in live], said[live])
        ended = {slots[place] for place in live if CODEBOOK_SIZE in said[place]}
        going = {row for row in going if row not in ended and limits[row] > (number + 1) * group}
        if not going:
            return
        if pointing is not None:
            pointing.move(choices, number)
        kept = _compact(slots, going, is_static=isinstance(reading.cache, Together))
        if len(kept) < len(slots):
            reading.keep(kept)
            slots, codes, recent, chances = [slots[place] for place in kept], codes[kept], recent[kept], chances[kept]
        with one_thread(where=len(slots) * size.width * size.ffn_width < SMALL):
            logits = ar.step(codes, reading, read)


def _begin(
    ar: AR, requests: Sequence[Request], num_groups: int, sampling: Sampling, together: bool | None
) -> tuple[Tensor, Tensor, Reading]:
    """Logits `[B, G, V]` of the first new frames, the last codes of the prompts `[B, K]`, and what has been read."""
    device, group = ar.code_embedding.weight.device, ar.settings.group
    whole = [
        Example(request.phones, request.prompt_codes[:, request.prompt_codes.shape[1] % group :])
        for request in requests
    ]
    batch, languages = _batch(ar, requests, whole, device)
    prompt = batch.codes[:, 0]
    rows = (batch.phones, batch.phone_lengths, prompt, batch.code_lengths)
    chances = torch.stack([monotonic.chances(request.seed, num_groups) for request in requests]).to(device)
    pointing = ar.find(*rows, chances, [request.prompt_phones for request in requests])
    logits, reading = ar.start(*rows, num_groups, languages, together, pointing)
    return logits, _last(prompt, batch.code_lengths, sampling.window), reading


def _compact(slots: list[int], going: set[int], is_static: bool) -> list[int]:
    """The places of a batch that go on. A static batch halves, so that few shapes are met: ended rows ride along."""
    live = [place for place, row in enumerate(slots) if row in going]
    if not is_static:
        return live
    size = 1 << (len(live) - 1).bit_length()
    if size >= len(slots):
        return list(range(len(slots)))
    ended = [place for place in range(len(slots)) if place not in live]
    return sorted(live + ended[: size - len(live)])


def say_first(ar: AR, requests: Sequence[Request], sampling: Sampling, **how: bool) -> list[tuple[Codes, bool]]:
    """The first codebook `[T]` of what each request says, and whether it ended by itself after something was said.

    `how` is as in `speak`.
    """
    said: list[list[Codes]] = [[] for _ in requests]
    for rows, codes in speak(ar, requests, sampling, **how):
        for row, frames in zip(rows, codes, strict=True):
            said[row].append(frames)
    return [_whole(frames, limit(request)) for frames, request in zip(said, requests, strict=True)]


def to_end(codes: Codes, most: int) -> tuple[Codes, bool]:
    """Codes `[T]` up to `<EOS>` or the limit, and whether either has been met."""
    ends = np.flatnonzero(codes[:most] == CODEBOOK_SIZE)
    end = int(ends[0]) if len(ends) else most
    return codes[:end], len(ends) > 0 or len(codes) >= most


def _whole(groups: list[Codes], most: int) -> tuple[Codes, bool]:
    """Groups of codes as one line, and whether it ended by itself after something was said."""
    codes = np.concatenate([*groups, np.zeros(0, np.uint16)])
    said, _ = to_end(codes, most)
    return said, 0 < len(said) < min(len(codes), most)


def say_rest(
    nar: NAR, requests: Sequence[Request], first: Sequence[Codes], codebooks: Tensor | None = None
) -> list[Codes]:
    """All eight codebooks `[8, T]` for first codebooks `[T]`, in seven greedy passes; `codebooks` are for `choose`.

    Seven passes read everything anew, since every slot sees every other and the stage bends every norm: there is
    nothing to cache. On a CPU, where these passes are bound by arithmetic, each row runs by itself.
    """
    device = nar.code_embeddings.device
    if device.type == "cpu" and len(requests) > 1:
        return [say_rest(nar, [request], [new], codebooks)[0] for request, new in zip(requests, first, strict=True)]
    whole = [
        Example(request.phones, np.concatenate([request.prompt_codes, np.repeat(new[None], NUM_CODEBOOKS, 0)], axis=1))
        for request, new in zip(requests, first, strict=True)
    ]
    batch, languages = _batch(nar, requests, whole, device)
    prompts = torch.tensor([request.prompt_codes.shape[1] for request in requests], device=device)
    codes = fill(nar, batch, prompts, prompts, languages, codebooks).cpu().numpy().astype(np.uint16)
    return [
        codes[row, :, request.prompt_codes.shape[1] :][:, : len(new)]
        for row, (request, new) in enumerate(zip(requests, first, strict=True))
    ]


def fill(
    nar: NAR,
    batch: Batch,
    prompt_lengths: Tensor,
    known_lengths: Tensor,
    languages: Tensor | None,
    codebooks: Tensor | None = None,
) -> Tensor:
    """Codes `[B, 8, T]` of a batch, with codebooks 2 to 8 said anew behind the first `known_lengths` `[B]` frames."""
    codes = batch.codes.clone()
    frames = torch.arange(codes.shape[2], device=codes.device)
    is_known = frames < known_lengths[:, None]
    pointed = nar.follow(batch.phones, batch.phone_lengths, codes, batch.code_lengths)
    missed: Tensor | float = 0.0  # [B, T, D]: what the codes chosen so far lack of what was expected
    for stage in STAGES if codes.shape[2] else ():
        task = Task(torch.full_like(prompt_lengths, stage), torch.zeros_like(prompt_lengths), prompt_lengths)
        logits = nar(batch.phones, batch.phone_lengths, codes, batch.code_lengths, task, languages, pointed)
        chosen, missed = choose(nar, logits, stage, codebooks, missed)
        codes[:, stage - 1] = torch.where(is_known, codes[:, stage - 1], chosen)
    return codes


def choose(
    nar: NAR, logits: Tensor, stage: int, codebooks: Tensor | None, missed: Tensor | float = 0.0
) -> tuple[Tensor, Tensor | float]:
    """The codes `[B, T]` that logits `[B, T, V]` of codebook `stage` come to, in the way that the half's settings say.

    `expected` takes the entry of the codec's `codebooks` `[8, V, D]` that is nearest to the mean of all entries, each
    by its probability, and to what the codebooks below have `missed` `[B, T, D]` of theirs; what it misses itself comes
    with the codes, for the next. So it errs least in latents (minimum Bayes risk: Kumar and Byrne 2004), where the
    likeliest of a thousand codes that are about as likely is as far off as any.

    Raises:
        ValueError: they are needed and not given.
    """
    if nar.settings.choice == "likeliest":
        return logits.argmax(dim=-1), 0.0
    if codebooks is None:
        raise ValueError("this NAR chooses by the codec's codebooks: give the pair its codec, `Pair.beside(codec)`")
    entries = codebooks[stage - 1].to(logits.device)
    wanted = logits.float().softmax(dim=-1) @ entries + missed
    chosen = torch.cdist(wanted, entries.expand(len(logits), -1, -1)).argmin(dim=-1)
    return chosen, wanted - entries[chosen]


def _batch(
    half: AR | NAR, requests: Sequence[Request], whole: Sequence[Example], device: torch.device
) -> tuple[Batch, Tensor | None]:
    """Requests side by side, and their languages `[B]`, on a device."""
    spoken = [
        example._replace(language=half.settings.language_id(request.language))
        for example, request in zip(whole, requests, strict=True)
    ]
    batch = collate(spoken).to(device)
    return batch, batch.languages if half.settings.languages else None


def _chances(seed: int, num_frames: int) -> Tensor:
    """Two random numbers for each frame `[T, 2]`, the same whatever the device and the neighbours."""
    return torch.from_numpy(np.random.default_rng(seed).random((num_frames, 2)))


def _last(codes: Tensor, lengths: Tensor, window: int) -> Tensor:
    """The last codes of each row `[B, K]` of codes `[B, T]`, `EMPTY` before its first."""
    places = lengths[:, None] - window + torch.arange(window, device=codes.device)
    if codes.shape[1] == 0:
        return torch.full_like(places, EMPTY)
    return codes.gather(1, places.clamp(min=0)).masked_fill(places < 0, EMPTY)
