"""What goes wrong in a training without any error, each as a word and its figures.

    loss_spike      a step's loss lies far above the losses before it
    dead_codebook   a codebook says next to nothing: the codec, or what read its codes, is at fault
    at_chance       a codebook is guessed no better than by always naming the commonest codes
    phones_ignored  shuffling the phones costs nothing: the model does not read what it is to say

A loss that is no number ends a training (`model.training.trainer.Diverged`), so it is none of these.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.valle.batch import Example
from model.valle.settings import CODEBOOK_SIZE

SIGMAS = 6.0  # above the mean, of a spike
SETTLED = 50  # steps before any is called one
MEMORY = 50  # steps that mean and variance look back, about
DEAD_BITS = 1.0  # of entropy; a living codebook of 1024 has 7 to 10
WORTH_OF_PHONES = 0.005  # nats per code, the least that reading them must gain


@dataclass
class Spikes:
    """Losses as they should be, and those since the last validation that are not."""

    count: int = 0  # losses seen
    mean: float = 0.0  # nats per code, moving
    variance: float = 0.0
    number: int = 0  # of spikes
    worst: str = ""
    worst_sigmas: float = 0.0

    def look(self, step: int, loss: float) -> None:
        """Sees the loss of a step. A spike moves the mean only as far as it may lie from it."""
        deviation = max(math.sqrt(self.variance), 0.01 * abs(self.mean), 1e-9)
        sigmas = (loss - self.mean) / deviation
        if self.count >= SETTLED and sigmas > SIGMAS:
            self.number += 1
            if sigmas > self.worst_sigmas:
                self.worst_sigmas = sigmas
                self.worst = f"step {step} with {loss:.3f} nats, {sigmas:.0f} deviations above {self.mean:.3f}"
            loss = self.mean + SIGMAS * deviation
        share = max(1 / (self.count + 1), 1 / MEMORY)
        away = loss - self.mean
        self.mean += share * away
        self.variance = (1 - share) * (self.variance + share * away * away)
        self.count += 1

    def told(self) -> list[str]:
        """The alarm about the spikes since the last call, if there were any."""
        number, worst = self.number, self.worst
        self.number, self.worst, self.worst_sigmas = 0, "", 0.0
        return [f"loss_spike: {number} of the steps, worst {worst}"] if number else []


@dataclass(frozen=True)
class Codebook:
    """What the codes of one codebook are like, whatever a model makes of them."""

    bits: float  # entropy
    common: float  # share of the ten commonest codes


def codebooks(examples: Sequence[Example]) -> list[Codebook]:
    """The codebooks of some examples, the first first."""
    if not examples:
        return []
    counts = np.zeros((examples[0].codes.shape[0], CODEBOOK_SIZE), np.int64)
    for example in examples:
        for q, codes in enumerate(example.codes):
            counts[q] += np.bincount(codes, minlength=CODEBOOK_SIZE)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    bits = (shares * -np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=1) + 0.0  # no -0
    common = np.sort(shares, axis=1)[:, -10:].sum(axis=1)
    return [Codebook(float(b), float(c)) for b, c in zip(bits, common, strict=True)]


def dead(found: Sequence[Codebook]) -> list[str]:
    """The alarm about codebooks that say next to nothing."""
    figures = [f"{q} ({codebook.bits:.2f} bits)" for q, codebook in enumerate(found, 1) if codebook.bits < DEAD_BITS]
    return [f"dead_codebook: {', '.join(figures)}"] if figures else []


def at_chance(found: Sequence[Codebook], top10: Sequence[float | None]) -> list[str]:
    """The alarm about codebooks whose top-10 accuracy is no more than their ten commonest codes would give."""
    figures = [
        f"{q} ({hits:.1%}, its ten commonest codes {codebook.common:.1%})"
        for q, (codebook, hits) in enumerate(zip(found, top10, strict=False), start=1)
        if hits is not None and hits <= codebook.common
    ]
    return [f"at_chance: {', '.join(figures)}"] if figures else []


def phones_ignored(loss: float, loss_shuffled: float) -> list[str]:
    """An alarm where the phones, read in a wrong order, do as well."""
    worth = loss_shuffled - loss
    return [f"phones_ignored: shuffling them costs {worth:.4f} nats per code"] if worth < WORTH_OF_PHONES else []
