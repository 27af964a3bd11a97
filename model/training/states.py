"""States that a stopped training goes on from: the last few, each in one file, whole or absent.

A state is all weights, all that the optimizer remembers, the average if there is
one, and where the training stands. It knows nothing of how many workers there were,
nor of how they shared the weights out; so either may change.
"""

import logging
import os
from pathlib import Path
from typing import Any

import torch

FOLDER = "states"
_LOG = logging.getLogger(__name__)


def keep(folder: Path, step: int, saved: dict[str, Any], keep_last: int) -> None:
    """Writes the state of a step, then lets all but the last `keep_last` go."""
    states = folder / FOLDER
    states.mkdir(parents=True, exist_ok=True)
    for left in states.glob(".*.unfinished"):  # by a kill
        left.unlink()
    unfinished = states / f".{step:09d}.pt.unfinished"
    with open(unfinished, "wb") as file:  # straight to disk: a state may be larger than what memory is left
        torch.save(saved, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(states / f"{step:09d}.pt")
    for old in _kept(folder)[max(keep_last, 1) :]:
        old.unlink()


def newest(folder: Path) -> dict[str, Any] | None:
    """The last state that is whole, if there is one; a damaged one is said and passed over."""
    for path in _kept(folder):
        try:
            saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch tells a damaged file by errors of many kinds
            _LOG.warning("%s is damaged and passed over: %s", path, str(error).splitlines()[0])
        else:
            return saved
    return None


def _kept(folder: Path) -> list[Path]:
    """The files of the states, the newest first."""
    return sorted((folder / FOLDER).glob("*.pt"), reverse=True)
