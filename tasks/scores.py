"""Scores: what the judges say of every sample.

The paper's two automatic metrics (Wang et al. 2023, arXiv:2301.02111, section 5.1): the share of words that a
recogniser gets wrong, and how alike two voices are to a speaker verifier. Both depend on the
judge at least as much as on the speech. So each score names its judge's engine and weights, and true speech
stands before the same judges: its rows are the scale on which the model's are read.

How a sample fails is said in a word or more (`tasks.evaluation.failures`), in the row of its word errors.

An empty sample is not left out, which would flatter the model: all of its words are wrong. One that cannot be read, or
over which a judge stumbles, has its rows all the same, dropped as `unreadable` or `error`.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.dataset import Dataset

from tasks.audio import audio_files
from tasks.evaluation.failures import failures
from tasks.evaluation.judges import RATE, Voice, embed, load_normalizer, load_voice_encoder, voice_judge, word_errors
from tasks.protocols.casting import Row, Waveform
from tasks.samples import CONTINUAL, EMPTY, ENDLESS
from warehouse.faults import Faults, together_or_alone
from warehouse.stage import Resources, in_range
from warehouse.tables import SAMPLES, SCORES

WER, SIMILARITY, SIMILARITY_DECODED = "wer", "speaker_similarity", "speaker_similarity_decoded"

PROMPTS = {SIMILARITY: "prompt_path", SIMILARITY_DECODED: "prompt_decoded_path"}  # what a sample is compared with

_LONGEST = 30 * RATE  # samples: Whisper hears no more, of an endless one either
_BLOCK = 256  # waveforms held in memory at once


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Word error rate by Whisper, speaker similarity by Resemblyzer.

    A sample's prompt lies beside it, as recorded and as decoded, just as the model had it. `valle-continual` repeats
    its prompt before it goes on: its words are counted over the whole, as in the paper, but its voice is compared from
    where the prompt ends, or the prompt would be compared with itself.
    """

    makes, takes = SCORES, (SAMPLES,)
    needs, version, gathers = Resources(gpus=0.5), 2, False

    judge: str = "embedded"  # the Whisper that listens: a known name, `embedded` or a file
    root: Path = field(default=Path("."), compare=False)  # the warehouse
    device: str = field(default="cpu", compare=False)
    batch_size: int = field(default=16, compare=False)  # samples that Whisper hears at once

    def __post_init__(self) -> None:
        in_range("scores.batch_size", self.batch_size, 1)

    def identity(self) -> dict[str, object]:
        """The weights of the judges, in place of their names."""
        from model.asr import recognition

        return {"judge": recognition.identity(self.judge), "voices": voice_judge()}

    def __call__(self, samples: Dataset) -> pa.Table:
        """Three rows for each sample that was made, and one for each that is empty."""
        counted = pc.field("dropped").is_null() | (pc.field("dropped") == EMPTY)
        judged = samples.to_table(filter=counted).to_pylist()
        if not judged:
            return SCORES.schema.empty_table()
        words, voices = _Words(self), _Voices(self)
        rows, faults = [], Faults()
        for start in range(0, len(judged), _BLOCK):
            audible = []
            for sample in judged[start : start + _BLOCK]:
                try:
                    audible.append((sample, self._speech(sample)))
                except audio_files.Unreadable as error:
                    why = faults.refusal(error) | {"dropped": "unreadable", "detail": str(error)}
                    rows += [row | why for row in self.poisoned(sample)]
            rows += words.judge(audible)
            rows += [row for sample, speech in audible if not sample["dropped"] for row in voices.judge(sample, speech)]
            for met in (faults, words.faults, voices.faults):
                met.check(len(judged))
        return pa.Table.from_pylist(rows, schema=SCORES.schema)

    def poisoned(self, sample: Row) -> list[Row]:
        """The rows of a sample that no judge can bear."""
        by_ear = [] if sample["dropped"] else [SIMILARITY, SIMILARITY_DECODED]
        return [_row(sample, metric, None) for metric in (WER, *by_ear)]

    def _speech(self, sample: Row) -> Waveform:
        if sample["dropped"]:
            return np.zeros(0, np.float32)
        return audio_files.read(self.root / sample["audio_path"], RATE)[:_LONGEST]


class _Words:
    """Whisper, and the errors in what it hears."""

    def __init__(self, stage: Scores) -> None:
        from model.asr import recognition

        self.model = recognition.warm_asr(stage.judge, stage.device)
        self.judged_by = f"{recognition.OPENAI}/{recognition.identity(stage.judge)}"
        self.batch_size = stage.batch_size
        self.faults = Faults()
        self.normalize = load_normalizer()

    def judge(self, block: list[tuple[Row, Waveform]]) -> list[Row]:
        """One row for each sample."""
        from model.asr import recognition

        def transcribe(some: list[tuple[Row, Waveform]]) -> list[recognition.Transcript]:
            ids, waveforms = [sample["sample_id"] for sample, _ in some], [speech for _, speech in some]
            return recognition.transcribe(self.model, waveforms, ids=ids, language="en", batch_size=self.batch_size)

        audible = [(sample, speech) for sample, speech in block if len(speech)]
        found = together_or_alone(transcribe, audible)
        heard = {sample["sample_id"]: transcript for (sample, _), transcript in zip(audible, found, strict=True)}
        rows = []
        for sample, _ in block:
            transcript = heard.get(sample["sample_id"])
            try:
                if isinstance(transcript, Exception):
                    raise transcript
                rows.append(self._score(sample, transcript.text if transcript else ""))
            except Exception as error:
                rows.append(_row(sample, WER, self.judged_by) | self.faults.refusal(error))
        return rows

    def _score(self, sample: Row, heard: str) -> Row:
        text, there = self.normalize(sample["text"]), self.normalize(heard)
        errors, words = word_errors(text, there)
        row = _row(sample, WER, self.judged_by) | {"errors": errors, "words": words, "detail": f"heard: {heard}"}
        prompt = self.normalize(sample["prompt_text"] or "")
        row["failures"] = failures(text, there, prompt=prompt, ended=not (sample["detail"] or "").startswith(ENDLESS))
        return row | ({"value": errors / words} if words else {"dropped": "no_words"})


class _Voices:
    """Resemblyzer, and how alike a sample and its prompt are to it."""

    def __init__(self, stage: Scores) -> None:
        self.root = stage.root
        self.encoder = load_voice_encoder(stage.device)
        self.judged_by = voice_judge()
        self.faults = Faults()
        self.known: dict[str, Voice | None] = {}  # of prompts, by path

    def judge(self, sample: Row, speech: Waveform) -> list[Row]:
        """Two rows: against the prompt as recorded, and as decoded."""
        rows = {metric: _row(sample, metric, self.judged_by) for metric in PROMPTS}
        if sample["prompt_seconds"] is None:
            why = {"dropped": "no_prompt", "detail": "the sample has no prompt"}
            return [row | why for row in rows.values()]
        if sample["system"] == CONTINUAL:
            speech = speech[round(sample["prompt_seconds"] * RATE) :]
        try:
            mine = embed(self.encoder, speech)
            return [self._score(row, mine, sample[PROMPTS[metric]]) for metric, row in rows.items()]
        except Exception as error:
            why = self.faults.refusal(error)
            return [row | why for row in rows.values()]

    def _score(self, row: Row, mine: Voice | None, path: str | None) -> Row:
        if path is None:
            return row | {"dropped": "no_prompt", "detail": "the recording of the prompt could not be read"}
        theirs = self._voice_of(path)
        if mine is None or theirs is None:
            where = "sample" if mine is None else "prompt"
            return row | {"dropped": "no_voice", "detail": f"no voice is heard in the {where}"}
        return row | {"value": float(mine @ theirs)}

    def _voice_of(self, path: str) -> Voice | None:
        if path not in self.known:
            self.known[path] = embed(self.encoder, audio_files.read(self.root / path, RATE))
        return self.known[path]


def _row(sample: Row, metric: str, judge: str | None) -> Row:
    """A row without its value."""
    shared = {name: sample[name] for name in ("sample_id", "system", "speaker_id", "protocol", "evaluation_set")}
    return shared | {"metric": metric, "judge": judge}
