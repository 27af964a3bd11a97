"""Scoring: rows of `scores` from what a judge hears, of words, of voices or of speech alone.

A sample over which a judge stumbles has its row all the same, dropped as `error`; one kind of error in most rows is
the judge's own, and raised (`warehouse.faults`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.audio import audio_files
from tasks.evaluation.controls import SHUFFLED, SILENCE, SIMILARITY, SIMILARITY_SILENCE, WER
from tasks.evaluation.failures import failures
from tasks.evaluation.judges import RATE, Voice, load_normalizer, silence, word_errors
from tasks.evaluation.systems import CONTINUAL, ENDLESS, TRUTH
from warehouse.faults import Faults, together_or_alone
from warehouse.working_copy import here

Row = dict[str, Any]
Waveform = NDArray[np.float32]  # [num_samples] at 16 kHz
Listen = Callable[[Sequence[str], Sequence[Waveform]], Sequence[str]]  # ids and waveforms to what is said in each
Embed = Callable[[Waveform], Voice | None]  # null where no voice is heard
Look = Callable[[Row, Waveform, Waveform | None], Mapping[str, float | None]]  # sample, speech, prompt to values

SIMILARITY_DECODED = "speaker_similarity_decoded"
PROMPTS = {SIMILARITY: "prompt_path", SIMILARITY_DECODED: "prompt_decoded_path"}  # what a sample is compared with
OF_SAMPLES = ("sample_id", "system", "speaker_id", "protocol", "evaluation_set")


def score_row(sample: Row, metric: str, judge: str | None) -> Row:
    """A row without its value."""
    return {name: sample[name] for name in OF_SAMPLES} | {"metric": metric, "judge": judge}


def others(samples: list[Row]) -> dict[str, str]:
    """For true speech the text of another sample, by their ids; none where all texts are the same."""
    true = sorted((one["sample_id"], one["text"]) for one in samples if one["system"] == TRUTH)
    return {
        name: other
        for place, (name, text) in enumerate(true)
        for other in [next((said for _, said in [*true[place:], *true[:place]] if said != text), None)]
        if other is not None
    }


class WordScores:
    """A recognizer, and the errors in what it hears."""

    def __init__(self, judge: str, listen: Listen, texts: Mapping[str, str]) -> None:
        """`texts` are those of other samples, by the ids of true speech."""
        self.judge, self.listen, self.texts = judge, listen, texts
        self.faults = Faults()
        self.normalize = load_normalizer()

    def score(self, block: list[tuple[Row, Waveform]]) -> list[Row]:
        """One row for each sample, and two more for true speech: against another's text, and of silence."""
        audible = [(sample, speech) for sample, speech in block if len(speech)]
        found = together_or_alone(self._heard, audible)
        heard = {sample["sample_id"]: text for (sample, _), text in zip(audible, found, strict=True)}
        rows = []
        for sample, _ in block:
            text = heard.get(sample["sample_id"], "")
            try:
                if isinstance(text, Exception):
                    raise text
                rows += self._rows(sample, text)
            except Exception as error:
                rows.append(score_row(sample, WER, self.judge) | self.faults.refusal(error))
        return rows

    def _heard(self, some: list[tuple[Row, Waveform]]) -> Sequence[str]:
        return self.listen([sample["sample_id"] for sample, _ in some], [speech for _, speech in some])

    @cached_property
    def in_silence(self) -> str:
        """What is heard where there is nothing to hear."""
        return self.normalize(self.listen(["silence"], [silence()])[0])

    def _rows(self, sample: Row, heard: str) -> list[Row]:
        text, there = self.normalize(sample["text"]), self.normalize(heard)
        row = self._rate(sample, WER, text, there) | {"detail": f"heard: {heard}"}
        prompt = self.normalize(sample["prompt_text"] or "")
        row["failures"] = failures(text, there, prompt=prompt, ended=not (sample["detail"] or "").startswith(ENDLESS))
        if row["dropped"] or sample["system"] != TRUTH:
            return [row]
        rows = [row, self._rate(sample, SILENCE, text, self.in_silence)]
        if other := self.normalize(self.texts.get(sample["sample_id"], "")):
            rows.append(self._rate(sample, SHUFFLED, other, there))
        return rows

    def _rate(self, sample: Row, metric: str, text: str, heard: str) -> Row:
        errors, words = word_errors(text, heard)
        row = score_row(sample, metric, self.judge) | {"errors": errors, "words": words, "dropped": None}
        return row | ({"value": errors / words} if words else {"dropped": "no_words"})


class VoiceScores:
    """A verifier of speakers, and how alike a sample and its prompt are to it."""

    def __init__(self, root: Path, judge: str, embed: Embed) -> None:
        self.root, self.judge, self.embed = root, judge, embed
        self.faults = Faults()
        self.known: dict[str, Voice | None] = {}  # of prompts, by path

    def score(self, sample: Row, speech: Waveform) -> list[Row]:
        """Two rows: against the prompt as recorded, and as decoded; of true speech a third, of silence in its place."""
        rows = {metric: score_row(sample, metric, self.judge) for metric in PROMPTS}
        if sample["prompt_seconds"] is None:
            why = {"dropped": "no_prompt", "detail": "the sample has no prompt"}
            return [row | why for row in rows.values()]
        try:
            mine = self.embed(behind_its_prompt(sample, speech))
            scored = [self._row(row, mine, sample[PROMPTS[metric]]) for metric, row in rows.items()]
            if sample["system"] == TRUTH and self.of_silence is not None:
                silent = score_row(sample, SIMILARITY_SILENCE, self.judge)
                scored.append(self._row(silent, self.of_silence, sample[PROMPTS[SIMILARITY]]))
            return scored
        except Exception as error:
            why = self.faults.refusal(error)
            return [row | why for row in rows.values()]

    @cached_property
    def of_silence(self) -> Voice | None:
        """The voice that is heard where there is none; null where the judge says so."""
        return self.embed(silence())

    def _row(self, row: Row, mine: Voice | None, path: str | None) -> Row:
        if path is None:
            return row | {"dropped": "no_prompt", "detail": "the recording of the prompt could not be read"}
        theirs = self._voice_of(path)
        if mine is None or theirs is None:
            where = "sample" if mine is None else "prompt"
            return row | {"dropped": "no_voice", "detail": f"no voice is heard in the {where}"}
        return row | {"value": float(mine @ theirs)}

    def _voice_of(self, path: str) -> Voice | None:
        if path not in self.known:
            self.known[path] = self.embed(audio_files.read(here(self.root / path), RATE))
        return self.known[path]


class SpeechScores:
    """What is measured of speech alone, or against its prompt, several figures at once."""

    def __init__(self, root: Path, judge: str, metrics: Sequence[str], look: Look) -> None:
        self.root, self.judge, self.metrics, self.look = root, judge, metrics, look
        self.faults = Faults()

    def score(self, sample: Row, speech: Waveform) -> list[Row]:
        """A row for each metric, dropped as `not_measurable` where there is nothing to measure it by."""
        rows = {metric: score_row(sample, metric, self.judge) for metric in self.metrics}
        try:
            path = sample[PROMPTS[SIMILARITY]]
            prompt = audio_files.read(here(self.root / path), RATE) if path else None
            values = self.look(sample, behind_its_prompt(sample, speech), prompt)
        except Exception as error:
            why = self.faults.refusal(error)
            return [row | why for row in rows.values()]
        return [
            row | ({"dropped": "not_measurable"} if (value := values.get(metric)) is None else {"value": float(value)})
            for metric, row in rows.items()
        ]


def behind_its_prompt(sample: Row, speech: Waveform) -> Waveform:
    """The speech that is a sample's own: a continuation begins with its prompt."""
    return speech[round((sample["prompt_seconds"] or 0) * RATE) :] if sample["system"] == CONTINUAL else speech
