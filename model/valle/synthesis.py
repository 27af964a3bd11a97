"""Speaking: many texts and prompts at once, each row as if it were alone.

What a row says does not depend on its neighbours. A row that says nothing, or does not
end, is a result too. Zero-shot speech and continuation are one call: in the one the
phones are the prompt's and then the text's, in the other they are the whole transcript
of the utterance that the prompt begins, and in both the AR says every new frame.
Source: VALL-E (arXiv:2301.02111), section 4.3.

Shapes: T frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.cpu import onednn
from model.valle.ar import AR
from model.valle.checkpoint import CheckpointError, load
from model.valle.decoding import FRAMES_PER_PHONE, Generated, Request, limit, say_first, say_rest
from model.valle.nar import NAR
from model.valle.precision import Precision, lighten
from model.valle.sampling import DEFAULT, PHONE_BY_PHONE, Sampling

__all__ = ["FRAMES_PER_PHONE", "Generated", "Pair", "Request", "Scorer", "best_of", "generate", "limit", "load_pair"]

Scorer = Callable[[Request, Generated], tuple[float, ...]]


@dataclass(frozen=True)
class Pair:
    """The two halves of VALL-E."""

    ar: AR
    nar: NAR
    codebooks: Tensor | None = None  # of the codec [8, 1024, D], for a NAR that chooses by them

    def __post_init__(self) -> None:
        onednn.hasten(self.nar)  # not the AR: one slot at a time is too little to lay weights out anew for

    @property
    def symbols(self) -> tuple[str, ...]:
        """The phone symbol table: id -> symbol."""
        return self.ar.settings.symbols

    @property
    def codec(self) -> str:
        """The identity of the codec whose codes it speaks."""
        return self.ar.settings.codec

    @property
    def sampling(self) -> Sampling:
        """How it speaks where nobody says how."""
        return PHONE_BY_PHONE if self.ar.settings.monotonic else DEFAULT

    def lighten(self, precision: Precision) -> "Pair":
        """The same with lighter weights (`model.valle.precision`)."""
        return replace(self, ar=lighten(self.ar, precision), nar=lighten(self.nar, precision))

    def beside(self, codebooks: Tensor) -> "Pair":
        """The same with the codebooks of the codec that it speaks for."""
        return replace(self, codebooks=codebooks)


def load_pair(ar: Path, nar: Path, device: str = "cpu", symbols: tuple[str, ...] | None = None) -> Pair:
    """Two checkpoints that belong together.

    Raises:
        CheckpointError: one cannot be used, or they differ in half, phones, codec or languages.
    """
    first, second = load(ar, device, symbols), load(nar, device, symbols)
    if not isinstance(first, AR):
        raise CheckpointError(f"{ar} is a NAR, and an AR is needed")
    if not isinstance(second, NAR):
        raise CheckpointError(f"{nar} is an AR, and a NAR is needed")
    for what in ("symbols", "codec", "languages"):
        if getattr(first.settings, what) != getattr(second.settings, what):
            raise CheckpointError(f"{ar} and {nar} do not belong together: their {what} differ")
    return Pair(first, second)


@torch.inference_mode()
def generate(
    pair: Pair,
    requests: Sequence[Request],
    sampling: Sampling | None = None,
    num_rows: int = 32,
    compile: bool = False,
) -> list[Generated]:
    """Speech for every request, in order.

    Args:
        pair: both halves, on one device.
        requests: texts and prompts; they may differ in length.
        sampling: of the AR; null for the pair's own. The NAR does as its settings say.
        num_rows: rows of a batch; it bounds memory and changes nothing else but speed.
        compile: lets torch.compile make the AR's step, which pays after hundreds of frames.
    """
    results: list[Generated | None] = [None] * len(requests)
    by_limit = sorted(range(len(requests)), key=lambda place: limit(requests[place]))
    for first in range(0, len(requests), num_rows):
        places = by_limit[first : first + num_rows]
        rows = [requests[place] for place in places]
        said = say_first(pair.ar, rows, sampling or pair.sampling, compile=compile)
        filled = say_rest(pair.nar, rows, [codes for codes, _ in said], pair.codebooks)
        for place, codes, (_, finished) in zip(places, filled, said, strict=True):
            results[place] = Generated(codes, finished)
    return [result for result in results if result is not None]


def best_of(
    pair: Pair,
    requests: Sequence[Request],
    num: int,
    scorer: Scorer,
    sampling: Sampling | None = None,
    num_rows: int = 32,
) -> list[Generated]:
    """For every request the best of `num` tries, the earliest of equals (VALL-E 2, arXiv:2406.05370, has five).

    The first try is what `generate` says; the others have seeds made from the request's own. The scorer gets the
    request and the speech, empty and endless ones too, and gives numbers that count in order, the larger the better:
    there `(min(similarity, 0.3), 1 - wer)`.
    """
    tries = [_try(request, number) for request in requests for number in range(num)]
    said = generate(pair, tries, sampling, num_rows)
    found = []
    for place, request in enumerate(requests):
        candidates = said[place * num : (place + 1) * num]
        scores = [scorer(request, candidate) for candidate in candidates]
        found.append(candidates[scores.index(max(scores))])
    return found


def _try(request: Request, number: int) -> Request:
    """The same with a seed of its own, from the second on."""
    if number == 0:
        return request
    return replace(request, seed=int(np.random.SeedSequence([request.seed, number]).generate_state(1)[0]))
