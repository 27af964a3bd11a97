"""Prompts from utterances: which few seconds give a voice, and what is said in them.

Much hangs on where a prompt ends: phones of words that are not in its codes, or the
reverse, come back as words too many or too few. The paper crops 3 s anywhere and has the phones from an alignment
(Wang et al. 2023, arXiv:2301.02111, section 5.2). Here an utterance of 2 to 3 s is taken whole where the speaker has
any; else the beginning of a longer one, up to the last word that ends within 3 s, by the times that the transcript has
of its words (`transcripts.words`). Where it has none, 3 s are taken, with as many words as the time's share of the
phones, and `cut` says so.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.text.phonemization import ENGLISH, Unspeakable, espeak_name, phonemize
from tasks.text.symbols import BOUNDARY
from warehouse.tables import CODEBOOKS, FRAME_RATE

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset  # which brings pandas, and half a second for `valle say`

Row = dict[str, Any]
Codes = NDArray[np.uint16]  # [8, T]

SECONDS = 3.0  # of a prompt, in the paper
WHOLE, AT_WORD, BY_SHARE = "whole", "word", "share"  # how a prompt is cut
_WHOLE, _SHORTER = 2 / 3, 1 / 3  # of a prompt's length: what is taken whole, and what at the worst


@dataclass(frozen=True)
class Beginning:
    """What an utterance begins with."""

    text: str  # the words in it
    phone_ids: NDArray[np.uint16]  # [P], of these words
    codes: Codes  # [8, T]
    cut: str  # WHOLE, AT_WORD or BY_SHARE, which only guesses the words


@dataclass(frozen=True)
class Utterance:
    """An utterance with what the pipeline knows of it."""

    utterance_id: str
    audio_path: str  # of its recording, relative to the corpus
    start_sample: int  # in the recording's own rate
    end_sample: int
    text: str
    phones: tuple[str, ...]  # [P]
    phone_ids: NDArray[np.uint16]  # [P]
    codes: Codes  # [8, T]
    language: str | None = None  # ISO 639-1
    speaker_id: str | None = None
    sample_rate: int = 0  # Hz, of the recording

    words: tuple[Row, ...] = ()  # `word`, `start` and `end` in seconds from its start; none where nobody looked

    def beginning(self, num_frames: int, language: str = ENGLISH) -> Beginning:
        """Its first frames at most, and the words in them; all of a shorter one.

        Args:
            num_frames: of the codes, at most.
            language: that its phones were made by, as `phones.language`.
        """
        if self.codes.shape[1] <= num_frames:
            return Beginning(self.text, self.phone_ids, self.codes, WHOLE)
        return self._up_to_a_word(num_frames, language) or self._by_share(num_frames)

    def _up_to_a_word(self, num_frames: int, language: str) -> Beginning | None:
        """Cut in the pause behind the last word that ends in time; null where the words' times give no such cut."""
        seconds = num_frames / FRAME_RATE
        said = [word for word in self.words if word["end"] <= seconds]
        if not said or said != list(self.words[: len(said)]):
            return None
        behind = self.words[len(said)]["start"] if len(said) < len(self.words) else seconds
        end = int(min(seconds, (said[-1]["end"] + behind) / 2) * FRAME_RATE)
        if end < num_frames * _SHORTER:
            return None  # too little of a voice
        text = "".join(word["word"] for word in said).strip()
        try:
            phone_ids = np.array(phonemize(text, espeak_name(language, self.language)).phone_ids, np.uint16)
        except Unspeakable:
            return None
        return Beginning(text, phone_ids, self.codes[:, :end], AT_WORD)

    def _by_share(self, num_frames: int) -> Beginning:
        """Whole words, the share of the phones nearest to the time's."""
        share = num_frames / self.codes.shape[1]
        ends = [*(place for place, phone in enumerate(self.phones) if phone == BOUNDARY), len(self.phones)]
        end = min(ends, key=lambda place: abs(place / len(self.phones) - share))
        words = self.text.split()
        text = " ".join(words[: round(len(words) * end / len(self.phones))])  # about what is heard
        return Beginning(text, self.phone_ids[:end], self.codes[:, :num_frames], BY_SHARE)


def choose(target: str, lengths: Iterable[tuple[str, float]], seconds: float = SECONDS) -> str | None:
    """Which of a speaker's utterances, of these ids and seconds, prompts a target: drawn among the best of its kind.

    Never the target itself; null where no other lasts a third of `seconds`.
    """
    ranked = [
        (rank, chance(f"{target} {other}"), other)
        for other, length in lengths
        if other != target and (rank := _rank(length / seconds)) is not None
    ]
    return min(ranked)[2] if ranked else None


def gather(
    ids: Collection[str],
    utterances: "Dataset",
    recordings: "Dataset",
    transcripts: "Dataset",
    phones: "Dataset",
    codes: "Dataset",
) -> dict[str, Utterance]:
    """These utterances with their words, phones and codes."""
    columns = ["utterance_id", "recording_id", "speaker_id", "start_sample", "end_sample", "sample_rate"]
    stretches = pick(utterances, ids, columns)
    at = paths(recordings, stretches)
    heard = {row["utterance_id"]: row for row in pick(transcripts, ids, ["utterance_id", "text", "language", "words"])}
    said = {row["utterance_id"]: row for row in pick(phones, ids, ["utterance_id", "phones", "phone_ids"])}
    coded = {row["utterance_id"]: stack(row) for row in pick(codes, ids, ["utterance_id", *CODEBOOKS])}
    return {
        name: Utterance(
            name,
            at[row["recording_id"]],
            row["start_sample"],
            row["end_sample"],
            heard[name]["text"],
            tuple(said[name]["phones"]),
            np.array(said[name]["phone_ids"], np.uint16),
            coded[name],
            heard[name]["language"],
            row["speaker_id"],
            row["sample_rate"],
            tuple(heard[name]["words"] or ()),
        )
        for row in stretches
        for name in [row["utterance_id"]]
    }


def paths(recordings: "Dataset", stretches: Iterable[Row]) -> dict[str, str]:
    """Where the recordings lie that these utterances are cut from, by their ids."""
    ids = {row["recording_id"] for row in stretches}
    found = pick(recordings, ids, ["recording_id", "audio_path"], "recording_id")
    return {row["recording_id"]: row["audio_path"] for row in found}


def pick(rows: "Dataset", ids: Collection[str], columns: list[str], key: str = "utterance_id") -> list[Row]:
    """The kept rows with these ids. A shard without any is not read beyond its ids: codes are heavy."""
    wanted = pa.array(sorted(ids), pa.string())
    found: list[Row] = []
    for shard in rows.get_fragments():
        present = shard.to_table(columns=[key])[key]
        if pc.any(pc.is_in(present, value_set=wanted)).as_py():
            kept = pc.field(key).isin(wanted) & pc.field("dropped").is_null()
            found += shard.to_table(columns=columns, filter=kept).to_pylist()
    return found


def stack(row: Row) -> Codes:
    """The codes `[8, T]` of a row of `codes`."""
    return np.array([row[name] for name in CODEBOOKS], np.uint16)


def chance(text: str) -> str:
    """A draw that is the same on every machine."""
    return sha256(text.encode()).hexdigest()


def _rank(share: float) -> int | None:
    """How well an utterance serves as a prompt, by its length over a prompt's: 0 is best, null is not at all."""
    if share > 1:
        return 1  # it has to be cut, and its phones with it
    if share >= _WHOLE:
        return 0
    return 2 if share >= _SHORTER else None
