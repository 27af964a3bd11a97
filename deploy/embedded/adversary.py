"""EnCodec's own STFT discriminator, small, for the last stretch of the codec's training.

The `encodec` package's discriminator asks torchaudio for its spectrogram, which torch alone gives as well.
Source: Défossez et al. 2022 (arXiv:2210.13438), section 3.4: hinge losses, and features that should match.

Shapes: B batch, N samples.
"""

import sys
import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FILTERS = 8
_WINDOWS = (1024, 512, 2048)  # samples of an STFT, for one discriminator each


class _Spectrogram(nn.Module):
    """What torchaudio's `Spectrogram` is where it is asked for complex values."""

    def __init__(self, n_fft: int, hop_length: int, win_length: int, normalized: bool, **_ignored: Any) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.win_length = n_fft, hop_length, win_length
        self.normalized = normalized
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """Complex `[B, 1, F, T]` of `[B, 1, N]`."""
        window = self.get_buffer("window")
        spectrum = torch.stft(
            wav[:, 0], self.n_fft, self.hop_length, self.win_length, window, center=False, return_complex=True
        )
        return (spectrum / window.pow(2).sum().sqrt() if self.normalized else spectrum)[:, None]


def discriminator() -> Any:
    """An untrained one, the same each time."""
    from model.codec.encodec import encodec

    encodec()
    stand_in = types.ModuleType("torchaudio")
    stand_in.transforms = types.SimpleNamespace(Spectrogram=_Spectrogram)  # type: ignore[attr-defined]
    before = sys.modules.get("torchaudio")
    sys.modules["torchaudio"] = stand_in
    try:
        from encodec.msstftd import MultiScaleSTFTDiscriminator
    finally:
        if before is None:
            del sys.modules["torchaudio"]
        else:
            sys.modules["torchaudio"] = before
    torch.manual_seed(0)
    hops = [window // 4 for window in _WINDOWS]
    windows = list(_WINDOWS)
    return MultiScaleSTFTDiscriminator(_FILTERS, n_ffts=windows, hop_lengths=hops, win_lengths=windows)


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
