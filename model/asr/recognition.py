"""Whisper as a judge: batches of windows, and all evidence of what was heard in them.

Neither way to batch that one would try first is right. openai-whisper's `transcribe` takes one
file at a time, and faster-whisper's batched pipeline leaves out the second tries and the thresholds they hang on. Here
a greedy pass runs in batches, and windows that fail are gathered and decoded again together, each by its own seed.

An engine (`asr_engine.py`) does the arithmetic, by openai-whisper or by CTranslate2, and says the same for both what
has failed. How good is good enough is not decided here: all evidence is kept, for filters.
Source: openai-whisper's `transcribe.py` (fallback), Radford et al. 2022 (arXiv:2212.04356, section 4.5).
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from model.asr.engine import (
    ENGINES,
    FASTER,
    MAX_SAMPLES,
    MAX_SECONDS,
    OPENAI,
    SAMPLE_RATE,
    Decoding,
    Engine,
    Waveform,
    Word,
)
from model.asr.weights import EMBEDDED, check_engine, identity, load_whisper

__all__ = [
    "EMBEDDED",
    "ENGINES",
    "FASTER",
    "MAX_SECONDS",
    "OPENAI",
    "SAMPLE_RATE",
    "Engine",
    "Transcript",
    "check_engine",
    "identity",
    "load_asr",
    "load_whisper",
    "transcribe",
    "warm_asr",
]

FAINTEST = 1e-4  # -80 dB below full scale: of samples that stay below it, nothing is heard
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)  # tried in turn after the greedy pass


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
        from model.asr.ctranslate2_engine import load_faster

        return load_faster(model, device)
    from model.asr.openai_engine import OpenAI

    return OpenAI(load_whisper(model, device))


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

    A greedy pass runs in batches, windows of like length together. What fails its thresholds is decoded again at
    rising temperatures, in batches of its own, and the last try is kept where all fail.

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
    heard = {i: _nothing(language) for i, waveform in enumerate(waveforms) if not _sounds(waveform)}
    order = sorted((i for i in range(len(waveforms)) if i not in heard), key=lambda i: len(waveforms[i]))

    def keep(i: int, windows: Any, row: int, kept: Decoding) -> None:
        spans = engine.align(windows, row, kept, len(waveforms[i])) if words and not kept.silent else None
        heard[i] = _transcript(kept, spans)

    failed: list[_Failed] = []
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        windows = engine.encode([waveforms[i] for i in batch])
        for row, (i, first) in enumerate(zip(batch, engine.decode(windows, language), strict=True)):
            if first.failed:
                failed.append(_Failed(i, names[i], engine.pick([(windows, row)]), first))
            else:
                keep(i, windows, row, first)
        while len(failed) >= batch_size or (failed and start + batch_size >= len(order)):
            again, failed = failed[:batch_size], failed[batch_size:]
            windows = engine.pick([(one.window, 0) for one in again])
            for row, kept in enumerate(_second_tries(engine, windows, again)):
                keep(again[row].place, windows, row, kept)
    return [heard[i] for i in range(len(waveforms))]


@lru_cache(maxsize=2)
def _warm(_identity: str, model: str, device: str, engine: str) -> Engine:
    return load_asr(model, device, engine)


@dataclass(frozen=True)
class _Failed:
    """A window whose greedy pass has failed."""

    place: int  # of its waveform
    name: str
    window: Any  # a batch of it alone
    first: Decoding


def _second_tries(engine: Engine, windows: Any, failed: Sequence[_Failed]) -> list[Decoding]:
    """Of each window the first decoding at a rising temperature that passes, else the last; the same for its name."""
    kept = [one.first for one in failed]
    for temperature in TEMPERATURES:
        rows = [row for row, decoding in enumerate(kept) if decoding.failed]
        if not rows:
            break
        languages = [kept[row].language for row in rows]
        seeds = [zlib.crc32(f"{failed[row].name} {temperature}".encode()) for row in rows]
        for row, found in zip(rows, engine.sample(windows, rows, languages, temperature, seeds), strict=True):
            kept[row] = replace(found, language_prob=failed[row].first.language_prob)
    return kept


def _sounds(waveform: Waveform) -> bool:
    """Whether there is anything to hear."""
    return bool(len(waveform)) and max(float(waveform.max()), -float(waveform.min())) > FAINTEST


def _nothing(language: str | None) -> Transcript:
    """Of a window without a sound no model is asked: OpenAI's `tiny.en` hears a confident «you» in it."""
    return Transcript("", "", language or "en", None, 0.0, 1.0, 0.0, 0.0, 0)


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
