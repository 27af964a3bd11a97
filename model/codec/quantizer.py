"""EnCodec's residual vector quantizer: latents to codes and back, each codebook taking what the ones before have left.

The nearest entry is found by a formula that cancels, |x|^2 - 2 x.e + |e|^2 in single precision, so
another order of the same three terms gives other codes where two entries are nearly as near. The package's order is
kept, and on a CPU the products are of one shape, whatever stands beside.
Source: Zeghidour et al. 2021 (arXiv:2107.03312), algorithm 1; the `encodec` package, version 0.1.1.

Shapes: B batch, Q codebooks, T frames, D width of a latent.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 75  # frames that are compared with a codebook at once on a CPU


class Quantizer:
    """The codebooks of an `encodec.ResidualVectorQuantizer`, of which the first few make codes."""

    def __init__(self, quantizer: Any, num_codebooks: int) -> None:
        self.num_codebooks = num_codebooks
        self._books = [layer.codebook for layer in quantizer.vq.layers]  # [1024, D] each
        self._norms = [book.pow(2).sum(1) for book in self._books]  # [1024] each

    @property
    def entries(self) -> Tensor:
        """Of all codebooks, `[Q, 1024, D]`."""
        return torch.stack(self._books[: self.num_codebooks])

    def encode(self, latents: Tensor) -> Tensor:
        """Codes int64 `[B, Q, T]` of latents `[B, D, T]`; those of a row do not depend on the rows beside it.

        On a CPU that holds where T is a whole number of blocks of 75 frames, or the row is alone.
        """
        flat = latents.float().transpose(1, 2).flatten(0, 1)  # [B T, D]
        parts = torch.split(flat, _BLOCK) if flat.device.type == "cpu" else [flat]
        codes = torch.cat([self._nearest(part.clone()) for part in parts])
        return codes.view(latents.shape[0], latents.shape[2], self.num_codebooks).transpose(1, 2)

    def _nearest(self, residual: Tensor) -> Tensor:
        """Codes `[N, Q]` of N latents `[N, D]`, which are used up."""
        codes = []
        for book, norms in zip(self._books[: self.num_codebooks], self._norms, strict=False):
            product = (2 * residual) @ book.t()
            codes.append((residual.pow(2).sum(1, keepdim=True) - product).add_(norms).argmin(1))
            residual -= book[codes[-1]]
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Latents `[B, D, T]` that codes `[B, Q, T]` stand for; the first few codebooks will do."""
        latents = torch.zeros(codes.shape[0], codes.shape[2], self._books[0].shape[1], device=codes.device)
        for q, book in zip(codes.unbind(1), self._books, strict=False):
            latents += F.embedding(q, book)
        return latents.transpose(1, 2)
