"""Scores: what the judges say of every sample.

The paper's two automatic metrics (Wang et al. 2023, arXiv:2301.02111, section 5.1): the share of words that a
recogniser gets wrong, and how alike two voices are to a speaker verifier. Both depend on the
judge at least as much as on the speech. So each score names its judge's engine and weights, and true speech
stands before the same judges: its rows are the scale on which the model's are read.

How a sample fails is said in a word or more (`tasks.evaluation.failures`), in the row of its word errors.

True speech has rows that no model has: its words against another sample's text, and silence in its place. By these
`controls` tells a judge that is broken, and a run that ends with such scores fails.

An empty sample is not left out, which would flatter the model: all of its words are wrong. One that cannot be read, or
over which a judge stumbles, has its rows all the same, dropped as `unreadable` or `error`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.dataset import Dataset

from tasks.audio import audio_files
from tasks.evaluation import controls
from tasks.evaluation.controls import SHUFFLED, SILENCE, SIMILARITY, SIMILARITY_SILENCE, WER
from tasks.evaluation.failures import failures
from tasks.evaluation.judges import (
    RATE,
    Voice,
    embed,
    load_normalizer,
    load_voice_encoder,
    silence,
    voice_judge,
    word_errors,
)
from tasks.evaluation.systems import CONTINUAL, EMPTY, ENDLESS, TRUTH
from tasks.protocols.casting import Row, Waveform
from warehouse.faults import Faults, together_or_alone
from warehouse.stage import Resources, in_range
from warehouse.tables import SAMPLES, SCORES

SIMILARITY_DECODED = "speaker_similarity_decoded"

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
    truth_wer: float | None = field(
        default=None, compare=False
    )  # at most, of true speech; null: what judges are known for
    device: str = field(default="cpu", compare=False)
    batch_size: int = field(default=16, compare=False)  # samples that Whisper hears at once

    def __post_init__(self) -> None:
        in_range("scores.batch_size", self.batch_size, 1)
        if self.truth_wer is not None:
            in_range("scores.truth_wer", self.truth_wer, 0)

    def identity(self) -> dict[str, object]:
        """The weights of the judges, in place of their names."""
        from model.asr import recognition

        return {"judge": recognition.identity(self.judge), "voices": voice_judge()}

    def __call__(self, samples: Dataset) -> pa.Table:
        """Three rows for each sample that was made, one for each that is empty; of true speech, controls as well."""
        counted = pc.field("dropped").is_null() | (pc.field("dropped") == EMPTY)
        judged = samples.to_table(filter=counted).to_pylist()
        if not judged:
            return SCORES.schema.empty_table()
        words, voices = _Words(self, _others(judged)), _Voices(self)
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

    def controls(self, scores: Dataset) -> Iterator[str]:
        """Which controls are broken, each in a sentence (`tasks.evaluation.controls`).

        Args:
            scores: all shards.
        """
        wanted = pc.field("dropped").is_null() & pc.field("metric").isin(controls.METRICS)
        rows = scores.to_table(columns=list(controls.COLUMNS), filter=wanted).to_pylist()
        known = controls.KNOWN.get(self.judge, controls.OF_OTHERS)
        return controls.broken(rows, known if self.truth_wer is None else self.truth_wer)

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

    def __init__(self, stage: Scores, others: dict[str, str]) -> None:
        from model.asr import recognition

        self.model = recognition.warm_asr(stage.judge, stage.device)
        self.judged_by = f"{recognition.OPENAI}/{recognition.identity(stage.judge)}"
        self.batch_size = stage.batch_size
        self.others = others  # by the ids of true speech, the texts of other samples
        self.faults = Faults()
        self.normalize = load_normalizer()

    def judge(self, block: list[tuple[Row, Waveform]]) -> list[Row]:
        """One row for each sample, and two more for true speech: against another's text, and of silence."""
        audible = [(sample, speech) for sample, speech in block if len(speech)]
        found = together_or_alone(self._transcribe, audible)
        heard = {sample["sample_id"]: transcript for (sample, _), transcript in zip(audible, found, strict=True)}
        rows = []
        for sample, _ in block:
            transcript = heard.get(sample["sample_id"])
            try:
                if isinstance(transcript, Exception):
                    raise transcript
                rows += self._score(sample, transcript or "")
            except Exception as error:
                rows.append(_row(sample, WER, self.judged_by) | self.faults.refusal(error))
        return rows

    def _transcribe(self, some: list[tuple[Row, Waveform]]) -> list[str]:
        from model.asr import recognition

        ids, waveforms = [sample["sample_id"] for sample, _ in some], [speech for _, speech in some]
        found = recognition.transcribe(self.model, waveforms, ids=ids, language="en", batch_size=self.batch_size)
        return [transcript.text for transcript in found]

    @cached_property
    def in_silence(self) -> str:
        """What is heard where there is nothing to hear."""
        return self.normalize(self._transcribe([({"sample_id": "silence"}, silence())])[0])

    def _score(self, sample: Row, heard: str) -> list[Row]:
        text, there = self.normalize(sample["text"]), self.normalize(heard)
        row = self._rate(sample, WER, text, there) | {"detail": f"heard: {heard}"}
        prompt = self.normalize(sample["prompt_text"] or "")
        row["failures"] = failures(text, there, prompt=prompt, ended=not (sample["detail"] or "").startswith(ENDLESS))
        if row["dropped"] or sample["system"] != TRUTH:
            return [row]
        rows = [row, self._rate(sample, SILENCE, text, self.in_silence)]
        if other := self.normalize(self.others.get(sample["sample_id"], "")):
            rows.append(self._rate(sample, SHUFFLED, other, there))
        return rows

    def _rate(self, sample: Row, metric: str, text: str, heard: str) -> Row:
        errors, words = word_errors(text, heard)
        row = _row(sample, metric, self.judged_by) | {"errors": errors, "words": words, "dropped": None}
        return row | ({"value": errors / words} if words else {"dropped": "no_words"})


def _others(samples: list[Row]) -> dict[str, str]:
    """For true speech the text of another sample, by their ids; none where all texts are the same."""
    true = sorted((one["sample_id"], one["text"]) for one in samples if one["system"] == TRUTH)
    return {
        name: other
        for place, (name, text) in enumerate(true)
        for other in [next((said for _, said in [*true[place:], *true[:place]] if said != text), None)]
        if other is not None
    }


class _Voices:
    """Resemblyzer, and how alike a sample and its prompt are to it."""

    def __init__(self, stage: Scores) -> None:
        self.root = stage.root
        self.encoder = load_voice_encoder(stage.device)
        self.judged_by = voice_judge()
        self.faults = Faults()
        self.known: dict[str, Voice | None] = {}  # of prompts, by path

    def judge(self, sample: Row, speech: Waveform) -> list[Row]:
        """Two rows: against the prompt as recorded, and as decoded; of true speech a third, of silence in its place."""
        rows = {metric: _row(sample, metric, self.judged_by) for metric in PROMPTS}
        if sample["prompt_seconds"] is None:
            why = {"dropped": "no_prompt", "detail": "the sample has no prompt"}
            return [row | why for row in rows.values()]
        if sample["system"] == CONTINUAL:
            speech = speech[round(sample["prompt_seconds"] * RATE) :]
        try:
            mine = embed(self.encoder, speech)
            scored = [self._score(row, mine, sample[PROMPTS[metric]]) for metric, row in rows.items()]
            if sample["system"] == TRUTH and self.of_silence is not None:
                silent = _row(sample, SIMILARITY_SILENCE, self.judged_by)
                scored.append(self._score(silent, self.of_silence, sample[PROMPTS[SIMILARITY]]))
            return scored
        except Exception as error:
            why = self.faults.refusal(error)
            return [row | why for row in rows.values()]

    @cached_property
    def of_silence(self) -> Voice | None:
        """The voice that is heard where there is none; null where the judge says so."""
        return embed(self.encoder, silence())

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
