"""Progress on standard error: a bar where somebody watches, a line per table where nobody does."""

import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, ClassVar


class Progress:
    """A table being made: `codes 3f2a9c01d2e4: 12 current, 3 made in 8.1 s`. Tables beside each other share a display.

    `look` says how far long work is, a line for each shard; it is asked now and then.
    """

    EVERY = 60.0  # seconds between such lines where nobody watches
    EVERY_WATCHED = 2.0
    _display: ClassVar[Any] = None
    _bars: ClassVar[int] = 0  # in the display

    def __init__(self, table: str, version: str, current: int, look: Callable[[], Iterable[str]] | None = None) -> None:
        self._look, self._ended = look, threading.Event()
        self._looking = threading.Thread(target=self._keep_looking, name="looking", daemon=True)
        self._title = f"{table} {version}"
        self._current = current
        self._to_make = self._done = self._failed = 0
        self._begun = time.monotonic()
        self._bar: Any = None

    def expect(self, shards: int) -> None:
        """So many shards are to be made."""
        self._to_make = shards
        if shards and self._look and not self._looking.ident:
            self._looking.start()
        if self._bar is not None:
            self._display.update(self._bar, total=shards)
        elif shards and sys.stderr.isatty():
            self._bar = self._display_on().add_task(self._title, total=shards)
            Progress._bars += 1

    def advance(self, made: int, failed: int) -> None:
        """So many shards more are made, and so many have failed for good."""
        self._done += made
        self._failed += failed
        if self._bar is not None:
            self._display.update(self._bar, completed=self._done + self._failed)

    def end(self, current: int | None = None) -> None:
        """Say what has become of it; with how many shards there are that need not be made, if that is known anew."""
        self._ended.set()
        if self._looking.is_alive():
            self._looking.join()
        if self._bar is not None:
            self._display.remove_task(self._bar)
            Progress._bars -= 1
            if not Progress._bars:
                self._display.stop()
                Progress._display = None
        there = f"{self._current if current is None else current} current"
        if self._to_make:
            there += f", {self._done} made in {time.monotonic() - self._begun:.1f} s"
        if self._failed:
            there += f", {self._failed} FAILED"
        _line(f"{self._title}: {there}")

    def _display_on(self) -> Any:
        if Progress._display is None:
            from rich.console import Console
            from rich.progress import Progress as Display

            Progress._display = Display(console=Console(stderr=True), transient=True)
            Progress._display.start()
        return Progress._display

    def _keep_looking(self) -> None:
        assert self._look is not None
        while not self._ended.wait(self.EVERY if self._bar is None else self.EVERY_WATCHED):
            lines = list(self._look())
            if self._bar is not None:
                self._display.update(self._bar, description="\n".join([self._title, *lines]))
            else:
                for line in lines:
                    _line(line)


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
