"""The words of every utterance, heard by Whisper or read from the corpus.

There is no threshold among the settings. Every row carries Whisper's own evidence
(log-probability, no-speech probability, compression ratio, temperature), what is odd about its text (`flags`) and,
where the corpus has a text, how far the two differ. `examples.where` judges by these, so a stricter filter needs no
second hearing. What was heard is kept even where the row is refused.
Source: Radford et al. 2022 (arXiv:2212.04356); when Whisper tries again is fixed in
`model/asr/recognition.py`, and what is odd in `tasks/text/plausibility.py`.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc

from model.asr import recognition
from tasks.audio.audio_files import Unreadable, must_be_there, read
from tasks.text.plausibility import chars_per_second, hallucination_flags
from warehouse.errors import Mistake
from warehouse.faults import Faults, together_or_alone
from warehouse.stage import Resources, in_range
from warehouse.tables import RECORDINGS, TRANSCRIPTS, UTTERANCES

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

REFERENCE = "reference"  # the corpus's own text in place of a model's
_AT_ONCE = 8  # batches whose audio is in memory together, so that like lengths meet

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Transcripts:
    """One row for each kept utterance, in the utterances' order."""

    makes, takes = TRANSCRIPTS, (UTTERANCES, RECORDINGS)
    needs, version, gathers = Resources(gpus=0.5), 4, False

    model: str = "embedded"  # a known Whisper, `embedded`, a checkpoint's path, or `reference`
    engine: str = recognition.OPENAI  # or `faster-whisper`, which the extra `faster` installs
    language: str | None = "en"  # the only one that is kept, ISO 639-1; None keeps all
    words: bool = False  # whether each word gets its place in time, which takes as long again
    batch_size: int = field(default=16, compare=False)  # windows decoded together
    audio: Path = field(default=Path("audio"), compare=False)  # where the corpus lies
    device: str = field(default="cpu", compare=False)  # as torch names it

    def __post_init__(self) -> None:
        in_range("transcripts.batch_size", self.batch_size, 1)
        if self.engine not in recognition.ENGINES:
            raise Mistake(f"transcripts.engine is {self.engine!r}; it may be {' or '.join(recognition.ENGINES)}")
        if self.language is not None and not re.fullmatch("[a-z]{2,3}", self.language):
            raise Mistake(
                f"transcripts.language is {self.language!r}; it may be two or three letters, such as en, or none"
            )

    def identity(self) -> dict[str, object]:
        """The weights' digest in place of their name; of the corpus's own text, nothing that says how to hear.

        Raises:
            Mistake: there is no such engine here, or it takes no such model.
            FileNotFoundError: the model is no known name and no file.
        """
        if self.model == REFERENCE:
            return {"model": REFERENCE, "engine": recognition.OPENAI, "words": False}
        try:
            recognition.check_engine(self.engine, self.model)
        except ValueError as error:
            raise Mistake(f"transcripts.engine={self.engine}: {error}") from error
        return {"model": recognition.identity(self.model)}

    def __call__(self, utterances: "Dataset", recordings: "Dataset") -> pa.Table:
        """One row for each kept utterance; one whose audio cannot be read costs itself alone.

        Raises:
            OSError: a file, or the whole corpus, could not be read this time; the shard fails, nothing is dropped.
        """
        kept = utterances.to_table(filter=pc.field("dropped").is_null()).to_pylist()
        columns = ["recording_id", "audio_path", "num_samples", "text", "language"]
        by_id = {row["recording_id"]: row for row in recordings.to_table(columns=columns).to_pylist()}
        pairs = [(utterance, by_id[utterance["recording_id"]]) for utterance in kept]
        rows, faults, size = [], Faults(), self.batch_size * _AT_ONCE
        for i in range(0, len(pairs), size):
            some = pairs[i : i + size]
            rows += self._all_quoted(some, faults) if self.model == REFERENCE else self._heard(some, faults)
            faults.check(len(pairs))
        return pa.Table.from_pylist(rows, schema=TRANSCRIPTS.schema)

    def _all_quoted(self, pairs: list[tuple[Row, Row]], faults: Faults) -> list[Row]:
        """The corpus's own text of these utterances."""
        rows: list[Row] = []
        for utterance, recording in pairs:
            try:
                rows.append(self._quoted(utterance, recording))
            except Exception as error:
                rows.append({"utterance_id": utterance["utterance_id"]} | faults.refusal(error))
        return rows

    def _quoted(self, utterance: Row, recording: Row) -> Row:
        """The recording's own text, which says nothing of an utterance that is only a part of it."""
        language = recording["language"] or self.language
        row = {"utterance_id": utterance["utterance_id"], "language": language, "judge": REFERENCE}
        text = (recording["text"] or "").strip()
        if not text:
            return row | {"dropped": "no_text", "detail": "the corpus has no text for this recording"}
        if not _whole(utterance, recording):
            return row | {
                "dropped": "no_text",
                "detail": "the corpus's text is of the whole recording, and this is a part",
            }
        row |= {"text": text} | _oddities(text, utterance["seconds"], language, None)
        return row | self._refusal(language, "the corpus says that it is")

    def _heard(self, pairs: list[tuple[Row, Row]], faults: Faults) -> list[Row]:
        """What the model hears in these utterances; what cannot be heard costs itself alone."""
        rows: list[Row] = []
        waveforms: dict[int, NDArray[np.float32]] = {}
        for i, (utterance, recording) in enumerate(pairs):
            try:
                waveform, refusal = self._read(utterance, recording)
            except Exception as error:
                waveform, refusal = None, faults.refusal(error)
            rows.append({"utterance_id": utterance["utterance_id"]} | refusal)
            if waveform is not None:
                waveforms[i] = waveform
        if not waveforms:
            return rows
        model = recognition.warm_asr(self.model, self.device, self.engine)
        judge = f"{model.name}/{recognition.identity(self.model)}"

        def transcribe(places: list[int]) -> list[recognition.Transcript]:
            ids = [rows[i]["utterance_id"] for i in places]
            sounds = [waveforms[i] for i in places]
            return recognition.transcribe(model, sounds, ids=ids, batch_size=self.batch_size, words=self.words)

        for i, transcript in zip(waveforms, together_or_alone(transcribe, list(waveforms)), strict=True):
            try:
                if isinstance(transcript, Exception):
                    raise transcript
                rows[i] |= {"judge": judge} | self._row(transcript, *pairs[i])
            except Exception as error:
                rows[i] |= faults.refusal(error)
        return rows

    def _row(self, transcript: recognition.Transcript, utterance: Row, recording: Row) -> Row:
        """Whisper's evidence, ours, and whether the row is kept."""
        row = asdict(transcript)
        discarded = row.pop("discarded")
        if not transcript.text:
            guess = f", though {discarded!r} was written" if discarded else ""
            return row | {"dropped": "empty_text", "detail": f"no speech was heard{guess}"}
        row |= _oddities(transcript.text, utterance["seconds"], transcript.language, transcript.num_tokens)
        return (
            row
            | _against(recording["text"], transcript.text, utterance, recording)
            | self._refusal(transcript.language, "sounds like")
        )

    def _read(self, utterance: Row, recording: Row) -> tuple[NDArray[np.float32] | None, Row]:
        """The utterance's samples as Whisper hears them, or why there are none."""
        if utterance["end_sample"] - utterance["start_sample"] > recognition.MAX_SECONDS * utterance["sample_rate"]:
            return None, {
                "dropped": "too_long",
                "detail": f"{utterance['seconds']:.1f} s, and Whisper hears {recognition.MAX_SECONDS} s",
            }
        path = self.audio / recording["audio_path"]
        try:
            return read(path, recognition.SAMPLE_RATE, utterance["start_sample"], utterance["end_sample"]), {}
        except Unreadable as error:
            must_be_there(self.audio)
            return None, {"dropped": "unreadable", "detail": str(error)}

    def _refusal(self, language: str | None, how: str) -> Row:
        if self.language is None or language == self.language:
            return {}
        from whisper.tokenizer import LANGUAGES

        wanted, heard = (LANGUAGES.get(code, code) for code in (self.language, language))
        return {"dropped": f"not_{wanted}", "detail": f"{how} {heard}"}


def _oddities(text: str, seconds: float, language: str | None, num_tokens: int | None) -> Row:
    return {
        "chars_per_second": chars_per_second(text, seconds),
        "flags": hallucination_flags(text, seconds, language=language, num_tokens=num_tokens),
    }


def _against(reference: str | None, heard: str, utterance: Row, recording: Row) -> Row:
    """Wrong words against the corpus's own text, where it has one of just this stretch."""
    if not reference or not _whole(utterance, recording):
        return {}
    from tasks.evaluation.judges import word_errors

    errors, words = word_errors(*(_normalizer()(text) for text in (reference, heard)))
    return {"reference_errors": errors, "reference_words": words}


def _whole(utterance: Row, recording: Row) -> bool:
    return bool(utterance["end_sample"] - utterance["start_sample"] >= recording["num_samples"])


@cache
def _normalizer() -> Callable[[str], str]:
    from tasks.evaluation.judges import load_normalizer

    return load_normalizer()
