"""Scores: what the judges say of every sample.

The paper's two automatic metrics (Wang et al. 2023, arXiv:2301.02111, section 5.1): the share of words that a
recogniser gets wrong, and how alike two voices are to a speaker verifier. Both depend on the
judge at least as much as on the speech. So each score names its judge's engine and weights, and true speech
stands before the same judges: its rows are the scale on which the model's are read.

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
from tasks.audio.resynthesis import decode
from tasks.evaluation.judges import RATE, Voice, embed, load_normalizer, load_voice_encoder, voice_judge, word_errors
from tasks.samples import CONTINUAL, EMPTY, Waveform
from tasks.voices import utterance_prompt
from tasks.voices.utterance_prompt import Codes, Row
from warehouse.faults import Faults, together_or_alone
from warehouse.stage import Resources, in_range, same_as
from warehouse.tables import CODEBOOKS, CODES, FRAME_RATE, RECORDINGS, SAMPLE_RATE, SAMPLES, SCORES, UTTERANCES

WER, SIMILARITY, SIMILARITY_DECODED = "wer", "speaker_similarity", "speaker_similarity_decoded"

_LONGEST = 30 * RATE  # samples: Whisper hears no more, of an endless one either
_BLOCK = 256  # waveforms held in memory at once


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Word error rate by Whisper, speaker similarity by Resemblyzer.

    A prompt is the first `prompt_seconds` of its utterance, as in `Samples`.
    `valle-continual` repeats its prompt before it goes on: its words are counted over the whole, as in the paper,
    but its voice is compared from where the prompt ends, or the prompt would be compared with itself.
    """

    makes, takes = SCORES, (SAMPLES, UTTERANCES, RECORDINGS, CODES)
    needs, version, gathers = Resources(gpus=0.5), 1, False

    judge: str = "embedded"  # the Whisper that listens: a known name, `embedded` or a file
    codec: str = same_as("codes.model", "embedded")  # the EnCodec that decodes prompts
    prompt_seconds: float = same_as("samples.prompt_seconds", utterance_prompt.SECONDS)
    audio: Path = field(default=Path("audio"), compare=False)  # the corpus
    root: Path = field(default=Path("."), compare=False)  # the warehouse
    device: str = field(default="cpu", compare=False)
    batch_size: int = field(default=16, compare=False)  # samples that Whisper hears at once

    def __post_init__(self) -> None:
        in_range("scores.batch_size", self.batch_size, 1)

    def identity(self) -> dict[str, object]:
        """The weights of the judges, in place of their names."""
        from model.asr import recognition

        return {"judge": recognition.identity(self.judge), "voices": voice_judge()}

    def __call__(self, samples: Dataset, utterances: Dataset, recordings: Dataset, codes: Dataset) -> pa.Table:
        """Three rows for each sample that was made, and one for each that is empty."""
        counted = pc.field("dropped").is_null() | (pc.field("dropped") == EMPTY)
        judged = samples.to_table(filter=counted).to_pylist()
        ids = {sample["prompt_id"] for sample in judged if sample["prompt_id"]}
        words, voices = _Words(self), _Voices(self, _prompts(ids, utterances, recordings, codes))
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

        self.model = recognition.load_asr(stage.judge, stage.device)
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
        errors, words = word_errors(self.normalize(sample["text"]), self.normalize(heard))
        row = _row(sample, WER, self.judged_by) | {"errors": errors, "words": words, "detail": f"heard: {heard}"}
        return row | ({"value": errors / words} if words else {"dropped": "no_words"})


@dataclass(frozen=True)
class _Prompt:
    audio_path: str  # of its recording, relative to the corpus
    start_sample: int  # in the recording's own rate
    end_sample: int
    sample_rate: int  # Hz, of the recording
    codes: Codes  # [8, T]


def _prompts(ids: set[str], utterances: Dataset, recordings: Dataset, codes: Dataset) -> dict[str, _Prompt]:
    """The utterances that prompts are cut from."""
    columns = ["utterance_id", "recording_id", "start_sample", "end_sample", "sample_rate"]
    stretches = utterance_prompt.pick(utterances, ids, columns)
    paths = utterance_prompt.paths(recordings, stretches)
    coded = {row["utterance_id"]: row for row in utterance_prompt.pick(codes, ids, ["utterance_id", *CODEBOOKS])}
    return {
        row["utterance_id"]: _Prompt(
            paths[row["recording_id"]],
            row["start_sample"],
            row["end_sample"],
            row["sample_rate"],
            utterance_prompt.stack(coded[row["utterance_id"]]),
        )
        for row in stretches
    }


class _Voices:
    """Resemblyzer, and how alike a sample and its prompt are to it."""

    def __init__(self, stage: Scores, prompts_by_id: dict[str, _Prompt]) -> None:
        from model.codec.encodec import load_codec

        self.stage, self.prompts = stage, prompts_by_id
        self.codec = load_codec(stage.codec, device=stage.device)
        self.encoder = load_voice_encoder(stage.device)
        self.judged_by = voice_judge()
        self.faults = Faults()
        self.known: dict[str, dict[str, Voice | None]] = {}

    def judge(self, sample: Row, speech: Waveform) -> list[Row]:
        """Two rows: against the prompt as recorded, and as decoded."""
        if sample["prompt_id"] is None:
            why = {"dropped": "no_prompt", "detail": "the sample has no prompt"}
            return [_row(sample, metric, self.judged_by) | why for metric in (SIMILARITY, SIMILARITY_DECODED)]
        if sample["system"] == CONTINUAL:
            speech = speech[round(self.stage.prompt_seconds * RATE) :]
        try:
            mine, theirs = embed(self.encoder, speech), self._voices_of(sample["prompt_id"])
            return [self._score(_row(sample, metric, self.judged_by), mine, voice) for metric, voice in theirs.items()]
        except Exception as error:
            why = self.faults.refusal(error)
            return [_row(sample, metric, self.judged_by) | why for metric in (SIMILARITY, SIMILARITY_DECODED)]

    def _score(self, row: Row, mine: Voice | None, theirs: Voice | None) -> Row:
        if mine is None or theirs is None:
            where = "sample" if mine is None else "prompt"
            return row | {"dropped": "no_voice", "detail": f"no voice is heard in the {where}"}
        return row | {"value": float(mine @ theirs)}

    def _voices_of(self, prompt_id: str) -> dict[str, Voice | None]:
        """The voice of a prompt under either metric."""
        import soxr

        if prompt_id not in self.known:
            prompt, seconds = self.prompts[prompt_id], self.stage.prompt_seconds
            stop = min(prompt.end_sample, prompt.start_sample + round(seconds * prompt.sample_rate))
            recorded = audio_files.read(self.stage.audio / prompt.audio_path, RATE, prompt.start_sample, stop)
            decoded = decode(self.codec, prompt.codes[:, : round(seconds * FRAME_RATE)])
            self.known[prompt_id] = {
                SIMILARITY: embed(self.encoder, recorded),
                SIMILARITY_DECODED: embed(self.encoder, soxr.resample(decoded, SAMPLE_RATE, RATE)),
            }
        return self.known[prompt_id]


def _row(sample: Row, metric: str, judge: str | None) -> Row:
    """A row without its value."""
    return {"sample_id": sample["sample_id"], "system": sample["system"], "metric": metric, "judge": judge}
