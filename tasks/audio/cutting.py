"""Where a recording is cut: at its pauses, and where there is none for too long, at its quietest place.

Cutting greedily, each utterance as long as it may be, leaves scraps behind. The pieces of a
passage are joined in the way that is cheapest as a whole, found from left to right.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Stretch = tuple[int, int]  # first sample, one past the last
Cut = tuple[int, int, str | None]  # the same, and the reason to drop it


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How recordings are cut; all in samples."""

    longest: int  # of an utterance
    shortest: int  # of an utterance that is kept
    pause: int  # a longer one is never inside an utterance
    margin: int  # of pause that stays with the speech on either side
    good: int  # shorter utterances are worth joining


def cut(speech: list[Stretch], length: int, limits: Limits, quietest: Callable[[int, int], int]) -> list[Cut]:
    """Cuts a recording of `length` samples so that each sample lies in exactly one cut, in order.

    Utterances are stretches of speech with the short pauses between them and a margin of pause around; what
    is left of the pauses is dropped as `silence`. Where the pieces of one passage can be joined in several
    ways, the way is taken that leaves the fewest short utterances and cuts at the longest pauses.

    Args:
        speech: voiced stretches in order, apart from each other.
        length: of the recording.
        limits: how long utterances and pauses may be.
        quietest: the best sample to cut at within a stretch, asked only where speech has no pause for too long.
    """
    pieces = [piece for stretch in speech for piece in _short_enough(stretch, limits, quietest)]
    utterances = [
        (passage[first][0], passage[last][1])
        for passage in _passages(pieces, limits.pause)
        for first, last in _joined(passage, limits)
    ]
    cuts: list[Cut] = []
    done = 0
    for start, end in _widened(utterances, length, limits.margin):
        if start > done:
            cuts.append((done, start, "silence"))
        cuts.append((start, end, "too_short" if end - start < limits.shortest else None))
        done = end
    return [*cuts, (done, length, "silence")] if done < length else cuts


def _short_enough(stretch: Stretch, limits: Limits, quietest: Callable[[int, int], int]) -> Iterator[Stretch]:
    """A voiced stretch in pieces that fit into an utterance with its margins, cut at its quietest places."""
    start, end = stretch
    room = limits.longest - 2 * limits.margin
    while end - start > room:
        even = (end - start) // -(-(end - start) // room)  # the length of equal pieces, as few as will do
        at = quietest(start + max(1, even // 2), start + min(room, even + even // 2))
        yield start, at
        start = at
    yield start, end


def _passages(pieces: list[Stretch], pause: int) -> Iterator[list[Stretch]]:
    """Pieces with no long pause between them."""
    passage: list[Stretch] = []
    for piece in pieces:
        if passage and piece[0] - passage[-1][1] > pause:
            yield passage
            passage = []
        passage.append(piece)
    if passage:
        yield passage


def _joined(passage: list[Stretch], limits: Limits) -> list[tuple[int, int]]:
    """The pieces of a passage that make up each utterance, as first and last index: the cheapest way to join them.

    An utterance costs the square of what it lacks to a good length, in shares of it, and up to 1/4 for the
    shortness of the pause that it ends at. Solved from left to right, for each piece the best way to end there.
    """
    room = limits.longest - 2 * limits.margin
    best = [0.0]  # cost of the first so many pieces
    origin = [0]  # where the utterance that ends there begins
    for last, (_, end) in enumerate(passage):
        gap = passage[last + 1][0] - end if last + 1 < len(passage) else limits.pause
        at_pause = 0.25 * (1 - min(gap, limits.pause) / max(1, limits.pause))
        ways = []
        for first in range(last, -1, -1):
            span = end - passage[first][0]
            if span > room and first < last:
                break
            lack = max(0.0, 1 - span / limits.good)
            ways.append((best[first] + lack * lack + at_pause, first))
        cost, first = min(ways)
        best.append(cost)
        origin.append(first)
    joined: list[tuple[int, int]] = []
    last = len(passage)
    while last > 0:
        joined.append((origin[last], last - 1))
        last = origin[last]
    return joined[::-1]


def _widened(utterances: list[Stretch], length: int, margin: int) -> Iterator[Stretch]:
    """Utterances with their margins; two that are near each other share the pause between them."""
    for i, (start, end) in enumerate(utterances):
        before = start if i == 0 else (start - utterances[i - 1][1]) // 2
        after = length - end if i + 1 == len(utterances) else -(-(utterances[i + 1][0] - end) // 2)
        yield start - min(margin, before), end + min(margin, after)
