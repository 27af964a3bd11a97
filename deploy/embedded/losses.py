"""What separates decoded speech from speech, as gradients need it.

A codec of so few bits grew less intelligible by STOI while its multi-scale mel losses fell; the
correlation of envelopes had to be asked for.
Source: Défossez et al. 2022 (arXiv:2210.13438), section 3.4; Taal et al. 2011 for the correlation.

Shapes: B batch, N samples, F bins.
"""

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from model.codec.encodec import HOP, SAMPLE_RATE

_WINDOWS = {256: 24, 512: 40, 1024: 64, 2048: 80}  # samples of an STFT to its number of mel bands


@functools.cache
def mel_bands(window: int, bands: int) -> Tensor:
    """Triangles `[bands, window / 2 + 1]` on the mel scale from 0 to 12 kHz, each of unit sum."""
    edges = 700 * (10 ** (torch.linspace(0, math.log10(1 + 12_000 / 700), bands + 2)) - 1)
    hertz = torch.linspace(0, 12_000, window // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = torch.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)).clamp(min=0)
    return triangles / triangles.sum(1, keepdim=True).clamp(min=1e-3)


def magnitudes(wav: Tensor, window: int) -> Tensor:
    """STFT magnitudes `[B, F, frames]`, noise as loud as its samples; the epsilon keeps the root's gradient finite."""
    padded = F.pad(wav.squeeze(1), (window // 2, window // 2))
    shape = torch.hann_window(window)
    shape = shape / shape.pow(2).sum().sqrt()
    spectrum = torch.stft(padded, window, window // 4, window=shape, center=False, return_complex=True)
    return torch.view_as_real(spectrum).pow(2).sum(-1).add(1e-9).sqrt()


def losses(decoded: Tensor, wav: Tensor) -> dict[str, Tensor]:
    """What separates decoded speech from speech.

    `linear`: the difference of STFT magnitudes, as a share of theirs.
    `envelope`: that of the mel bands' envelopes, each band as a share of its own. `mel`: that of log10 mel bands, with
    an epsilon inside the logarithm, since a clamp starves the gradient, and of -50 dB, since nobody hears less.
    `correlation`: one less that of third-octave envelopes over 0.4 s, which is what STOI measures.
    """
    sums = {"linear": torch.zeros(()), "envelope": torch.zeros(()), "mel": torch.zeros(())}
    for window, bands in _WINDOWS.items():
        truth, guess = magnitudes(wav, window), magnitudes(decoded, window)
        sums["linear"] += ((truth - guess).abs().sum((1, 2)) / (truth.sum((1, 2)) + 0.01)).mean()
        triangles = mel_bands(window, bands)
        truth, guess = triangles @ truth, triangles @ guess
        sums["envelope"] += ((truth - guess).abs().mean(2) / (truth.mean(2) + 3e-3)).mean()
        sums["mel"] += (torch.log10(truth + 3e-3) - torch.log10(guess + 3e-3)).abs().mean()
    means = {name: value / len(_WINDOWS) for name, value in sums.items()}
    return means | {"correlation": 1 - envelope_correlation(decoded, wav)}


def envelope_correlation(decoded: Tensor, wav: Tensor) -> Tensor:
    """Mean correlation of third-octave envelopes, 150 Hz to 4.3 kHz, over stretches of 0.4 s that are not silent.

    Source: Taal et al. 2011, a short-time objective intelligibility measure, without its clipping.
    """
    window = 2 * HOP
    hertz = torch.linspace(0, SAMPLE_RATE / 2, window // 2 + 1)
    centres = 150 * 2 ** (torch.arange(15) / 3)
    octaves = (hertz / centres[:, None]).clamp(min=1e-3).log2()
    third_octaves = ((octaves >= -1 / 6) & (octaves < 1 / 6)).float()
    envelopes = []
    for speech in (wav, decoded):
        power = magnitudes(speech, window).pow(2)
        stretches = (third_octaves @ power + 1e-9).sqrt().unfold(2, 60, 15)
        envelopes.append(stretches - stretches.mean(3, keepdim=True))
    truth, guess = envelopes
    norms = truth.norm(dim=3) * guess.norm(dim=3)
    voiced = truth.norm(dim=3) > 1e-2
    alike: Tensor = ((truth * guess).sum(3) / (norms + 1e-4))[voiced].sum() / voiced.sum().clamp(min=1)
    return alike
