"""Sampling the next code of many rows at once, each from random numbers of its own.

A loop (a code repeated for seconds) is the commonest failure of a code model, and
narrowing the nucleus makes it commoner; repetition-aware sampling lets the nucleus
be narrow all the same. Source: VALL-E 2 (arXiv:2406.05370), section 3.4, algorithm 1.

Shapes: B batch, V vocabulary, K window of repetition.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.valle.mark import Mark

EMPTY = -1  # stands in a window for a frame before the first


@dataclass(frozen=True)
class Sampling:
    """How the next code is chosen."""

    temperature: float = 1.0  # divides the logits; 0 takes the likeliest code
    top_k: int = 0  # only the k likeliest codes; 0 for all
    top_p: float = 0.8  # only the likeliest codes that reach this probability together; 1 for all
    window: int = 10  # K: frames that repetition is counted in, also the last of the prompt; 0 turns it off
    threshold: float = 0.1  # a code that fills more than this share of the window is drawn again from all codes
    mark: Mark | None = None  # which codes are favoured, so that they tell who said them

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or self.window < 0 or not 0 < self.top_p <= 1:
            raise ValueError("temperature, top_k and window must not be negative, and top_p lies in (0, 1]")


DEFAULT = Sampling()
PHONE_BY_PHONE = Sampling(temperature=0.7, top_p=0.6, window=0)  # nothing loops that goes through its phones one by one


def nucleus(probabilities: Tensor, top_k: int, top_p: float) -> Tensor:
    """`[B, V]` with everything but the head put to zero, not rescaled.

    The head is the likeliest codes, the fewest that reach `top_p` together and `top_k` at most;
    the code that crosses `top_p` belongs to it, so it is never empty.
    """
    descending, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = descending.cumsum(dim=-1) - descending
    kept = before < top_p
    if top_k:
        kept[:, top_k:] = False
    return torch.zeros_like(probabilities).scatter(-1, order, descending * kept)


def draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """A place `[B]` in each row of weights `[B, V]`, by a number `[B]` in [0, 1); its chance is as its weight."""
    cumulative = weights.double().cumsum(dim=-1)
    wanted = uniform.double().unsqueeze(-1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, wanted, right=True).squeeze(-1).clamp(max=weights.shape[-1] - 1)


def repetition(codes: Tensor, recent: Tensor) -> Tensor:
    """The share `[B]` of the window `[B, K]` that each row's code `[B]` fills."""
    return (recent == codes.unsqueeze(-1)).double().mean(dim=-1)


def sample(logits: Tensor, recent: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """The next code `[B]`.

    Args:
        logits: `[B, V]`.
        recent: the last K codes of each row `[B, K]`, `EMPTY` before its first.
        uniforms: two random numbers in [0, 1) for each row `[B, 2]`; the second is for drawing again.
    """
    scores = logits.float() / (sampling.temperature or 1.0)
    scores = scores if sampling.mark is None else sampling.mark.favour(scores)
    if sampling.temperature == 0:
        return scores.argmax(dim=-1)
    probabilities = scores.softmax(dim=-1)
    codes = draw(nucleus(probabilities, sampling.top_k, sampling.top_p), uniforms[:, 0])
    if sampling.window == 0:
        return codes
    again = repetition(codes, recent) > sampling.threshold
    return torch.where(again, draw(probabilities, uniforms[:, 1]), codes)
