"""A batch: the phones and codes of several utterances side by side, padded with zeros.

Shapes: B batch, P phones, Q codebooks, T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Example(NamedTuple):
    """One utterance to train on."""

    phones: NDArray[np.uint16]  # [P]
    codes: NDArray[np.uint16]  # [Q, T]; the AR needs the first codebook alone
    speaker: str = ""  # who says it, as far as anybody asks
    language: int = 0  # its place among the half's languages


@dataclass(frozen=True)
class Batch:
    """Examples side by side, padded with zeros."""

    phones: Tensor  # int [B, P]
    phone_lengths: Tensor  # int [B]
    codes: Tensor  # int [B, Q, T]
    code_lengths: Tensor  # int [B]
    languages: Tensor  # int [B], places among the half's languages

    def to(self, device: torch.device | str) -> "Batch":
        """The same on another device."""

        def moved(tensor: Tensor) -> Tensor:
            if torch.device(device).type == "cuda":  # pinned memory is copied while the device works on
                tensor = tensor.pin_memory()
            return tensor.to(device, non_blocking=True)

        return Batch(*map(moved, (self.phones, self.phone_lengths, self.codes, self.code_lengths, self.languages)))


def collate(examples: Sequence[Example]) -> Batch:
    """Examples as one batch."""
    phone_lengths = torch.tensor([len(example.phones) for example in examples])
    code_lengths = torch.tensor([example.codes.shape[1] for example in examples])
    num_codebooks = examples[0].codes.shape[0]
    phones = torch.zeros(len(examples), int(phone_lengths.max()), dtype=torch.long)
    codes = torch.zeros(len(examples), num_codebooks, int(code_lengths.max()), dtype=torch.long)
    for row, example in enumerate(examples):
        phones[row, : len(example.phones)] = torch.from_numpy(example.phones.astype(np.int64))
        codes[row, :, : example.codes.shape[1]] = torch.from_numpy(example.codes.astype(np.int64))
    return Batch(phones, phone_lengths, codes, code_lengths, torch.tensor([example.language for example in examples]))
