"""The table `utterances`: stretches of recordings, cut at pauses.

Nothing of a kept recording is lost. Every sample lies in exactly one row, the pauses in
rows dropped as `silence`, so the table can be read back into the recording, and hours add up.

    silence     a pause, or a recording without a voice     too_short   under `min_seconds`
    too_long    a recording that carries its own text,      unreadable  the audio changed or went away
                which cannot be cut without it
    error       a recording that cannot be cut for a reason that nobody expected

A chapter of LibriVox begins with its title, its reader and 20 to 30 seconds about LibriVox, and ends with "End of
chapter", 5 to 15 seconds: `zone` marks what lies there, for a filter to refuse or a transcript to clear.

Source of the voiced stretches: the corpus (LibriLight's own voice activity), else silero-vad.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from tasks.audio import voice_activity
from tasks.audio.audio_files import Unreadable, must_be_there, read
from tasks.audio.cutting import Cut, Limits, Stretch, cut
from tasks.corpora.held_out import LIBRIVOX, held_out
from warehouse.errors import Mistake
from warehouse.faults import Faults
from warehouse.stage import Resources, in_range
from warehouse.tables import RECORDINGS, UTTERANCES

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

_READ = ["recording_id", "corpus", "speaker_id", "audio_path", "sample_rate", "num_samples", "speech", "text"]
_SECONDS = (
    "max_text_seconds",
    "min_seconds",
    "pause_seconds",
    "margin_seconds",
    "opening_seconds",
    "closing_seconds",
)
_GOOD = 10.0  # seconds: pieces shorter than this are joined where they may be
_SPOKEN = (None, "too_short")  # what is dropped otherwise is a pause, or nobody knows
_LIBRIVOX = "librilight"  # the corpus whose recordings are whole chapters of LibriVox
_WINDOW = 0.02  # seconds over which loudness is measured to find the quietest place


@dataclass(frozen=True, kw_only=True)
class Utterances:
    """Cuts recordings into utterances, and gives each speaker to one split."""

    makes, takes = UTTERANCES, (RECORDINGS,)
    needs, version, gathers = Resources(), 3, False

    max_seconds: float = 20.0  # of an utterance, margins included
    max_text_seconds: float = 30.0  # of a recording that carries its own text, which stays whole
    min_seconds: float = 1.0  # a shorter utterance is dropped
    pause_seconds: float = 1.0  # a longer pause is never inside an utterance
    margin_seconds: float = 0.2  # of pause kept around speech, so that no word loses its edge
    dev_share: float = 0.02  # of speakers
    test_share: float = 0.02  # of speakers
    hold_out: str = "librispeech"  # its dev and test readers are dev and test, whatever the hash says; or none
    opening_seconds: float = 30.0  # of a chapter of LibriVox, from its first word
    closing_seconds: float = 15.0  # of a chapter of LibriVox, to its last word
    audio: Path = field(default=Path("audio"), compare=False)  # where the corpus lies

    def __post_init__(self) -> None:
        in_range("utterances.max_seconds", self.max_seconds, 1)
        for name in _SECONDS:
            in_range(f"utterances.{name}", getattr(self, name), 0)
        for name in ("dev_share", "test_share"):
            in_range(f"utterances.{name}", getattr(self, name), 0, 1)
        held_out(self.hold_out)

    def identity(self) -> dict[str, object]:
        """The weights that find speech where the corpus does not say.

        Raises:
            Mistake: two settings do not go together; asked here, where all of them have been said.
        """
        if self.max_seconds < 4 * self.margin_seconds:
            raise Mistake(f"utterances.max_seconds is {self.max_seconds:g}, under four utterances.margin_seconds")
        if self.max_seconds < self.min_seconds:
            raise Mistake(f"utterances.max_seconds is {self.max_seconds:g}, under utterances.min_seconds")
        if self.dev_share + self.test_share > 1:
            raise Mistake("utterances.dev_share and utterances.test_share are more than 1 together")
        return {"voice": voice_activity.digest()}

    def __call__(self, recordings: "Dataset") -> pa.Table:
        """The rows of one shard of recordings; dropped recordings have none.

        Raises:
            OSError: a file, or the whole corpus, could not be read this time; the shard fails, nothing is dropped.
        """
        kept = recordings.to_table(columns=_READ, filter=pc.field("dropped").is_null())
        rows, faults = [], Faults()
        for recording in kept.to_pylist():
            try:
                rows += list(self._rows(recording))
            except Exception as error:
                rows += [row | faults.refusal(error) for row in self.poisoned(recording)]
        faults.check(kept.num_rows)
        return pa.Table.from_pylist(rows, schema=UTTERANCES.schema)

    def poisoned(self, recording: dict[str, Any]) -> list[dict[str, Any]]:
        """The row of a recording that cannot be cut: the whole of it."""
        return [self._row(recording, 0, recording["num_samples"])]

    def _rows(self, recording: dict[str, Any]) -> Iterator[dict[str, Any]]:
        detail, speech = None, None
        rate, length = recording["sample_rate"], recording["num_samples"]
        try:
            if recording["text"] is not None:
                cuts: list[Cut] = [(0, length, self._refusal(length / rate))]
            else:
                speech = self._speech(recording)
                cuts = self._cuts(recording, speech)
        except Unreadable as error:
            must_be_there(self.audio)
            cuts, detail, speech = [(0, length, "unreadable")], str(error), None
        chapter = recording["corpus"] == _LIBRIVOX and recording["text"] is None
        zones = _zones(cuts, self.opening_seconds * rate, self.closing_seconds * rate) if chapter else repeat(None)
        for (start, end, dropped), voice_in, zone in zip(cuts, _voiced(cuts, speech), zones, strict=False):
            yield self._row(recording, start, end) | {
                "voiced_seconds": None if voice_in is None else voice_in / rate,
                "zone": zone,
                "dropped": dropped,
                "detail": detail,
            }

    def _row(self, recording: dict[str, Any], start: int, end: int) -> dict[str, Any]:
        speaker, rate = recording["speaker_id"], recording["sample_rate"]
        held = held_out(self.hold_out) if recording["corpus"] in LIBRIVOX else {}
        return {
            "utterance_id": f"{recording['recording_id']}#{start}-{end}",
            "recording_id": recording["recording_id"],
            "corpus": recording["corpus"],
            "speaker_id": speaker,
            "start_sample": start,
            "end_sample": end,
            "sample_rate": rate,
            "seconds": (end - start) / rate,
            "split": held.get(speaker) or split(speaker, self.dev_share, self.test_share),
        }

    def _speech(self, recording: dict[str, Any]) -> list[Stretch]:
        """Voiced stretches, as the corpus says or as silero-vad hears."""
        if recording["speech"] is not None:
            return [(stretch["start_sample"], stretch["end_sample"]) for stretch in recording["speech"]]
        return voice_activity.stretches(
            self.audio / recording["audio_path"], recording["sample_rate"], recording["num_samples"]
        )

    def _cuts(self, recording: dict[str, Any], speech: list[Stretch]) -> list[Cut]:
        path, rate = self.audio / recording["audio_path"], recording["sample_rate"]
        limits = self._limits(rate)
        return cut(speech, recording["num_samples"], limits, lambda start, stop: _quietest(path, rate, start, stop))

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


def _voiced(cuts: list[Cut], speech: list[Stretch] | None) -> list[float | None]:
    """How many samples of each cut have a voice in them; None where nobody has looked."""
    if not speech:
        return [None if speech is None else 0.0] * len(cuts)
    edges = np.array(speech).ravel()  # where a voice starts, ends, starts ...
    heard = np.cumsum(np.diff(edges, prepend=edges[0]) * (np.arange(len(edges)) % 2))
    return [float(np.interp(end, edges, heard) - np.interp(start, edges, heard)) for start, end, _ in cuts]


def _zones(cuts: list[Cut], opening: float, closing: float) -> list[str | None]:
    """Where in its chapter each cut lies: `opening` where it begins within so many samples of the first word, `closing`
    where it ends within so many of the last, else None. A pause lies in neither."""
    spoken = [(start, end) for start, end, dropped in cuts if dropped in _SPOKEN]
    if not spoken:
        return [None] * len(cuts)
    opened, closes = spoken[0][0] + opening, spoken[-1][1] - closing

    def zone(start: int, end: int, dropped: str | None) -> str | None:
        if dropped not in _SPOKEN:
            return None
        if start < opened:
            return "opening"
        return "closing" if end > closes else None

    return [zone(*cut) for cut in cuts]


def _quietest(path: Path, rate: int, start: int, stop: int) -> int:
    """The sample in the middle of the quietest 20 ms of a stretch; the earliest where several are as quiet."""
    window = max(1, int(_WINDOW * rate))
    sound = read(path, rate, start, stop)
    if len(sound) <= window:
        return (start + stop) // 2
    energy = np.convolve(np.square(sound, dtype=np.float64), np.ones(window), "valid")
    return start + int(energy.argmin()) + window // 2
