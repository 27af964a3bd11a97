"""Resemblyzer's voice encoder: speech to a direction in 256 dimensions, much the same for all that a speaker says.

Its weights are those of the package `resemblyzer`, version 0.1.4, without what training kept beside them. The package
itself is no requirement, for it asks for a webrtcvad that needs a compiler and a module that setuptools no longer has.
Source: Wan et al. 2018 (arXiv:1710.10467); resemble-ai/Resemblyzer, Apache-2.0 (`model/embedded/resemblyzer.LICENSE`).

Shapes: N samples, W windows of 160 frames, F frames, M mel bands.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.gpu.full_precision import keep_fp32
from model.speaker.weights import WEIGHTS

RATE = 16_000  # Hz

HOP, _WINDOW, _BANDS = 160, 400, 40  # samples, samples, mel bands: 25 ms of sound every 10 ms
SEEN = 160  # frames that the network sees at once: 1.6 s
STEP = round(RATE / 1.3 / HOP)  # frames from one window to the next, 1.3 of them a second
COVERED = 0.75  # of a last window, for it to count
LEVEL = 10 ** (-30 / 20)  # what quiet speech is raised to, root mean square: -30 dB of full scale
_HEARD = RATE * 30 // 1000  # samples that are speech or pause: 30 ms
_SMOOTHED, _KEPT = 8, 3  # such stretches: of a moving majority, and kept on either side of speech


class VoiceEncoder(nn.Module):
    """The LSTM and what it makes of speech, with the published weights, on one device."""

    def __init__(self, device: str = "cpu") -> None:
        from safetensors.torch import load_file

        super().__init__()
        keep_fp32()
        self.lstm = nn.LSTM(_BANDS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        self.load_state_dict(load_file(WEIGHTS))
        self.to(device).eval().requires_grad_(False)

    def forward(self, mels: Tensor) -> Tensor:
        """Voices `[W, 256]` of length 1 of windows `[W, 160, M]`."""
        _, (hidden, _) = self.lstm(mels)
        return nn.functional.normalize(self.linear(hidden[-1]).relu(), dim=1)

    @torch.inference_mode()
    def embed(self, speech: NDArray[np.float32]) -> NDArray[np.float32]:
        """The voice `[256]`, of length 1, of speech `[N]` at 16 kHz: the mean of its windows'."""
        starts = _starts(len(speech))
        missing = max(0, (starts[-1] + SEEN) * HOP - len(speech))
        mels = mel(torch.from_numpy(np.pad(np.asarray(speech, np.float32), (0, missing))))
        seen = torch.stack([mels[start : start + SEEN] for start in starts])
        voice = self(seen.to(self.linear.weight.device)).mean(0)
        found: NDArray[np.float32] = nn.functional.normalize(voice, dim=0).cpu().numpy()
        return found


def level(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """Speech as loud as the encoder has learnt it, where it is quieter."""
    loudness = float(np.sqrt(np.mean(np.square(speech, dtype=np.float64))))
    return np.asarray(speech * max(1.0, LEVEL / loudness), np.float32)


def without_pauses(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is left of speech `[N]` at 16 kHz when its longer pauses are cut out: whole stretches of 30 ms."""
    from webrtcvad import Vad

    detector = Vad(3)
    stretches = speech[: len(speech) // _HEARD * _HEARD].reshape(-1, _HEARD)
    samples = np.round(stretches * 32_767).astype("<i2")
    voiced = np.array([detector.is_speech(one.tobytes(), RATE) for one in samples], np.float64)
    around = np.pad(voiced, ((_SMOOTHED - 1) // 2, _SMOOTHED // 2))
    majority = np.convolve(around, np.ones(_SMOOTHED), "valid") > _SMOOTHED / 2
    kept = np.convolve(np.pad(majority, _KEPT), np.ones(2 * _KEPT + 1), "valid") > 0.5
    return stretches[kept].reshape(-1)


def _starts(num_samples: int) -> list[int]:
    """The frames at which windows begin."""
    frames = (num_samples + HOP) // HOP  # the last one may be a part
    starts = list(range(0, max(1, frames - SEEN + STEP + 1), STEP))
    covered = (num_samples - starts[-1] * HOP) / (SEEN * HOP)
    return starts[:-1] if covered < COVERED and len(starts) > 1 else starts


def mel(speech: Tensor) -> Tensor:
    """The power of speech `[N]` or `[B, N]` in mel bands, `[F, M]` or `[B, F, M]`."""
    window = torch.hann_window(_WINDOW, device=speech.device)
    spectrum = torch.stft(speech, _WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)
    return (_filters().to(speech.device) @ spectrum.abs().square()).mT


@cache
def _filters() -> Tensor:
    """Triangles over the spectrum, `[M, 201]`: even steps to 1 kHz and logarithmic above, each of the same area."""
    knee, step, growth = 1000.0, 200 / 3, np.log(6.4) / 27  # Hz, Hz a mel, and the logarithm of a mel above the knee
    highest = knee / step + np.log(RATE / 2 / knee) / growth
    mels = np.linspace(0, highest, _BANDS + 2)
    edges = np.where(mels < knee / step, mels * step, knee * np.exp(growth * (mels - knee / step)))
    bins = np.linspace(0, RATE / 2, _WINDOW // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(triangles.astype(np.float32))
