"""States that a stopped training goes on from: the last few, each in one file, whole or absent.

A state is all weights, all that the optimizer remembers, the average if there is
one, and where the training stands. It knows nothing of how many workers there were,
nor of how they shared the weights out; so either may change.

A `Writer` writes beside the training, which stands still for the copy alone: 0.4 s of 212 million
parameters (2.5 GB), and 2 the first time, where it stood for 7 to 8.
`torch.distributed.checkpoint.async_save` stops it for as long (0.4 to 0.5 s) and writes no sooner,
in folders of several files of which it does not say which are whole and which may go.
"""

import logging
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree
from types import TracebackType
from typing import Any, Self

import torch

FOLDER = "states"
_LOG = logging.getLogger(__name__)


class Writer:
    """Writes a training's states in a thread, one at a time; a context manager, which ends with the last of them."""

    def __init__(self, folder: Path, keep_last: int) -> None:
        self._folder, self._keep_last = folder, keep_last
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="states")
        self._writing: Future[None] | None = None

    def wait(self) -> None:
        """Goes on when the state that is being written is whole, so that no two take up memory.

        Raises:
            OSError: it could not be written.
        """
        if self._writing:
            self._writing.result()
            self._writing = None

    def keep(self, step: int, saved: dict[str, Any], gone: Iterable[Path] = ()) -> None:
        """As `keep` does, soon; `saved` is a copy that nobody writes to."""
        self.wait()
        self._writing = self._thread.submit(keep, self._folder, step, saved, self._keep_last, gone)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()


def keep(folder: Path, step: int, saved: dict[str, Any], keep_last: int, gone: Iterable[Path] = ()) -> None:
    """Writes the state of a step, then lets all but the last `keep_last` go, and folders that it needs no more."""
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
    for needless in gone:
        rmtree(needless)


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
