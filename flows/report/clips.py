"""Clips: stretches of speech inside the page, as FLAC, so that no codec is heard, and their spectrograms."""

import io
import math
import struct
import zlib
from base64 import b64encode
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from warehouse.corpus_copy import file_here

LONGEST = 15.0  # seconds of one clip
ROOM = 9_000_000  # bytes of all clips of a page, in base64
_RATE = 24_000  # Hz at most
_WINDOW, _BANDS, _COLUMNS = 1024, 56, 300  # samples; rows and columns of a spectrogram
_QUIET, _LOUD = -95.0, -25.0  # dB: the ends of the colours, for all clips the same
_RAMP = ((13, 8, 33), (58, 28, 98), (140, 41, 99), (221, 81, 58), (252, 165, 60), (252, 246, 190))


@dataclass(frozen=True)
class Clip:
    """A stretch that can be heard, or why not."""

    seconds: float = 0.0  # of what is played
    audio: str = ""  # a data: URI of FLAC
    spectrogram: str = ""  # a data: URI of PNG
    level_db: float = -math.inf  # dB of full scale, root mean square
    trouble: str | None = None
    is_whole: bool = True  # or the beginning alone


class Clips:
    """Makes clips until there is no more room in the page."""

    def __init__(self, room: int = ROOM) -> None:
        self.room = room

    def take(self, path: Path, start: int = 0, stop: int | None = None) -> Clip:
        """A stretch of a file in samples of its own; the first `LONGEST` seconds of it."""
        import soundfile

        from tasks.audio.audio_files import Unreadable, read

        try:
            path = file_here(path)
            own = soundfile.info(path).samplerate
            limit = start + round(LONGEST * own)
            is_whole = (soundfile.info(path).frames if stop is None else stop) <= limit
            speech = read(path, min(own, _RATE), start, stop if is_whole else limit)
        except (Unreadable, OSError, RuntimeError) as error:
            return Clip(trouble=str(error) if isinstance(error, Unreadable) else f"{path.name} cannot be read")
        if not len(speech):
            return Clip(trouble=f"{path.name} has no samples there")
        rate = min(own, _RATE)
        audio = f"data:audio/flac;base64,{_base64(_flac(speech, rate))}"
        if len(audio) > self.room:
            return Clip(trouble="left out: the page has no more room for audio")
        self.room -= len(audio)
        picture = f"data:image/png;base64,{_base64(_png(spectrogram(speech, rate)))}"
        level = 10 * math.log10(max(1e-12, float(np.mean(np.square(speech, dtype=np.float64)))))
        return Clip(len(speech) / rate, audio, picture, level, is_whole=is_whole)


def spectrogram(speech: NDArray[np.float32], rate: int) -> NDArray[np.uint8]:
    """Loudness `[bands, columns]`, 0 to 255, of mel bands from low (the last row) to high; absolute, not by clip.

    Args:
        speech: `[num_samples]`, mono.
        rate: Hz.
    """
    padded = np.pad(speech, (0, max(0, _WINDOW - len(speech))))
    starts = np.linspace(0, len(padded) - _WINDOW, min(_COLUMNS, 1 + len(padded) // 64)).astype(int)
    window = np.hanning(_WINDOW) / (_WINDOW / 4)
    frames = padded[starts[:, None] + np.arange(_WINDOW)] * window
    power = np.abs(np.fft.rfft(frames)) ** 2  # [columns, bins]
    top = 2595 * math.log10(1 + min(8_000, rate / 2) / 700)
    edges = 700 * (10 ** (np.linspace(0, top, _BANDS + 1) / 2595) - 1)
    bins = np.minimum(np.round(edges * _WINDOW / rate).astype(int), power.shape[1] - 1)
    rows = [power[:, low : max(high, low + 1)].mean(axis=1) for low, high in pairwise(bins)]
    loudness = 10 * np.log10(np.maximum(np.stack(rows[::-1]), 1e-12))
    return np.asarray(255 * np.clip((loudness - _QUIET) / (_LOUD - _QUIET), 0, 1), np.uint8)


def _flac(speech: NDArray[np.float32], rate: int) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(speech, -1, 1), rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _png(values: NDArray[np.uint8]) -> bytes:
    """Values `[rows, columns]` as a picture of a palette."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    places = np.linspace(0, len(_RAMP) - 1, 256)
    palette = np.stack([np.interp(places, range(len(_RAMP)), channel) for channel in zip(*_RAMP, strict=True)], axis=1)
    height, width = values.shape
    lines = np.pad(values, ((0, 0), (1, 0)))  # each begins with the filter that it has: none
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            chunk(b"IHDR", header),
            chunk(b"PLTE", palette.astype(np.uint8).tobytes()),
            chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)),
            chunk(b"IEND", b""),
        )
    )


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
