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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.audio import audio_files
from tasks.evaluation import controls, further_judges
from tasks.evaluation.controls import SIMILARITY, WER
from tasks.evaluation.judges import RATE, embed, load_voice_encoder, voice_judge
from tasks.evaluation.scoring import (
    SIMILARITY_DECODED,
    Listen,
    Row,
    SpeechScores,
    VoiceScores,
    Waveform,
    WordScores,
    others,
    score_row,
)
from tasks.evaluation.systems import EMPTY
from warehouse.faults import Faults
from warehouse.stage import Resources, in_range
from warehouse.tables import SAMPLES, SCORES
from warehouse.working_copy import here

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

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
    judges: tuple[str, ...] = ()  # more of them: hubert-ctc=FOLDER, wavlm-sv=FOLDER, dnsmos, prosody
    truth_wer: float | None = field(default=None, compare=False)  # that true speech may have; null: as judges are known
    root: Path = field(default=Path("."), compare=False)  # the warehouse
    device: str = field(default="cpu", compare=False)
    batch_size: int = field(default=16, compare=False)  # samples that Whisper hears at once

    def __post_init__(self) -> None:
        in_range("scores.batch_size", self.batch_size, 1)
        if self.truth_wer is not None:
            in_range("scores.truth_wer", self.truth_wer, 0)
        object.__setattr__(self, "judges", tuple(map(further_judges.absolute, self.judges)))

    def identity(self) -> dict[str, object]:
        """The weights of the judges, in place of their names."""
        from model.asr import recognition

        names = [further_judges.identity(name) for name in self.judges]
        return {"judge": recognition.identity(self.judge), "voices": voice_judge(), "judges": names}

    def __call__(self, samples: "Dataset") -> pa.Table:
        """Three rows for each sample that was made, one for each that is empty; of true speech, controls as well."""
        counted = pc.field("dropped").is_null() | (pc.field("dropped") == EMPTY)
        judged = samples.to_table(filter=counted).to_pylist()
        if not judged:
            return SCORES.schema.empty_table()
        judges = self._judges(judged)
        rows, faults = [], Faults()
        for start in range(0, len(judged), _BLOCK):
            audible = []
            for sample in judged[start : start + _BLOCK]:
                try:
                    audible.append((sample, self._speech(sample)))
                except audio_files.Unreadable as error:
                    why = faults.refusal(error) | {"dropped": "unreadable", "detail": str(error)}
                    rows += [row | why for row in self.poisoned(sample)]
            there = [(sample, speech) for sample, speech in audible if not sample["dropped"]]
            for judge in judges:
                if isinstance(judge, WordScores):
                    rows += judge.score(audible)
                else:
                    rows += [row for sample, speech in there for row in judge.score(sample, speech)]
            for met in (faults, *(judge.faults for judge in judges)):
                met.check(len(judged))
        return pa.Table.from_pylist(rows, schema=SCORES.schema)

    def _judges(self, judged: list[Row]) -> list[WordScores | VoiceScores | SpeechScores]:
        """All of them, ready to score."""
        texts = others(judged)
        whisper = WordScores(self._whispers_name, self._whisper(), texts)
        resemblyzer = VoiceScores(self.root, voice_judge(), partial(embed, load_voice_encoder(self.device)))
        more = [further_judges.load(name, self.root, self.device, texts) for name in self.judges]
        return [whisper, resemblyzer, *more]

    def _whisper(self) -> Listen:
        from model.asr import recognition

        model = recognition.warm_asr(self.judge, self.device)

        def listen(ids: Sequence[str], waveforms: Sequence[Waveform]) -> list[str]:
            found = recognition.transcribe(model, waveforms, ids=ids, language="en", batch_size=self.batch_size)
            return [transcript.text for transcript in found]

        return listen

    def controls(self, scores: "Dataset") -> Iterator[str]:
        """Which controls are broken, each in a sentence (`tasks.evaluation.controls`).

        Args:
            scores: all shards.
        """
        wanted = pc.field("dropped").is_null() & pc.field("metric").isin(controls.METRICS)
        rows = scores.to_table(columns=list(controls.COLUMNS), filter=wanted).to_pylist()
        if self.truth_wer is not None:
            return controls.broken(rows, self.truth_wer)
        known = {self._whispers_name: controls.KNOWN.get(self.judge, controls.OF_OTHERS)}
        return controls.broken(rows, controls.OF_OTHERS, known)

    @property
    def _whispers_name(self) -> str:
        from model.asr import recognition

        return f"{recognition.OPENAI}/{recognition.identity(self.judge)}"

    def poisoned(self, sample: Row) -> list[Row]:
        """The rows of a sample that no judge can bear."""
        by_ear = [] if sample["dropped"] else [SIMILARITY, SIMILARITY_DECODED]
        return [score_row(sample, metric, None) for metric in (WER, *by_ear)]

    def _speech(self, sample: Row) -> Waveform:
        if sample["dropped"]:
            return np.zeros(0, np.float32)
        return audio_files.read(here(self.root / sample["audio_path"]), RATE)[:_LONGEST]
