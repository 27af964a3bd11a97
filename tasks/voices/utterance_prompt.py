"""Prompts from utterances: which few seconds give a voice, and what is said in them.

Much hangs on where a prompt ends: phones of words that are not in its codes, or the
reverse, come back as words too many or too few. The paper crops 3 s anywhere and has the phones from an alignment
(Wang et al. 2023, arXiv:2301.02111, section 5.2). Here, without one, an utterance of 2 to 3 s is taken whole where
the speaker has any; else the first 3 s of a longer one, with as many of its words as the time's share of its phones.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.text.symbols import BOUNDARY
from warehouse.tables import CODEBOOKS

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset  # which brings pandas, and half a second for `valle say`

Row = dict[str, Any]
Codes = NDArray[np.uint16]  # [8, T]

SECONDS = 3.0  # of a prompt, in the paper
_WHOLE, _SHORTER = 2 / 3, 1 / 3  # of a prompt's length: what is taken whole, and what at the worst


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

    def beginning(self, num_frames: int) -> tuple[NDArray[np.uint16], Codes]:
        """Its first frames, codes `[8, T']`, and their phones: whole words, the share nearest to the time's."""
        share = min(num_frames / self.codes.shape[1], 1.0)
        ends = [*(place for place, phone in enumerate(self.phones) if phone == BOUNDARY), len(self.phones)]
        end = min(ends, key=lambda place: abs(place / len(self.phones) - share))
        return self.phone_ids[:end], self.codes[:, :num_frames]


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
    heard = {row["utterance_id"]: row for row in pick(transcripts, ids, ["utterance_id", "text", "language"])}
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
