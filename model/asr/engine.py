"""What an engine of Whisper is, and when what it has heard counts as failed or as silent.

The thresholds are openai-whisper's own and fixed, as much a part of hearing as the weights.
Source: openai-whisper's `transcribe.py`; Radford et al. 2022 (arXiv:2212.04356, section 4.5).
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # Hz, what Whisper hears
MAX_SECONDS = 30  # of one window
MAX_SAMPLES = MAX_SECONDS * SAMPLE_RATE

OPENAI, FASTER = "openai-whisper", "faster-whisper"
ENGINES = (OPENAI, FASTER)

MIN_AVG_LOGPROB = -1.0  # below it, a decoding has failed
MAX_COMPRESSION_RATIO = 2.4  # above it, a text repeats itself
MAX_NO_SPEECH_PROB = 0.6  # above it, and with a failed logprob, there was no speech

Waveform = NDArray[np.float32]  # [num_samples] at 16 kHz


@dataclass(frozen=True)
class Word:
    """A word and where it is said."""

    word: str
    start: float  # seconds from the window's start
    end: float
    prob: float  # 0..1, mean over its tokens


@dataclass(frozen=True)
class Decoding:
    """What an engine makes of one window, at one temperature."""

    text: str
    tokens: tuple[int, ...]  # of the text, without what stands before it and its end
    language: str  # ISO 639-1
    language_prob: float | None  # 0..1; None for an English-only model, which does not guess
    avg_logprob: float  # natural log, mean over the text's tokens and its end
    no_speech_prob: float  # 0..1
    temperature: float

    @property
    def compression_ratio(self) -> float:
        """Bytes of text over bytes of it compressed."""
        text = self.text.encode()
        return len(text) / len(zlib.compress(text))

    @property
    def silent(self) -> bool:
        """No speech, by the token for it and by how unsure the text is."""
        return self.no_speech_prob > MAX_NO_SPEECH_PROB and self.avg_logprob < MIN_AVG_LOGPROB

    @property
    def failed(self) -> bool:
        """Unsure or repetitive, so worth a second try; silence is not."""
        poor = self.avg_logprob < MIN_AVG_LOGPROB or self.compression_ratio > MAX_COMPRESSION_RATIO
        return poor and not self.silent


class Engine(Protocol):
    """A loaded Whisper. `windows` is its own: what it has encoded of a batch."""

    @property
    def name(self) -> str: ...

    def encode(self, waveforms: Sequence[Waveform]) -> Any:
        """A batch of windows, each padded to 30 s."""

    def decode(self, windows: Any, language: str | None) -> list[Decoding]:
        """The greedy pass over the batch; a language that is None is detected."""

    def pick(self, places: Sequence[tuple[Any, int]]) -> Any:
        """Single windows of several batches, as a batch of their own."""

    def sample(
        self, windows: Any, rows: Sequence[int], languages: Sequence[str], temperature: float, seeds: Sequence[int]
    ) -> list[Decoding]:
        """Some windows of a batch again, at a temperature, each with its language; the same for the same seed."""

    def align(self, windows: Any, i: int, decoding: Decoding, num_samples: int) -> tuple[Word, ...]:
        """Where the words of a decoding are said."""
