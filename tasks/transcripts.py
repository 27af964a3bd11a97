"""The words of every utterance, heard by Whisper or read from the corpus.

The surprising fact: what was heard is kept even where it is refused. Every row carries Whisper's
own evidence (log-probability, no-speech probability, compression ratio, temperature), so a
stricter filter needs no second hearing.
Source: Radford et al. 2022 (arXiv:2212.04356); the thresholds are openai-whisper's, in `model/asr.py`.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from model import asr
from tasks.audio import Unreadable, read
from tasks.stage import Resources
from warehouse.tables import RECORDINGS, TRANSCRIPTS, UTTERANCES

REFERENCE = "reference"  # the corpus's own text in place of a model's
_AT_ONCE = 8  # batches whose audio is in memory together, so that like lengths meet

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Transcripts:
    """One row for each kept utterance, in the utterances' order."""

    makes, takes = TRANSCRIPTS, (UTTERANCES, RECORDINGS)
    needs, version, gathers = Resources(gpus=0.5), 1, False

    model: str = "embedded"  # a known Whisper, `embedded`, a checkpoint's path, or `reference`
    language: str | None = "en"  # the only one that is kept, ISO 639-1; None keeps all
    batch_size: int = field(default=16, compare=False)  # windows heard together
    audio: Path = field(default=Path("audio"), compare=False)  # where the corpus lies
    device: str = field(default="cpu", compare=False)  # as torch names it

    def identity(self) -> dict[str, object]:
        """The weights' digest in place of their name.

        Raises:
            FileNotFoundError: the model is no known name and no file.
        """
        return {"model": self._model_identity()}

    def __call__(self, utterances: ds.Dataset, recordings: ds.Dataset) -> pa.Table:
        kept = utterances.to_table(filter=ds.field("dropped").is_null()).to_pylist()
        columns = ["recording_id", "audio_path", "num_samples", "text"]
        by_id = {row["recording_id"]: row for row in recordings.to_table(columns=columns).to_pylist()}
        pairs = [(utterance, by_id[utterance["recording_id"]]) for utterance in kept]
        if self.model == REFERENCE:
            rows = [self._quoted(utterance, recording) for utterance, recording in pairs]
        else:
            size = self.batch_size * _AT_ONCE
            rows = [row for i in range(0, len(pairs), size) for row in self._heard(pairs[i : i + size])]
        return pa.Table.from_pylist(rows, schema=TRANSCRIPTS.schema)

    def _model_identity(self) -> str:
        return REFERENCE if self.model == REFERENCE else asr.identity(self.model)

    def _quoted(self, utterance: Row, recording: Row) -> Row:
        """The recording's own text, which says nothing of an utterance that is only a part of it."""
        row = {"utterance_id": utterance["utterance_id"], "language": self.language, "judge": REFERENCE}
        text = (recording["text"] or "").strip()
        if not text:
            return row | {"dropped": "no_text", "detail": "the corpus has no text for this recording"}
        if utterance["end_sample"] - utterance["start_sample"] < recording["num_samples"]:
            return row | {
                "dropped": "no_text",
                "detail": "the corpus's text is of the whole recording, and this is a part",
            }
        return row | {"text": text}

    def _heard(self, pairs: list[tuple[Row, Row]]) -> list[Row]:
        """What the model hears in these utterances; what cannot be heard costs itself alone."""
        rows: list[Row] = []
        waveforms: dict[int, NDArray[np.float32]] = {}
        for i, (utterance, recording) in enumerate(pairs):
            waveform, refusal = self._read(utterance, recording)
            rows.append({"utterance_id": utterance["utterance_id"]} | refusal)
            if waveform is not None:
                waveforms[i] = waveform
        if not waveforms:
            return rows
        ids = [rows[i]["utterance_id"] for i in waveforms]
        model = asr.warm_asr(self.model, self.device)
        heard = asr.transcribe(model, list(waveforms.values()), ids=ids, batch_size=self.batch_size)
        judge = f"{asr.ENGINE}/{self._model_identity()}"
        for i, transcript in zip(waveforms, heard, strict=True):
            rows[i] |= asdict(transcript) | {"judge": judge} | self._refusal(transcript.text, transcript.language)
        return rows

    def _read(self, utterance: Row, recording: Row) -> tuple[NDArray[np.float32] | None, Row]:
        """The utterance's samples as Whisper hears them, or why there are none."""
        if utterance["end_sample"] - utterance["start_sample"] > asr.MAX_SECONDS * utterance["sample_rate"]:
            return None, {
                "dropped": "too_long",
                "detail": f"{utterance['seconds']:.1f} s, and Whisper hears {asr.MAX_SECONDS} s",
            }
        path = self.audio / recording["audio_path"]
        try:
            return read(path, asr.SAMPLE_RATE, utterance["start_sample"], utterance["end_sample"]), {}
        except Unreadable as error:
            return None, {"dropped": "unreadable", "detail": str(error)}

    def _refusal(self, text: str, language: str) -> Row:
        from whisper.tokenizer import LANGUAGES

        if not text:
            return {"dropped": "empty_text", "detail": "no speech was heard"}
        if self.language is not None and language != self.language:
            wanted = LANGUAGES.get(self.language, self.language)
            return {"dropped": f"not_{wanted}", "detail": f"sounds like {LANGUAGES.get(language, language)}"}
        return {}
