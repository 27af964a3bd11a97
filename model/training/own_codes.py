"""Codes as the AR itself would say them, for it to go on from in training as it must in speaking.

A half that heard nothing but true codes is lost at its own first error: with the true codes before each code `tiny.en`
misheard 62 % of its words, with its own 89 % (LOG.md). So part of what it hears are its own guesses, drawn beside the
truth in a pass without gradients, and what it should say next stays the truth. Source: scheduled sampling (Bengio et
al. 2015, arXiv:1506.03099), in two passes as transformers need it (Mihaylova and Martins 2019, arXiv:1906.07651).

Shapes: B batch, T frames.
"""

import torch
from torch import Tensor

from model.valle.ar import AR
from model.valle.batch import Batch
from model.valle.sampling import draw
from model.valle.settings import CODEBOOK_SIZE


@torch.no_grad()
def own_codes(
    model: AR, batch: Batch, languages: Tensor | None, pointed: Tensor | None, share: float, generator: torch.Generator
) -> Tensor:
    """The first codebook `[B, T]` of a batch with a share of the codes as the half would say them.

    A row's beginning, half of it at most, stays true, as a prompt is. The generator draws where, and which codes.
    """
    codes = batch.codes[:, 0]
    where, chances = torch.rand((2, *codes.shape), generator=generator).to(codes.device)
    beginnings = torch.rand((len(codes), 1), generator=generator).to(codes.device) / 2
    frames = torch.arange(codes.shape[1], device=codes.device)
    is_own = (where < share) & (frames >= beginnings * batch.code_lengths[:, None])
    was_training = model.training
    model.eval()
    logits = model(batch.phones, batch.phone_lengths, codes, batch.code_lengths, languages, pointed)
    model.train(was_training)
    said = logits[:, : codes.shape[1], :CODEBOOK_SIZE].float().softmax(-1)
    return torch.where(is_own, draw(said.flatten(0, 1), chances.flatten()).view_as(codes), codes)
