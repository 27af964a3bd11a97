"""Progress on standard error: a bar where somebody watches, a line per table where nobody does."""

import sys
import time
from types import TracebackType
from typing import Any


class Progress:
    """One table being made: `codes 3f2a9c01d2e4: 12 made, 3 to make`."""

    def __init__(self, table: str, version: str, *, made: int, to_make: int) -> None:
        self._title = f"{table} {version}"
        self._made, self._to_make = made, to_make
        self._done = self._failed = 0
        self._begun = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        if self._to_make and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._bar.add_task(self._title, total=self._to_make)
        return self

    def advance(self, made: int, failed: int) -> None:
        """So many shards more are made, and so many have failed for good."""
        self._done += made
        self._failed += failed
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self._done + self._failed)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()
        there = f"{self._made} current"
        if self._to_make:
            there += f", {self._done} made in {time.monotonic() - self._begun:.1f} s"
        if self._failed:
            there += f", {self._failed} FAILED"
        print(f"{self._title}: {there}", file=sys.stderr, flush=True)
