"""Windowed-sinc resampling of many waveforms at once on any device, as torchaudio's `resample` does it by default.

Source: torchaudio 2.1, `torchaudio.functional.resample`; Smith, Digital Audio Resampling Home Page.

Shapes: B batch, N samples.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

_CROSSINGS = 16  # zero crossings of the sinc on either side
_ROLLOFF = 0.97  # of the lower rate's half, where what passes ends


def resample(wav: Tensor, old: int, new: int) -> Tensor:
    """Waveforms `[B, N]` at a rate `old` as they are at `new`, `[B, ceil(N * new / old)]`; rates are small numbers."""
    kernels, width = _kernels(old, new, wav.device)
    heard = F.conv1d(F.pad(wav, (width, width + old))[:, None], kernels, stride=old)
    return heard.transpose(1, 2).reshape(len(wav), -1)[:, : -(-new * wav.shape[1] // old)]


@cache
def _kernels(old: int, new: int, device: torch.device) -> tuple[Tensor, int]:
    """A filter for each of the new samples that fall among `old` old ones, `[new, 1, 2 * width + old]`; the width."""
    cutoff = min(old, new) * _ROLLOFF
    width = math.ceil(_CROSSINGS * old / cutoff)
    samples = torch.arange(-width, width + old, dtype=torch.float64, device="cpu") / old
    phases = torch.arange(0, -new, -1, dtype=torch.float64, device="cpu")[:, None, None] / new
    time = ((phases + samples) * cutoff).clamp(-_CROSSINGS, _CROSSINGS)
    window = torch.cos(time * math.pi / _CROSSINGS / 2) ** 2
    return (torch.sinc(time) * window * (cutoff / old)).float().to(device), width
