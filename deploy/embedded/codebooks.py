"""Residual codebooks that learn: k-means to begin with, moving means while the encoder moves, restarts of rare codes.

The surprising fact: codes must not be Adam's to move. A code is chosen once in a few steps, which makes Adam's step
for it tens of times too long, and the codebooks dissolve. Without restarts they starve: the latents drift away from
codes that then nobody chooses.
Source: van den Oord et al. 2017 (arXiv:1711.00937), appendix A.1; Zeghidour et al. 2021 (arXiv:2107.03312).

Shapes: B batch, T frames, D width of a latent, M latents, Q codebooks, K codes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_ROUNDS = 6  # of k-means
_EMA = 0.99  # of the codes
_RARE, _RESTARTS = 0.02, 16  # a code chosen by fewer latents a step starts anew, so many a step at most


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Indices `[M]` of the codes `[K, D]` nearest to vectors `[M, D]`."""
    norms = codebook.pow(2).sum(1)
    return torch.cat([(norms - 2 * part @ codebook.T).argmin(1) for part in vectors.split(8192)])


def frame_weights(latents: Tensor) -> Tensor:
    """How much the error of each latent `[M, D]` counts: a loud frame less than its energy says."""
    return (latents.pow(2).sum(1) + 0.1).rsqrt()


def kmeans(latents: Tensor, weights: Tensor, codes: Tensor) -> Tensor:
    """Codes `[K, D]` moved to the means of their latents `[M, D]`; one that none chose starts anew at one of them."""
    for _ in range(_ROUNDS):
        owner = nearest(latents, codes)
        mass = torch.zeros(len(codes)).index_add_(0, owner, weights)
        sums = torch.zeros_like(codes).index_add_(0, owner, latents * weights[:, None])
        fresh = latents[torch.multinomial(weights, len(codes))]
        codes = torch.where(mass[:, None] > 0, sums / mass[:, None].clamp(min=1e-9), fresh)
    return codes


class Codebooks:
    """Residual codebooks that follow their latents: each code is the moving mean of what it was chosen for."""

    def __init__(self, codes: Tensor, mass: Tensor | None = None) -> None:
        self.codes = codes  # [Q, K, D]
        self.mass = torch.full(codes.shape[:2], 0.3) if mass is None else mass  # [Q, K], latents a step

    def fit(self, latents: Tensor, anew: bool = False) -> None:
        """Moves all codes by k-means over latents `[M, D]`, from where they are or, `anew`, from any latents."""
        weights = frame_weights(latents)
        for codes in self.codes:
            begin = latents[torch.multinomial(weights, len(codes))] if anew else codes
            codes.copy_(kmeans(latents, weights, begin))
            latents = latents - codes[nearest(latents, codes)]

    def quantize(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents `[B, D, T]` quantized and passed straight through, their commitment loss, and what `follow` takes."""
        flat = latents.transpose(1, 2).flatten(0, 1)
        residual, total = flat.detach(), torch.zeros_like(flat.detach())
        weights = frame_weights(residual)
        weights = weights / weights.mean()
        chosen = torch.zeros(*self.mass.shape, flat.shape[1] + 1)
        spare = []
        for codes, found in zip(self.codes, chosen, strict=True):
            owner = nearest(residual, codes)
            found.index_add_(0, owner, weights[:, None] * F.pad(residual, (1, 0), value=1.0))
            spare.append(residual[torch.multinomial(weights, _RESTARTS, replacement=True)])
            total = total + codes[owner]
            residual = residual - codes[owner]
        distances, energies = (flat - total).pow(2).sum(1), flat.detach().pow(2).sum(1)
        commitment = (weights * distances).sum() / (weights * energies).sum()
        straight = flat + (total - flat).detach()
        quantized = straight.unflatten(0, (len(latents), -1)).transpose(1, 2)
        return quantized, commitment, chosen, torch.stack(spare)

    def follow(self, chosen: Tensor, spare: Tensor) -> None:
        """Moves the codes by one step's latents, and restarts rare ones.

        `chosen` `[Q, K, 1 + D]`: weights of the latents that chose each code, and their sum; `spare` `[Q, R, D]`: some.
        """
        mass = _EMA * self.mass + (1 - _EMA) * chosen[..., 0]
        sums = _EMA * self.mass[..., None] * self.codes + (1 - _EMA) * chosen[..., 1:]
        self.codes, self.mass = sums / mass[..., None].clamp(min=1e-9), mass
        for codes, mass, fresh in zip(self.codes, self.mass, spare, strict=True):
            rarest = mass.topk(len(fresh), largest=False).indices
            rare = mass[rarest] < _RARE
            codes[rarest[rare]] = fresh[rare]
            mass[rarest[rare]] = 5 * _RARE
