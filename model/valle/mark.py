"""A mark in the codes themselves: of near-equal codes the AR is led to those that a key calls green.

A key colours the codes of the first codebook, half of them green, whatever was said before: Unigram (Zhao et al. 2023,
arXiv:2306.17439), where Kirchenbauer et al. (arXiv:2301.10226) seed a colour with the token before. A codec that hears
its own speech again changes most codes, so a colour that hung on another code would go with it.

Codes are put in groups of two that lie next to each other, and groups in twos again: a coin for each two, tossed by
the key, says which is green. So there is nearly always a code of the other colour that sounds alike, and a colour is as
common in speech as the other. For speech that no key has led the coins are fair, which makes the chance of a false
alarm known for any file, whatever is in it: what tells of the mark is a sum over all twos, which over all keys has a
mean of zero and the root of the sum of squares as deviation.

Shapes: B batch, V codes and `<EOS>`, Q codebooks, T frames, D width of a latent, G = 512 groups.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from math import erfc, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.valle.settings import CODEBOOK_SIZE, FRAME_RATE

KEY = "valle: synthetic speech"  # public, so that anybody's `valle detect` finds the mark
CERTAIN = 1e-3  # a chance of a false alarm below this is a finding
LEAST_FRAMES = 2 * FRAME_RATE  # fewer tell nothing

_DEPTH = 9  # 512 groups of two
_BLUR = 1.0  # the squared distance at which an entry is e times less likely to have been meant than the nearest
_CONTEXT = 1  # frames on either side that tell what was meant

Codes = NDArray[np.uint16]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mark:
    """What leads a choice of codes."""

    green: Tensor  # bool [1024]
    strength: float  # added to the log odds of the green codes

    def favour(self, scores: Tensor) -> Tensor:
        """Log odds `[B, V]` with the green codes raised, while `<EOS>` stays as likely as it was."""
        codes = scores[..., :CODEBOOK_SIZE]
        raised = codes + self.strength * self.green.to(scores)
        surplus = raised.logsumexp(-1, keepdim=True) - codes.logsumexp(-1, keepdim=True)
        return torch.cat([raised - surplus.nan_to_num(), scores[..., CODEBOOK_SIZE:]], dim=-1)


@dataclass(frozen=True)
class Trace:
    """What is left of a mark in speech."""

    num_frames: int
    deviations: float  # how far the green codes lead, in deviations over keys

    @property
    def chance(self) -> float:
        """That speech without the mark has as much of it by chance: a normal distribution's tail."""
        return erfc(self.deviations / sqrt(2)) / 2

    @property
    def found(self) -> bool | None:
        """Whether the mark is there; null where the speech is too short to tell."""
        return None if self.num_frames < LEAST_FRAMES else self.chance < CERTAIN


def mark(entries: Tensor, strength: float, key: str = KEY) -> Mark:
    """The mark of a key for a codec whose first codebook has these entries `[1024, D]`."""
    signs = coins(key) @ _twos(groups(entries))
    return Mark(torch.from_numpy(signs > 0), strength)


def groups(entries: Tensor) -> NDArray[np.int64]:
    """Codes of near entries `[1024, D]` in twos `[G, 2]`, near groups next to each other.

    The codebook is halved at the median along its longest axis, again and again; which half is first does not hang on
    the sign of an axis, so any machine comes to the same.
    """
    return _grouped(entries.cpu().numpy().astype(np.float64).tobytes(), entries.shape[1])


def coins(key: str, num: int = 1 << (_DEPTH - 1)) -> NDArray[np.int64]:
    """A key's coins `[G / 2]`, 1 or -1: the bits of its SHA-256 with a counter behind it."""
    digests = b"".join(sha256(f"{key}\n{block}".encode()).digest() for block in range(-(-num // 256)))
    return np.unpackbits(np.frombuffer(digests, np.uint8))[:num].astype(np.int64) * 2 - 1


def leads(codes: Codes, entries: Tensor, ear: Floats | None = None) -> Floats:
    """By how many frames the first group of each two leads `[G / 2]` in codes `[8, T]` that a codec heard.

    A frame counts for each code by how likely it was meant.
    """
    away = torch.cdist(torch.from_numpy(_meant(codes, entries, ear)), entries[0].cpu().double()).pow(2)
    total: Floats = (-away / _BLUR).softmax(-1).sum(0).numpy()
    return _twos(groups(entries[0])) @ total


def trace(leads: Floats, num_frames: int, key: str = KEY) -> Trace:
    """What is left of a key's mark where groups lead so `[G / 2]`; by roots, for a code that lasts says little."""
    roots = np.sign(leads) * np.sqrt(np.abs(leads))
    deviation = np.sqrt((roots**2).sum())
    return Trace(num_frames, float(coins(key) @ roots / deviation) if deviation else 0.0)


def features(codes: Codes, entries: Tensor) -> Floats:
    """What an ear hears `[T, 3 D + 1]`: the latents that codes `[8, T]` stand for, with those beside them, and a 1."""
    books = entries.cpu().numpy().astype(np.float64)
    latents = sum(book[row] for book, row in zip(books, codes, strict=True))
    padded = np.pad(latents, ((_CONTEXT, _CONTEXT), (0, 0)), mode="edge")
    beside = [padded[place : place + codes.shape[1]] for place in range(2 * _CONTEXT + 1)]
    return np.concatenate([*beside, np.ones((codes.shape[1], 1))], axis=1)


@lru_cache(maxsize=2)
def _grouped(content: bytes, width: int) -> NDArray[np.int64]:
    points = np.frombuffer(content).reshape(-1, width)
    parts = [np.arange(len(points))]
    for _ in range(_DEPTH):
        parts = [half for part in parts for half in _halves(points, part)]
    return np.stack([np.sort(part) for part in parts])


def _meant(codes: Codes, entries: Tensor, ear: Floats | None) -> Floats:
    """The entry of the first codebook that each frame of codes `[8, T]` sounds like `[T, D]`, which may lie between."""
    heard = features(codes, entries)
    width = entries.shape[-1]
    return heard[:, _CONTEXT * width : (_CONTEXT + 1) * width] if ear is None else heard @ ear


def _halves(points: Floats, part: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    away = points[part] - points[part].mean(0)
    axis = np.linalg.eigh(away.T @ away)[1][:, -1]
    along = part[np.argsort(away @ axis, kind="stable")]
    return sorted((along[: len(along) // 2], along[len(along) // 2 :]), key=min)


def _twos(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """1 for the codes of the first group of each two, -1 for those of the second `[G / 2, 1024]`."""
    found = np.zeros((len(groups) // 2, CODEBOOK_SIZE), np.int64)
    for row, (first, second) in zip(found, groups.reshape(len(groups) // 2, 2, -1), strict=True):
        row[first], row[second] = 1, -1
    return found
