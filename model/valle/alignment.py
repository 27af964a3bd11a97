"""Which phone is said when: a hidden Markov model whose states are phones and whose output is the first codebook.

It is begun from phones of one length and made better by what it finds itself (flat start and Viterbi training, as a
recognizer's monophones are). All that it learns is one table, how likely each phone is to sound as each code, and a
pass over the speech of an hour takes seconds. VALL-E R (Han et al. 2024, arXiv:2406.07855, section 3.2) takes its
alignment from the Montreal Forced Aligner; here the tokens are enough.

Shapes: B batch, P phones, T frames, U steps of two frames, S states, N symbols, V codes.
"""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from model.valle.settings import CODEBOOK_SIZE

UNIT = 2  # frames of a step, 27 ms: the least that a phone lasts
MOST_MOVES = 2  # states that a step may go on by: to the next, and over a pause to the one behind it
PASSES = 6
_PRIOR = 200.0  # frames that a phone is thought to have been heard beforehand, as speech on the whole sounds
_PAUSES, _UNSAID = frozenset(" ,.?!;:—…"), frozenset('"()')


Spoken = tuple[Tensor, Tensor, Tensor, Tensor]  # phones [B, P], their lengths [B], codes [B, T], their lengths [B]


class States(NamedTuple):
    """What is said in order: a pause that may be none, the phones and the pauses between them, the end.

    Marks such as stress are no states, and pauses in a row are one. The end is state `lengths`, and never heard.
    """

    ids: Tensor  # int [B, S + 1, 3]: the symbol before, the symbol itself, and that of the next state
    places: Tensor  # int [B, S + 1]: where each stands among the phones
    pauses: Tensor  # bool [B, S + 1]: may be skipped
    lengths: Tensor  # int [B]


class Symbols(NamedTuple):
    """What a symbol table holds."""

    pauses: frozenset[int]
    marks: frozenset[int]  # said with their neighbour: stress, length, diacritics
    boundary: int
    end: int

    @staticmethod
    def of(table: Sequence[str]) -> "Symbols":
        """Those of a table of phone symbols; `end` is the id after the last."""
        marks = {
            place
            for place, symbol in enumerate(table)
            if symbol in _UNSAID or symbol.startswith("<") or all(unicodedata.category(s) in _MARKS for s in symbol)
        }
        pauses = frozenset(place for place, symbol in enumerate(table) if symbol in _PAUSES)
        return Symbols(pauses, frozenset(marks), min(pauses, default=0), len(table))


_MARKS = ("Lm", "Mn", "Sk")  # Unicode's modifier letters, combining marks and modifier symbols


def states(phones: Tensor, phone_lengths: Tensor, symbols: Symbols) -> States:
    """The states of rows of phones `[B, P]`."""
    rows = [_row(row[:length], symbols) for row, length in zip(phones.tolist(), phone_lengths.tolist(), strict=True)]
    most = max(len(row) for row in rows)
    filled = [row + [(symbols.end, symbols.end, row[-1][2], False)] * (most - len(row)) for row in rows]
    table = torch.tensor([[(before, itself, place, pause) for before, itself, place, pause in row] for row in filled])
    table = table.to(phones.device)
    following = torch.cat([table[:, 1:, 1], torch.full_like(table[:, :1, 1], symbols.end)], dim=1)
    lengths = torch.tensor([len(row) - 1 for row in rows], device=phones.device)
    return States(
        torch.stack([table[..., 0], table[..., 1], following], dim=-1), table[..., 2], table[..., 3].bool(), lengths
    )


def _row(phones: Sequence[int], symbols: Symbols) -> list[tuple[int, int, int, bool]]:
    """For each state of a row, and for its end: the symbol before it, itself, its place, whether it is a pause."""
    row, before = [(symbols.boundary, symbols.boundary, 0, True)], symbols.boundary
    for place, symbol in enumerate(phones):
        is_pause = symbol in symbols.pauses
        if symbol not in symbols.marks and not (is_pause and row[-1][3]):
            row.append((before, symbol, place, is_pause))
        before = symbol
    return [*row, (before, symbols.end, len(phones), False)]


def align(table: Tensor, states: States, codes: Tensor, code_lengths: Tensor, ends: Tensor | None = None) -> Tensor:
    """The state `[B, U]` of every step of `UNIT` frames, never falling, `S_b` behind a row's last.

    Args:
        table: `[N, V]`, log-likelihoods of codes.
        states: of the rows.
        codes: `[B, T]`.
        code_lengths: `[B]`.
        ends: `[B]`, the state that each row ends in, give or take a pause; null for the last. Below 0: anywhere.

    A row with more phones than steps has its states spread evenly.
    """
    size, num_steps, device = states.ids.shape[1], -(-codes.shape[1] // UNIT), codes.device
    if not num_steps:
        return torch.zeros_like(codes)
    ends = states.lengths - 1 if ends is None else ends
    steps = -(-code_lengths // UNIT)
    likely = _likely(table, states, codes, code_lengths)
    numbers = torch.arange(size, device=device)
    barred = torch.where(torch.roll(states.pauses, 1, 1) & (numbers > 1), 0.0, -1e9)  # two on: over a pause alone
    score = likely[:, 0].masked_fill(numbers >= MOST_MOVES, -1e9)  # the first pause, or the first phone
    taken = torch.zeros(num_steps, *score.shape, dtype=torch.uint8, device=device)
    last = score
    for step in range(1, num_steps):
        one = functional.pad(score, (1, 0), value=-1e9)[:, :-1]
        two = functional.pad(score, (2, 0), value=-1e9)[:, :size] + barred
        best = torch.maximum(torch.maximum(score, one), two)
        taken[step] = torch.where(best == score, 0, torch.where(best == one, 1, 2))
        score = best + likely[:, step]
        last = torch.where((steps - 1 == step)[:, None], score, last)
    return _back(taken, last, states, steps, ends)


def _likely(table: Tensor, states: States, codes: Tensor, code_lengths: Tensor) -> Tensor:
    """How likely each state sounds as each step, `[B, U, S + 1]`; the end is never heard."""
    inside = torch.arange(codes.shape[1], device=codes.device) < code_lengths[:, None]
    heard = table.T[codes] * inside[..., None]  # [B, T, N]
    heard = functional.pad(heard, (0, 1), value=-1e4)
    heard = functional.pad(heard, (0, 0, 0, -codes.shape[1] % UNIT))
    steps: Tensor = heard.reshape(len(heard), -1, UNIT, heard.shape[2]).sum(2)
    return steps.gather(2, states.ids[:, None, :, 1].expand(-1, steps.shape[1], -1))


def _back(taken: Tensor, last: Tensor, states: States, steps: Tensor, ends: Tensor) -> Tensor:
    """The best path `[B, U]` that ends where it may."""
    numbers = torch.arange(last.shape[1], device=last.device)
    anywhere = ends[:, None] < 0
    pause_behind = states.pauses & (numbers == ends[:, None] + 1)
    before_pause = (numbers == ends[:, None] - 1) & states.pauses.gather(1, ends.clamp(min=0)[:, None])
    here = anywhere | (numbers == ends[:, None]) | pause_behind | before_pause
    allowed = here & (numbers < states.lengths[:, None])
    final, state = last.masked_fill(~allowed, -2e9).max(dim=1)
    path = torch.empty(last.shape[0], len(taken), dtype=torch.long, device=last.device)
    here = state
    for step in range(len(taken) - 1, -1, -1):
        here = torch.where(steps - 1 == step, state, here)
        path[:, step] = torch.where(step < steps, here, states.lengths)
        here = here - taken[step].gather(1, here[:, None]).squeeze(1).long()
    return torch.where((final < -1e8)[:, None], _evenly(states, len(taken), steps), path)


def _evenly(states: States, num_steps: int, steps: Tensor) -> Tensor:
    """States `[B, U]` that last equally long each."""
    numbers = torch.arange(num_steps, device=steps.device)
    spread = numbers * states.lengths[:, None] // steps.clamp(min=1)[:, None]
    return torch.where(numbers < steps[:, None], spread, states.lengths[:, None])


def fit(batches: Callable[[], Iterable[Spoken]], symbols: Symbols, passes: int = PASSES) -> Tensor:
    """The table `[N, V]`, from speech that is gone over `passes` times.

    Args:
        batches: gives the same at each call.
        symbols: of the phones.
        passes: how often; the first takes all states to last equally long.
    """
    table: Tensor | None = None
    for _ in range(passes):
        counts = torch.zeros(symbols.end + 1, CODEBOOK_SIZE)
        for phones, phone_lengths, codes, code_lengths in batches():
            rows = states(phones, phone_lengths, symbols)
            if table is None:
                path = _evenly(rows, -(-codes.shape[1] // UNIT), -(-code_lengths // UNIT))
            else:
                path = align(table, rows, codes, code_lengths)
            said = rows.ids[..., 1].gather(1, path.repeat_interleave(UNIT, 1)[:, : codes.shape[1]])
            inside = torch.arange(codes.shape[1]) < code_lengths[:, None]
            counts.index_put_((said[inside], codes[inside]), torch.tensor(1.0), accumulate=True)
        table = _smooth(counts[: symbols.end])
    assert table is not None
    return table


def _smooth(counts: Tensor) -> Tensor:
    """Log-likelihoods of codes; those of a phone seldom heard are near those of all speech."""
    whole = counts.sum(0) + 1.0
    prior = _PRIOR * whole / whole.sum()
    return ((counts + prior) / (counts.sum(1, keepdim=True) + _PRIOR)).log()
