"""EnCodec's own STFT discriminator, small, for the last stretch of the codec's training.

Source: Défossez et al. 2022 (arXiv:2210.13438), sections 3.3 and 3.4: hinge losses, and features that should match.

Shapes: B batch, N samples, F frequencies, T steps of an STFT, C channels.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

_FILTERS = 8
_WINDOWS = (1024, 512, 2048)  # samples of an STFT, for one discriminator each
_KERNEL = (3, 9)  # steps, frequencies
_DILATIONS = (1, 2, 4)  # of steps, in the layers that halve the frequencies


class _Discriminator(nn.Module):
    """Judges the STFT of one window."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.size = window
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.layers = nn.ModuleList([nn.Conv2d(2, _FILTERS, _KERNEL, padding=(1, 4))])
        for dilation in _DILATIONS:
            wide = nn.Conv2d(_FILTERS, _FILTERS, _KERNEL, (1, 2), padding=(dilation, 4), dilation=(dilation, 1))
            self.layers.append(weight_norm(wide))
        for outputs in (_FILTERS, 1):
            self.layers.append(weight_norm(nn.Conv2d(_FILTERS, outputs, 3, padding=1)))

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Its judgement of `[B, 1, N]`, and the features `[B, C, T, F']` that lead to it."""
        window = self.get_buffer("window")
        spectrum = torch.stft(wav[:, 0], self.size, self.size // 4, window=window, center=False, return_complex=True)
        x = torch.view_as_real(spectrum / window.pow(2).sum().sqrt()).permute(0, 3, 2, 1)
        features = []
        for layer, _ in pairwise(self.layers):
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        judgement: Tensor = self.layers[-1](x)
        return judgement, features


class _Discriminators(nn.Module):
    """One for each window."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(map(_Discriminator, _WINDOWS))

    def forward(self, wav: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Judgements of `[B, 1, N]`, and features, of each."""
        found = [one(wav) for one in self.discriminators]
        return [judgement for judgement, _ in found], [features for _, features in found]


def discriminator() -> Any:
    """An untrained one, the same each time."""
    torch.manual_seed(0)
    return _Discriminators()


def telling(judge: Any, wav: Tensor, decoded: Tensor) -> Tensor:
    """The judge's hinge loss: speech `[B, 1, N]` above 1, decoded speech below -1."""
    true, _ = judge(wav)
    made, _ = judge(decoded)
    losses = [F.relu(1 - t).mean() + F.relu(1 + m).mean() for t, m in zip(true, made, strict=True)]
    return torch.stack(losses).mean()


def fooling(judge: Any, wav: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
    """What decoded speech loses by being told from speech, and how far the judge's features of both are apart."""
    with torch.no_grad():
        _, true = judge(wav)
    made, features = judge(decoded)
    told = torch.stack([F.relu(1 - m).mean() for m in made]).mean()
    apart = [
        (f - t).abs().mean() / t.abs().mean().clamp(min=1e-4)
        for ts, fs in zip(true, features, strict=True)
        for t, f in zip(ts, fs, strict=True)
    ]
    return told, torch.stack(apart).mean()
