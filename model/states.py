"""States that a stopped training goes on from: the last few, each in one file, whole or absent.

A state is all weights, all that the optimizer remembers, the average if there is
one, and where the training stands. It knows nothing of how many workers there were,
nor of how they shared the weights out; so either may change.
"""

import io
import logging
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import write_whole

FOLDER = "states"
_LOG = logging.getLogger(__name__)


def keep(folder: Path, step: int, saved: dict[str, Any], keep_last: int) -> None:
    """Writes the state of a step, then lets all but the last `keep_last` go."""
    states = folder / FOLDER
    states.mkdir(parents=True, exist_ok=True)
    for unfinished in states.glob(".*.unfinished"):  # what a kill left
        unfinished.unlink()
    content = io.BytesIO()
    torch.save(saved, content)
    write_whole(states / f"{step:09d}.pt", content.getvalue())
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
