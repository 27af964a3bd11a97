"""How much of an utterance its codes have kept, and which utterances are asked.

A codec may answer louder or softer than it was asked, and a plain signal-to-noise ratio punishes
that most. SI-SDR first scales the truth to what was heard of it, so it is of the shape alone.
Source: Le Roux et al. 2019, "SDR - half-baked or well done?" (arXiv:1811.02508), equations 4 and 5.
"""

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray


def si_sdr_db(heard: NDArray[np.float32], truth: NDArray[np.float32]) -> float | None:
    """The scale-invariant signal-to-distortion ratio in dB of one waveform `[N]` against another; higher is better.

    With a = <heard, truth> / |truth|^2 it is 10 log10(|a truth|^2 / |a truth - heard|^2), worked out in double
    precision. No mean is taken off. None where the truth is silent, or what was heard has nothing of it: the ratio has
    no finite value there.

    Raises:
        ValueError: they are of unequal length.
    """
    if heard.shape != truth.shape:
        raise ValueError(f"{len(heard)} samples cannot be compared with {len(truth)}")
    said, wanted = heard.astype(np.float64), truth.astype(np.float64)
    energy = float(wanted @ wanted)
    target = wanted * (float(said @ wanted) / energy) if energy else np.zeros_like(wanted)
    distortion = target - said
    kept, lost = float(target @ target), float(distortion @ distortion)
    return float(10 * np.log10(kept / lost)) if kept and lost else None


def is_checked(utterance_id: str, share: float) -> bool:
    """Whether an utterance is among the share that is checked: its hash, as a number in 0..1, lies below it.

    It depends on the id alone, so the same utterances are asked every time, and a larger share asks these too.
    """
    return place_of(utterance_id) < share * 2**64


def place_of(utterance_id: str) -> int:
    """Where an utterance stands among those that are checked: a number of its id alone, the least one first."""
    return int.from_bytes(sha256(f"checked/{utterance_id}".encode()).digest()[:8], "big")
