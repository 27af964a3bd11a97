"""Residual codebooks by k-means: each one fits what the ones before it have left.

Source: Zeghidour et al. 2021 (arXiv:2107.03312), section III.C.

Shapes: B batch, T frames, D width of a latent, M latents, Q codebooks, K codes.
"""

import torch
from torch import Tensor

_ROUNDS = 10  # of k-means


def nearest(vectors: Tensor, codes: Tensor) -> Tensor:
    """Indices `[M]` of the codes `[K, D]` nearest to vectors `[M, D]`."""
    norms = codes.pow(2).sum(1)
    return torch.cat([(norms - 2 * part @ codes.T).argmin(1) for part in torch.split(vectors, 8192)])


def fit(latents: Tensor, num_codebooks: int, num_codes: int, rounds: int = _ROUNDS) -> Tensor:
    """Codebooks `[Q, K, D]` for latents `[M, D]`."""
    books = []
    for _ in range(num_codebooks):
        books.append(_kmeans(latents, num_codes, rounds))
        latents = latents - books[-1][nearest(latents, books[-1])]
    return torch.stack(books)


def quantized(latents: Tensor, books: Tensor, numbers: Tensor | None = None) -> Tensor:
    """Latents `[B, D, T]` as the codebooks `[Q, K, D]` have them; or as the first `numbers` `[B]` of them have."""
    residual = latents.transpose(1, 2).flatten(0, 1)
    total = torch.zeros_like(residual)
    kept = None if numbers is None else numbers.repeat_interleave(latents.shape[2])
    for place, codes in enumerate(books):
        chosen = codes[nearest(residual, codes)]
        residual = residual - chosen
        total = total + (chosen if kept is None else chosen * (kept > place)[:, None])
    quantized: Tensor = total.reshape(len(latents), -1, total.shape[1]).transpose(1, 2)
    return quantized


def _kmeans(latents: Tensor, num_codes: int, rounds: int) -> Tensor:
    """Codes `[K, D]` at the means of their latents; one that none chose starts anew at one of them.

    A latent far from the mean, which is mostly silence, counts less than its distance says.
    """
    weights = (latents.pow(2).sum(1) + 0.1).rsqrt()
    codes = latents[torch.multinomial(weights, num_codes)]
    for _ in range(rounds):
        owner = nearest(latents, codes)
        mass = torch.zeros(num_codes).index_add_(0, owner, weights)
        sums = torch.zeros_like(codes).index_add_(0, owner, latents * weights[:, None])
        fresh = latents[torch.multinomial(weights, num_codes)]
        codes = torch.where(mass[:, None] > 0, sums / mass[:, None].clamp(min=1e-9), fresh)
    return codes
