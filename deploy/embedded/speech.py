"""Speech to train on: a folder of utterances as one waveform, and what rooms, lines and gain do to it.

The embedded codec is to pass real people on, of whom it hears none: noise, filters and rooms make of few clean voices
many that are not.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.codec.encodec import SAMPLE_RATE


def speech_of(folder: Path) -> NDArray[np.int16]:
    """Every utterance below a folder, one after the other, `[N]` at 24 kHz; `.npy` are many already."""
    import soundfile

    paths = sorted(folder.rglob("*.ogg"))
    found = [np.load(path) for path in sorted(folder.glob("*.npy"))]
    if not paths and not found:
        raise SystemExit(
            f"{folder} holds no speech yet; python -m deploy.embedded.corpus makes it, or deploy.embedded.accelerated"
        )
    for path in paths:
        try:
            found.append(soundfile.read(path, dtype="int16")[0])
        except soundfile.LibsndfileError:  # still being written
            continue
    return np.concatenate(found)


def disturbed(wav: NDArray[np.float32], pick: np.random.Generator) -> Tensor:
    """Waveforms `[B, N]` at other levels; half of them filtered, a third in a room, two fifths with noise."""
    size = wav.shape[1]
    spectrum = np.fft.rfft(wav, 2 * size)
    hertz = np.asarray(np.fft.rfftfreq(2 * size, 1 / SAMPLE_RATE), np.float64)
    for row in spectrum:
        if pick.random() < 0.5:
            row *= _tilt(hertz, pick)
        if pick.random() < 0.33:
            row *= _room(2 * size, pick)
    heard = np.fft.irfft(spectrum)[:, :size]
    for row in heard:
        if pick.random() < 0.4:
            row += _noise(size, pick) * row.std() * 10 ** (-pick.uniform(10, 40) / 20)
    heard *= 10 ** (pick.uniform(-8, 2, (len(wav), 1)) / 20)
    return torch.from_numpy(np.clip(heard, -1, 1).astype(np.float32))


def _tilt(hertz: NDArray[np.float64], pick: np.random.Generator) -> NDArray[np.float64]:
    """A smooth gain, within 8 dB, drawn at eight places an octave apart; sometimes a line that ends at 3.4 to 8 kHz."""
    octaves = np.log2(np.maximum(hertz, 50) / 50)
    gain = np.interp(octaves, np.arange(8), pick.uniform(-8, 8, 8))
    if pick.random() < 0.3:
        gain -= 24 * np.maximum(0, np.log2(np.maximum(hertz, 1) / pick.uniform(3_400, 8_000)))
    curve: NDArray[np.float64] = 10 ** (gain / 20)
    return curve


def _room(size: int, pick: np.random.Generator) -> NDArray[np.complex128]:
    """The response of a room: the sound itself, then noise that dies away within 0.15 to 0.5 s."""
    length = int(pick.uniform(0.15, 0.5) * SAMPLE_RATE)
    tail = pick.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    tail *= 10 ** (-pick.uniform(3, 15) / 20) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    return np.fft.rfft(tail, size)


def _noise(size: int, pick: np.random.Generator) -> NDArray[np.float64]:
    """Noise of unit variance, between white and brown."""
    spectrum = np.fft.rfft(pick.standard_normal(size))
    spectrum /= np.maximum(1, np.arange(len(spectrum))) ** pick.uniform(0, 0.8)
    noise = np.fft.irfft(spectrum, size)
    scaled: NDArray[np.float64] = noise / noise.std()
    return scaled
