"""Voice activity detection by silero-vad, for corpora that do not mark where somebody speaks.

It listens in a stream. Frames of 32 ms go in one after the other and the model carries
its state along, so a recording of hours takes no more memory than one of a minute.
Source: snakers4/silero-vad, MIT licence, weights in its wheel.
"""

import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.audio.audio_files import read, sha256

_RATE = 16_000  # Hz, what the model was trained on
_FRAME = 512  # samples of one frame at 16 kHz: 32 ms
_BLOCK = 60  # seconds read at once: 1,875 frames, exactly
_PAUSE_MS = 250  # a shorter gap is part of the speech around it
_PAD_MS = 32  # added on either side of what the model hears


def digest() -> str:
    """The sha256 of the weights."""
    return sha256(_weights())


def stretches(path: Path, rate: int, length: int) -> list[tuple[int, int]]:
    """Voiced stretches of a recording, in its own samples, in order and apart from each other.

    Args:
        path: the audio file.
        rate: its own, in Hz.
        length: its samples.

    Raises:
        Unreadable: the file cannot be decoded.
    """
    from model.cpu.threads import one_thread

    with one_thread():  # silero-vad's own import would leave one to the whole process for good
        marks = [min(length, round(at * rate / _RATE)) for at in _marks(_frames(path, rate, length))]
    if len(marks) % 2:
        marks.append(length)
    return _apart(zip(marks[::2], marks[1::2], strict=True))


def _marks(frames: Iterable[NDArray[np.float32]]) -> Iterator[int]:
    """Where speech starts, ends, starts ..., in samples at 16 kHz."""
    import torch
    from silero_vad import VADIterator

    listener = VADIterator(_model(), sampling_rate=_RATE, min_silence_duration_ms=_PAUSE_MS, speech_pad_ms=_PAD_MS)
    for frame in frames:
        yield from (listener(torch.from_numpy(frame)) or {}).values()


def _apart(found: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Stretches without those that hold nothing, and those that touch joined."""
    apart: list[tuple[int, int]] = []
    for start, end in found:
        if apart and start <= apart[-1][1]:
            start = apart.pop()[0]
        if start < end:
            apart.append((start, end))
    return apart


def _frames(path: Path, rate: int, length: int) -> Iterator[NDArray[np.float32]]:
    """The recording at 16 kHz in frames `[512]`, the last one filled up with silence."""
    for start in range(0, length, _BLOCK * rate):
        sound = read(path, _RATE, start, min(length, start + _BLOCK * rate))
        sound = np.pad(sound, (0, -len(sound) % _FRAME))
        yield from sound.reshape(-1, _FRAME)


def _weights() -> Path:
    from importlib.util import find_spec

    found = find_spec("silero_vad")
    if found is None or found.origin is None:
        raise RuntimeError(
            "silero-vad is not installed; it finds speech where a corpus does not say: pip install silero-vad"
        )
    return Path(found.origin).parent / "data" / "silero_vad.jit"


@cache
def _model() -> Any:
    import torch

    load: Any = torch.jit.load
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which is how silero-vad comes
        model = load(_weights(), map_location="cpu")
    model.eval()
    return model
