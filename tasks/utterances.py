"""The table `utterances`: stretches of recordings, cut at pauses.

The surprising fact: nothing of a kept recording is lost. Every sample lies in exactly one row, the pauses in
rows dropped as `silence`, so the table can be read back into the recording, and hours add up.

    silence     a pause, or a recording without a voice     too_short   under `min_seconds`
    too_long    a recording that carries its own text,      unreadable  the audio changed or went away
                which cannot be cut without it

Source of the voiced stretches: the corpus (LibriLight's own voice activity), else silero-vad.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from tasks import voice
from tasks.audio import Unreadable, read
from tasks.stage import Resources
from warehouse.errors import Mistake
from warehouse.tables import RECORDINGS, UTTERANCES

Stretch = tuple[int, int]  # first sample, one past the last
Cut = tuple[int, int, str | None]  # the same, and the reason to drop it

_READ = ["recording_id", "speaker_id", "audio_path", "sample_rate", "num_samples", "speech", "text"]
_GOOD = 10.0  # seconds: pieces shorter than this are joined where they may be
_WINDOW = 0.02  # seconds over which loudness is measured to find the quietest place


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How recordings are cut; all in samples."""

    longest: int  # of an utterance
    shortest: int  # of an utterance that is kept
    pause: int  # a longer one is never inside an utterance
    margin: int  # of pause that stays with the speech on either side
    good: int  # shorter utterances are worth joining


@dataclass(frozen=True, kw_only=True)
class Utterances:
    """Cuts recordings into utterances, and gives each speaker to one split."""

    makes, takes = UTTERANCES, (RECORDINGS,)
    needs, version, gathers = Resources(), 1, False

    max_seconds: float = 20.0  # of an utterance, margins included
    max_text_seconds: float = 30.0  # of a recording that carries its own text, which stays whole
    min_seconds: float = 1.0  # a shorter utterance is dropped
    pause_seconds: float = 1.0  # a longer pause is never inside an utterance
    margin_seconds: float = 0.2  # of pause kept around speech, so that no word loses its edge
    dev_share: float = 0.02  # of speakers
    test_share: float = 0.02  # of speakers
    audio: Path = field(default=Path("audio"), compare=False)  # where the corpus lies

    def __post_init__(self) -> None:
        if self.max_seconds < 1 or self.max_seconds < 4 * self.margin_seconds:
            raise Mistake(f"utterances.max_seconds is {self.max_seconds:g}; it must be 1 or more, and four margins")

    def identity(self) -> dict[str, object]:
        """The weights that find speech where the corpus does not say."""
        return {"voice": voice.digest()}

    def __call__(self, recordings: ds.Dataset) -> pa.Table:
        """The rows of one shard of recordings; dropped recordings have none."""
        kept = recordings.to_table(columns=_READ, filter=ds.field("dropped").is_null())
        rows = [row for recording in kept.to_pylist() for row in self._rows(recording)]
        return pa.Table.from_pylist(rows, schema=UTTERANCES.schema)

    def _rows(self, recording: dict[str, Any]) -> Iterator[dict[str, Any]]:
        detail = None
        try:
            cuts = self._cuts(recording)
        except Unreadable as error:
            cuts, detail = [(0, recording["num_samples"], "unreadable")], str(error)
        rate = recording["sample_rate"]
        for start, end, dropped in cuts:
            yield {
                "utterance_id": f"{recording['recording_id']}#{start}-{end}",
                "recording_id": recording["recording_id"],
                "speaker_id": recording["speaker_id"],
                "start_sample": start,
                "end_sample": end,
                "sample_rate": rate,
                "seconds": (end - start) / rate,
                "split": split(recording["speaker_id"], self.dev_share, self.test_share),
                "dropped": dropped,
                "detail": detail,
            }

    def _cuts(self, recording: dict[str, Any]) -> list[Cut]:
        rate, length = recording["sample_rate"], recording["num_samples"]
        if recording["text"] is not None:
            return [(0, length, self._refusal(length / rate))]
        path = self.audio / recording["audio_path"]
        if recording["speech"] is None:
            speech = voice.stretches(path, rate, length)
        else:
            speech = [(stretch["start_sample"], stretch["end_sample"]) for stretch in recording["speech"]]
        return cut(speech, length, self._limits(rate), lambda start, stop: _quietest(path, rate, start, stop))

    def _refusal(self, seconds: float) -> str | None:
        """The reason to drop a recording that carries its own text."""
        if seconds > self.max_text_seconds:
            return "too_long"
        return "too_short" if seconds < self.min_seconds else None

    def _limits(self, rate: int) -> Limits:
        return Limits(
            longest=int(self.max_seconds * rate),
            shortest=int(self.min_seconds * rate),
            pause=int(self.pause_seconds * rate),
            margin=int(self.margin_seconds * rate),
            good=int(min(_GOOD, self.max_seconds / 2) * rate),
        )


def split(speaker_id: str, dev_share: float, test_share: float) -> str:
    """The split of a speaker: `test` where the hash of the id, as a number in 0..1, lies in the lowest `test_share`,
    `dev` where it lies in the highest `dev_share`, else `train`.

    It depends on nothing but the id, so a speaker never moves when others come, and changing one share
    leaves the other split as it is. Among few speakers a split may well be empty.
    """
    place = int.from_bytes(sha256(speaker_id.encode()).digest()[:8], "big") / 2**64
    if place < test_share:
        return "test"
    return "dev" if place >= 1 - dev_share else "train"


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


def _quietest(path: Path, rate: int, start: int, stop: int) -> int:
    """The sample in the middle of the quietest 20 ms of a stretch; the earliest where several are as quiet."""
    window = max(1, int(_WINDOW * rate))
    sound = read(path, rate, start, stop)
    if len(sound) <= window:
        return (start + stop) // 2
    energy = np.convolve(np.square(sound, dtype=np.float64), np.ones(window), "valid")
    return start + int(energy.argmin()) + window // 2
