"""Progress on standard error: a bar where somebody watches, a line per table where nobody does."""

import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any


class Progress:
    """One table being made: `codes 3f2a9c01d2e4: 12 made, 3 to make`.

    `look` says how far long work is, a line for each shard; it is asked now and then.
    """

    EVERY = 60.0  # seconds between such lines where nobody watches
    EVERY_WATCHED = 2.0

    def __init__(
        self, table: str, version: str, *, made: int, to_make: int, look: Callable[[], Iterable[str]] | None = None
    ) -> None:
        self._look, self._ended = look, threading.Event()
        self._looking = threading.Thread(target=self._keep_looking, name="looking", daemon=True)
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
        if self._to_make and self._look:
            self._looking.start()
        return self

    def _keep_looking(self) -> None:
        assert self._look is not None
        while not self._ended.wait(self.EVERY_WATCHED if self._bar else self.EVERY):
            lines = list(self._look())
            if self._bar:
                self._bar.update(self._bar.task_ids[0], description="\n".join([self._title, *lines]))
            else:
                for line in lines:
                    _line(line)

    def advance(self, made: int, failed: int) -> None:
        """So many shards more are made, and so many have failed for good."""
        self._done += made
        self._failed += failed
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self._done + self._failed)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        if self._looking.is_alive():
            self._looking.join()
        if self._bar:
            self._bar.stop()
        there = f"{self._made} current"
        if self._to_make:
            there += f", {self._done} made in {time.monotonic() - self._begun:.1f} s"
        if self._failed:
            there += f", {self._failed} FAILED"
        print(f"{self._title}: {there}", file=sys.stderr, flush=True)


class Transfer:
    """A file on its way: a bar with its rate and the time left, or a line now and then where nobody watches."""

    EVERY = 60.0  # seconds between lines

    def __init__(self, title: str, done: int) -> None:
        self._title, self._done, self._start = title, done, done
        self._total: int | None = None
        self._begun = self._spoke = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> "Transfer":
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.DownloadColumn(binary_units=True),
                progress.TransferSpeedColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True, markup=False, highlight=False),
                transient=True,
            )
            self._bar.start()
            self._bar.add_task(self._title, total=None, completed=self._done)
        return self

    def total(self, total: int | None) -> None:
        """The server has said how many bytes there are."""
        self._total = total
        if self._bar:
            self._bar.update(self._bar.task_ids[0], total=total)

    def at(self, done: int) -> None:
        """So many bytes are here."""
        self._done = done
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=done)
        elif time.monotonic() - self._spoke > self.EVERY:
            self._spoke = time.monotonic()
            self._say(self._words())

    def notice(self, words: str) -> None:
        """Something happened on the way."""
        self._say(f"{self._title}: {words}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()
        self._say(self._words())

    def _words(self) -> str:
        rate = (self._done - self._start) / max(time.monotonic() - self._begun, 1e-3)
        said = f"{self._title}: {self._done / 1e6:,.1f} MB at {rate / 1e6:,.1f} MB/s"
        if self._total and rate and self._done < self._total:
            return f"{said}, {self._done / self._total:.0%}, {(self._total - self._done) / rate / 60:,.0f} min left"
        return said

    def _say(self, words: str) -> None:
        (self._bar.console.print if self._bar else _line)(words)


def _line(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
