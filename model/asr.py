"""Whisper as a judge: weights by name or by path, and batches of windows with all their evidence.

The surprising fact: neither way to batch that one would try first is right. openai-whisper's `transcribe` takes one
file at a time, and faster-whisper's batched pipeline leaves out the second tries and the thresholds they hang on. Here
a greedy pass runs in batches, and a window that fails is decoded again by itself, with a seed of its own.

An engine does the arithmetic (`model/asr_openai.py`, `model/asr_ctranslate2.py`); what counts as failed or as silent is
here, the same for both: openai-whisper's own fixed thresholds, as much a part of hearing as the weights. How good is
good enough is not decided here: all evidence is kept, for filters.
Source: openai-whisper's `transcribe.py` (thresholds and fallback), Radford et al. 2022
(arXiv:2212.04356, section 4.5); Whisper's own checkpoint format.
"""

import hashlib
import pickle
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError
from zipfile import is_zipfile

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # Hz, what Whisper hears
MAX_SECONDS = 30  # of one window
MAX_SAMPLES = MAX_SECONDS * SAMPLE_RATE
OPENAI, FASTER = "openai-whisper", "faster-whisper"
ENGINES = (OPENAI, FASTER)

EMBEDDED = Path(__file__).parent / "embedded" / "whisper.pt"

KNOWN = {
    "tiny.en": "d3dd57d3",
    "tiny": "65147644",
    "base.en": "25a8566e",
    "base": "ed3a0b6b",
    "small.en": "f953ad0f",
    "small": "9ecf7799",
    "medium.en": "d7440d1d",
    "medium": "345ae4da",
    "large-v1": "e4b87e7e",
    "large-v2": "81f7c96c",
    "large-v3": "e5b1a55b",
    "large-v3-turbo": "aff26ae4",
}
"""OpenAI's models and the start of their sha256, which openai-whisper checks on download."""

ALIASES = {"large": "large-v3", "turbo": "large-v3-turbo"}

TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)  # tried in turn after the greedy pass
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


@dataclass(frozen=True)
class Transcript:
    """What was heard in one window, and how sure the model was."""

    text: str  # empty where no speech was heard
    discarded: str  # what the model wrote where there was no speech to it; else empty
    language: str  # ISO 639-1
    language_prob: float | None  # 0..1; None for an English-only model, which does not guess
    avg_logprob: float  # natural log, mean over the text's tokens and its end
    no_speech_prob: float  # 0..1
    compression_ratio: float  # bytes of text over bytes of it compressed
    temperature: float  # of the decoding that was kept
    num_tokens: int  # of that decoding; at 224 it was cut off
    words: tuple[Word, ...] | None = None  # where they were asked for


class Engine(Protocol):
    """A loaded Whisper. `windows` is its own: what it has encoded of a batch."""

    @property
    def name(self) -> str: ...

    def encode(self, waveforms: Sequence[Waveform]) -> Any:
        """A batch of windows, each padded to 30 s."""

    def decode(self, windows: Any, language: str | None) -> list[Decoding]:
        """The greedy pass over the batch; a language that is None is detected."""

    def sample(self, windows: Any, i: int, language: str, temperature: float, seed: int) -> Decoding:
        """One window again, at a temperature; the same for the same seed."""

    def align(self, windows: Any, i: int, decoding: Decoding, num_samples: int) -> tuple[Word, ...]:
        """Where the words of a decoding are said."""


def identity(model: str) -> str:
    """What names a model's transcripts: `large-v3-turbo@aff26ae4`, `embedded@...`, `file@...` for a path.

    A known name needs no weights; a path's name is not part of it, so a moved file stays the same model. A folder is
    a model in CTranslate2's format, and is named by its `model.bin`.

    Raises:
        FileNotFoundError: no known name and no file.
    """
    name = ALIASES.get(model, model)
    if name in KNOWN:
        return f"{name}@{KNOWN[name]}"
    with weights_path(name).open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    return f"{'embedded' if name == 'embedded' else 'file'}@{digest[:8]}"


def load_asr(model: str, device: str = "cpu", engine: str = OPENAI) -> Engine:
    """A Whisper by known name (fetched once, into openai-whisper's cache), `embedded`, or a checkpoint's path.

    Both engines compute with the same weights: faster-whisper's are converted as they are loaded, so a known name
    means its publisher's own. It also takes a folder in CTranslate2's format.

    Raises:
        ValueError: there is no such engine, it is not installed, or it cannot load this file.
        FileNotFoundError: no known name and no file.
        ConnectionError: the weights of a known name are not here and cannot be fetched.
    """
    check_engine(engine, model)
    if engine == FASTER:
        from model.asr_ctranslate2 import load_faster

        return load_faster(model, device)
    from model.asr_openai import OpenAI

    return OpenAI(load_whisper(model, device))


def check_engine(engine: str, model: str) -> None:
    """Nothing, where the engine is there and takes such a model; neither is loaded for it.

    Raises:
        ValueError: it is not or does not, in one sentence.
        FileNotFoundError: the model is no known name and no file.
    """
    if engine not in ENGINES:
        raise ValueError(f"there is no engine {engine!r} for Whisper; there are {' and '.join(ENGINES)}")
    if engine == FASTER and find_spec("ctranslate2") is None:
        raise ValueError(f"the engine {FASTER!r} is not installed; pip install 'valle[faster]' brings it")
    if ALIASES.get(model, model) in KNOWN:
        return
    path = weights_path(model)
    if Path(model).is_dir():
        if engine != FASTER:
            raise ValueError(f"{model} is a folder in CTranslate2's format, which only the engine {FASTER!r} loads")
    elif not is_zipfile(path):
        raise ValueError(f"{model} is no checkpoint of openai-whisper's, which both engines load")


def load_whisper(model: str, device: str = "cpu") -> Any:
    """openai-whisper's own model, by the names of `load_asr`.

    Raises:
        ValueError: the file is no checkpoint of openai-whisper's.
        FileNotFoundError: no known name and no file.
        ConnectionError: the weights of a known name are not here and cannot be fetched.
    """
    import whisper

    name = ALIASES.get(model, model)
    source = name if name in KNOWN else str(weights_path(name))
    try:
        return whisper.load_model(source, device=device)
    except URLError as error:
        raise ConnectionError(
            f"the weights of Whisper {name!r} cannot be fetched ({error.reason}); "
            f"name a checkpoint's path instead, or `embedded`"
        ) from error
    except (KeyError, TypeError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        if name in KNOWN:
            raise
        raise ValueError(f"{model} is no checkpoint of openai-whisper's ({type(error).__name__})") from error


def warm_asr(model: str, device: str = "cpu", engine: str = OPENAI) -> Engine:
    """As `load_asr`, and kept for the next call of this process; a file that has changed is loaded anew."""
    return _warm(identity(model), model, device, engine)


def transcribe(
    engine: Engine,
    waveforms: Sequence[Waveform],
    *,
    ids: Sequence[str] | None = None,
    language: str | None = None,
    batch_size: int = 16,
    words: bool = False,
) -> list[Transcript]:
    """What is said in each waveform, in their order; a transcript does not depend on its neighbours.

    A greedy pass runs in batches, windows of like length together. What fails its thresholds is decoded again by
    itself at rising temperatures, and the last try is kept where all fail.

    Args:
        engine: any Whisper, from `load_asr`.
        waveforms: float32 `[num_samples]` each, at 16 kHz, 30 s at most.
        ids: what seeds each one's second tries; their positions where left out.
        language: ISO 639-1, forced; None lets a multilingual model detect it.
        batch_size: windows decoded together; of memory and speed only.
        words: whether each word gets its place in time, which takes as long again.

    Raises:
        ValueError: a waveform is longer than 30 s.
    """
    names = [str(i) for i in range(len(waveforms))] if ids is None else list(ids)
    for name, waveform in zip(names, waveforms, strict=True):
        if len(waveform) > MAX_SAMPLES:
            seconds = len(waveform) / SAMPLE_RATE
            raise ValueError(f"{name} is {seconds:.1f} s long, and Whisper hears {MAX_SECONDS} s at a time")
    order = sorted(range(len(waveforms)), key=lambda i: len(waveforms[i]))
    heard: dict[int, Transcript] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        windows = engine.encode([waveforms[i] for i in batch])
        for row, (i, first) in enumerate(zip(batch, engine.decode(windows, language), strict=True)):
            kept = _second_tries(engine, windows, row, first, names[i]) if first.failed else first
            spans = engine.align(windows, row, kept, len(waveforms[i])) if words and not kept.silent else None
            heard[i] = _transcript(kept, spans)
    return [heard[i] for i in range(len(waveforms))]


@lru_cache(maxsize=2)
def _warm(_identity: str, model: str, device: str, engine: str) -> Engine:
    return load_asr(model, device, engine)


def weights_path(name: str) -> Path:
    """The file that holds a model's weights: `embedded`, a checkpoint, or a folder in CTranslate2's format.

    Raises:
        FileNotFoundError: there is none.
    """
    path = EMBEDDED if name == "embedded" else Path(name)
    path = path / "model.bin" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no Whisper is called {name!r} and no file is there; known are {', '.join(KNOWN)}")
    return path


def _second_tries(engine: Engine, windows: Any, row: int, first: Decoding, name: str) -> Decoding:
    """The first decoding at a rising temperature that passes, else the last; the same for the same name."""
    kept = first
    for temperature in TEMPERATURES:
        seed = zlib.crc32(f"{name} {temperature}".encode())
        kept = replace(
            engine.sample(windows, row, first.language, temperature, seed), language_prob=first.language_prob
        )
        if not kept.failed:
            break
    return kept


def _transcript(kept: Decoding, words: tuple[Word, ...] | None) -> Transcript:
    return Transcript(
        text="" if kept.silent else kept.text,
        discarded=kept.text if kept.silent else "",
        language=kept.language,
        language_prob=kept.language_prob,
        avg_logprob=kept.avg_logprob,
        no_speech_prob=kept.no_speech_prob,
        compression_ratio=kept.compression_ratio,
        temperature=kept.temperature,
        num_tokens=len(kept.tokens),
        words=words,
    )
