"""Long texts: cut at sentences, spoken with one voice, and joined with pauses.

A model speaks well as long as it has been trained to, 20 s here. A longer text is cut
behind sentences, and a sentence that is too long behind its clauses, or at last between
words. The surprising fact: the pieces are no sequence to the model. Each has the same
prompt and a seed of its own, so all are said at once, in one batch, and the voice cannot
drift from piece to piece as it does where each is the prompt of the next.

Shapes: P phones, N samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.decoding import Request

PHONES_PER_SECOND = 11  # symbols of slow reading, stresses and spaces between words among them; a quick reader says 13
MAX_PHONES = 20 * PHONES_PER_SECOND  # of prompt and piece together, what 20 s hold

SENTENCE_ENDS, CLAUSE_ENDS, BOUNDARY = ".?!…", ",;:—)", " "
FADE = 120  # samples, 5 ms at 24 kHz: a cut waveform would click

Waveform = NDArray[np.float32]  # [N], mono, in -1..1


@dataclass(frozen=True)
class Piece:
    """A part of a text, and the pause behind it."""

    phones: tuple[str, ...]
    pause: float  # seconds


def cut(phones: Sequence[str], most: int = MAX_PHONES) -> list[Piece]:
    """A text's phones as pieces of `most` phones at most, each as long as whole sentences, clauses or words allow.

    A word that is longer is cut where it must be. The spaces between the pieces are no part of them.
    """
    if most < 1:
        raise ValueError(f"a piece cannot have {most} phones")
    pieces: list[Piece] = []
    rest = _strip(phones)
    while len(rest) > most:
        place, pause = _place(rest, most)
        pieces.append(Piece(_strip(rest[:place]), pause))
        rest = _strip(rest[place:])
    return [*pieces, Piece(rest, 0.0)] if rest else pieces


def _place(phones: tuple[str, ...], most: int) -> tuple[int, float]:
    """Where the first piece ends, and how long the pause behind it is."""
    for ends, pause in ((SENTENCE_ENDS, 0.35), (CLAUSE_ENDS, 0.15), (BOUNDARY, 0.0)):
        places = [place + 1 for place in range(most) if phones[place] in ends]
        if places:
            return places[-1], pause
    return (most, 0.0) if phones[most] != BOUNDARY else (most + 1, 0.0)


def _strip(phones: Sequence[str]) -> tuple[str, ...]:
    """Phones without spaces at either end."""
    kept = [place for place, phone in enumerate(phones) if phone != BOUNDARY]
    return tuple(phones[kept[0] : kept[-1] + 1]) if kept else ()


def split(request: Request, prompt_phones: int, symbols: Sequence[str]) -> tuple[list[Request], list[float]]:
    """A request for a long text as requests for its pieces, and the pauses behind them in seconds.

    The first `prompt_phones` of its phones are the prompt's, and stand before every piece. Together with the
    prompt each fits what training saw. The first keeps the seed; the others have seeds made from it.
    """
    ids = {symbol: place for place, symbol in enumerate(symbols)}
    prompt = request.phones[:prompt_phones]
    pieces = cut([symbols[phone] for phone in request.phones[prompt_phones:]], max(MAX_PHONES - prompt_phones, 1))
    requests = []
    for number, piece in enumerate(pieces):
        phones = np.concatenate([prompt, np.array([ids[phone] for phone in piece.phones], np.uint16)])
        words = np.random.SeedSequence([request.seed, number]).generate_state(1)
        requests.append(replace(request, phones=phones, seed=int(words[0]) if number else request.seed))
    return requests, [piece.pause for piece in pieces]


def join(waveforms: Sequence[Waveform], pauses: Sequence[float], sample_rate: int) -> Waveform:
    """Waveforms `[N]` one after the other, with as many seconds of silence behind each, and no click at the seams."""
    parts: list[Waveform] = []
    for waveform, pause in zip(waveforms, pauses, strict=True):
        faded = waveform.astype(np.float32)
        size = min(FADE, len(faded) // 2)
        if size:
            slope = np.linspace(0, 1, size, dtype=np.float32)
            faded[:size] *= slope
            faded[-size:] *= slope[::-1]
        parts += [faded, np.zeros(round(pause * sample_rate), np.float32)]
    return np.concatenate([np.zeros(0, np.float32), *parts])
