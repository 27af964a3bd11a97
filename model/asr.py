"""Whisper as a judge: weights by name or by path, and batches of windows with all their evidence.

The surprising fact: a batch of spectrograms made in one call is not the batch of the spectrograms:
openai-whisper clips to 80 dB below the loudest sample of the whole batch, so a loud neighbour would
change what is heard. Each window gets its own spectrogram here, and a window that needs a second
try gets it alone, with a seed of its own.
Source: openai-whisper's `transcribe.py` (thresholds and fallback), Radford et al. 2022
(arXiv:2212.04356, section 4.5); Whisper's own checkpoint format.

B batch, F mel frames (3000 in 30 s), T encoder positions, D width.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor
    from whisper import DecodingOptions, DecodingResult
    from whisper.model import Whisper

SAMPLE_RATE = 16_000  # Hz, what Whisper hears
MAX_SECONDS = 30  # of one window
MAX_SAMPLES = MAX_SECONDS * SAMPLE_RATE
ENGINE = "openai-whisper"

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


@dataclass(frozen=True)
class Transcript:
    """What was heard in one window, and how sure the model was."""

    text: str  # empty where no speech was heard
    language: str  # ISO 639-1
    language_prob: float | None  # 0..1; None for an English-only model, which does not guess
    avg_logprob: float  # natural log, mean over the text's tokens and its end
    no_speech_prob: float  # 0..1
    compression_ratio: float  # bytes of text over bytes of it compressed
    temperature: float  # of the decoding that was kept


def identity(model: str) -> str:
    """What names a model's transcripts: `large-v3-turbo@aff26ae4`, `embedded@...`, `file@...` for a path.

    A known name needs no weights; a path's name is not part of it, so a moved file stays the same model.

    Raises:
        FileNotFoundError: no known name and no file.
    """
    name = ALIASES.get(model, model)
    if name in KNOWN:
        return f"{name}@{KNOWN[name]}"
    with _file(name).open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    return f"{'embedded' if name == 'embedded' else 'file'}@{digest[:8]}"


def load_asr(model: str, device: str = "cpu") -> "Whisper":
    """A Whisper by known name (fetched once, into openai-whisper's cache), `embedded`, or a checkpoint's path.

    Raises:
        FileNotFoundError: no known name and no file.
        ConnectionError: the weights of a known name are not here and cannot be fetched.
    """
    import whisper

    name = ALIASES.get(model, model)
    source = name if name in KNOWN else str(_file(name))
    try:
        loaded: Whisper = whisper.load_model(source, device=device)
        return loaded
    except URLError as error:
        raise ConnectionError(
            f"the weights of Whisper {name!r} cannot be fetched ({error.reason}); "
            f"name a checkpoint's path instead, or `embedded`"
        ) from error


def warm_asr(model: str, device: str = "cpu") -> "Whisper":
    """As `load_asr`, and kept for the next call of this process; a file that has changed is loaded anew."""
    return _warm(identity(model), model, device)


def transcribe(
    model: "Whisper",
    waveforms: Sequence[NDArray[np.float32]],
    *,
    ids: Sequence[str] | None = None,
    language: str | None = None,
    batch_size: int = 16,
) -> list[Transcript]:
    """What is said in each waveform, in their order; a transcript does not depend on its neighbours.

    A greedy pass runs in batches, windows of like length together. What fails its thresholds is decoded again by
    itself at rising temperatures, and the last try is kept where all fail.

    Args:
        model: any Whisper.
        waveforms: float32 `[num_samples]` each, at 16 kHz, 30 s at most.
        ids: what seeds each one's second tries; their positions where left out.
        language: ISO 639-1, forced; None lets a multilingual model detect it.
        batch_size: windows encoded together; of memory and speed only.

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
        transcripts = _hear(model, [waveforms[i] for i in batch], [names[i] for i in batch], language)
        heard.update(zip(batch, transcripts, strict=True))
    return [heard[i] for i in range(len(waveforms))]


@lru_cache(maxsize=2)
def _warm(_identity: str, model: str, device: str) -> "Whisper":
    return load_asr(model, device)


def _file(name: str) -> Path:
    path = EMBEDDED if name == "embedded" else Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"no Whisper is called {name!r} and no file is there; known are {', '.join(KNOWN)}")
    return path


def _hear(
    model: "Whisper", waveforms: list[NDArray[np.float32]], names: list[str], language: str | None
) -> list[Transcript]:
    """One batch: the greedy pass together, second tries alone."""
    import torch
    import whisper

    fp16 = model.device.type == "cuda"
    options = whisper.DecodingOptions(
        language=language if model.is_multilingual else "en", without_timestamps=True, fp16=fp16
    )
    with torch.no_grad():
        features = _features(model, waveforms, fp16)
        guesses = model.detect_language(features)[1] if model.is_multilingual else [None] * len(names)
        firsts = model.decode(features, options)
        results = [
            _second_tries(model, features[i : i + 1], first, options, names[i]) if _failed(first) else first
            for i, first in enumerate(firsts)
        ]
    return [_transcript(result, guess) for result, guess in zip(results, guesses, strict=True)]


def _features(model: "Whisper", waveforms: list[NDArray[np.float32]], fp16: bool) -> "Tensor":
    """Each waveform padded to 30 s and encoded: `[B, T, D]`."""
    import torch
    import whisper

    mels = [  # one by one: see the module's docstring
        whisper.log_mel_spectrogram(whisper.pad_or_trim(waveform, MAX_SAMPLES), model.dims.n_mels)
        for waveform in waveforms
    ]
    batch = torch.stack(mels).to(model.device)  # [B, mels, F]
    features: Tensor = model.encoder(batch.half() if fp16 else batch)
    return features


def _second_tries(
    model: "Whisper", features: "Tensor", first: "DecodingResult", options: "DecodingOptions", name: str
) -> "DecodingResult":
    """The first decoding at a rising temperature that passes, else the last; the same for the same name."""
    import torch

    result = first
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(zlib.crc32(name.encode()))
        for temperature in TEMPERATURES:
            again = replace(options, temperature=temperature, language=first.language)
            result = model.decode(features, again)[0]
            if not _failed(result):
                break
    return result


def _silent(result: "DecodingResult") -> bool:
    """No speech, by the token for it and by how unsure the text is."""
    return bool(result.no_speech_prob > MAX_NO_SPEECH_PROB and result.avg_logprob < MIN_AVG_LOGPROB)


def _failed(result: "DecodingResult") -> bool:
    """Unsure or repetitive, so worth a second try; silence is not."""
    poor = result.avg_logprob < MIN_AVG_LOGPROB or result.compression_ratio > MAX_COMPRESSION_RATIO
    return poor and not _silent(result)


def _transcript(result: "DecodingResult", guesses: dict[str, float] | None) -> Transcript:
    return Transcript(
        text="" if _silent(result) else result.text.strip(),
        language=result.language,
        language_prob=None if guesses is None else guesses[result.language],
        avg_logprob=result.avg_logprob,
        no_speech_prob=result.no_speech_prob,
        compression_ratio=result.compression_ratio,
        temperature=result.temperature,
    )
