"""An object store in memory that is as bad as one can be: answers are lost, requests refused, writers killed.

Writers are threads, and one of them at a time makes one request: which, is drawn by the seed, so a schedule can be
played again.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from hashlib import md5
from pathlib import Path
from typing import TypeVar

from warehouse.objects import Condition, Refused, Stat, Unanswered

_Answer = TypeVar("_Answer")


class Killed(BaseException):
    """The writer's process is gone, whatever it was doing."""


class Schedule:
    """Whose turn it is: of the writers that are all waiting for theirs, one is drawn."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._changed = threading.Condition()
        self._alive: set[int] = set()
        self._waiting: set[int] = set()
        self._turn: int | None = None

    def play(self, writers: Sequence[Callable[[], None]]) -> None:
        """Runs the writers to their ends; what one raises but `Killed` is raised here."""
        errors: list[BaseException] = []

        def run(writer: Callable[[], None]) -> None:
            me = threading.get_ident()
            try:
                writer()
            except (Killed, Unanswered):
                pass
            except BaseException as error:
                errors.append(error)
            with self._changed:
                self._alive.discard(me)
                self._next()

        threads = [threading.Thread(target=run, args=(writer,)) for writer in writers]
        with self._changed:
            for thread in threads:
                thread.start()
                assert thread.ident
                self._alive.add(thread.ident)
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def step(self) -> None:
        """Waits for the caller's turn. Who is no writer of a schedule has it always."""
        me = threading.get_ident()
        with self._changed:
            if me not in self._alive:
                return
            self._waiting.add(me)
            self._next()
            while self._turn != me:
                self._changed.wait()
            self._turn = None
            self._waiting.discard(me)

    def _next(self) -> None:
        if self._turn is None and self._alive and self._waiting == self._alive:
            order = sorted(self._alive)
            self._turn = order[self._draw.randrange(len(order))]
        self._changed.notify_all()


class FakeStore:
    """The objects, which every writer reaches by a `Client` of its own."""

    def __init__(self, seed: int, *, faults: float = 0.0, deaths: float = 0.0, conditional: bool = True) -> None:
        self.draw = random.Random(seed)
        self.schedule = Schedule(self.draw)
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.written: dict[str, int] = {}  # when, in ns since 1970
        self.heads: list[bytes] = []  # every HEAD that there was
        self.faults, self.deaths = faults, deaths
        self.conditional = conditional
        self._writes = 0
        self.alone = threading.Lock()  # of one request at a time

    def write(self, name: str, data: bytes, condition: Condition) -> str:
        """As a server does it: at once, and only where its condition holds."""
        there = self.objects.get(name)
        if self.conditional and condition != "overwrite":
            if condition == "create" and there:
                raise Refused(name)
            if condition != "create" and (not there or there[1] != condition):
                raise Refused(name)
        self._writes += 1
        self.written[name] = int(time.time()) * 1_000_000_000
        self.objects[name] = data, f"{md5(data).hexdigest()}-{self._writes}"
        if name.endswith("HEAD.json"):
            self.heads.append(data)
        return self.objects[name][1]


class Client:
    """A way to a `FakeStore` on which requests and answers are lost, and at whose end a writer may die."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    def put(self, name: str, data: bytes | Path, condition: Condition) -> str:
        """As `Backend` says."""
        whole = data if isinstance(data, bytes) else data.read_bytes()
        return self._request(lambda: self._store.write(name, whole, condition))

    def get(self, name: str) -> tuple[bytes, str]:
        """As `Backend` says."""
        return self._request(lambda: self._found(name))

    def fetch(self, name: str, path: Path) -> Stat:
        """As `Backend` says."""
        data, written = self._request(lambda: (self._found(name)[0], self._store.written[name]))
        path.write_bytes(data)
        return len(data), written

    def list(self, folder: str) -> dict[str, Stat]:
        """As `Backend` says."""
        store = self._store
        return self._request(
            lambda: {
                name: (len(said), store.written[name])
                for name, (said, _) in store.objects.items()
                if name.startswith(f"{folder}/" if folder else "")
            }
        )

    def children(self, folder: str) -> tuple[tuple[str, ...], dict[str, Stat]]:
        """As `Backend` says."""
        below = {name.removeprefix(f"{folder}/"): stat for name, stat in self.list(folder).items()}
        folders = tuple(sorted({name.split("/")[0] for name in below if "/" in name}))
        return folders, {name: stat for name, stat in below.items() if "/" not in name}

    def stat(self, name: str) -> Stat:
        """As `Backend` says."""
        return self._request(lambda: (len(self._found(name)[0]), self._store.written[name]))

    def delete(self, name: str) -> None:
        """As `Backend` says."""
        self._request(lambda: self._store.objects.pop(name, None))

    def _found(self, name: str) -> tuple[bytes, str]:
        if name not in self._store.objects:
            raise FileNotFoundError(name)
        return self._store.objects[name]

    def _request(self, act: Callable[[], _Answer]) -> _Answer:
        store = self._store
        store.schedule.step()
        luck = store.draw.random()
        if luck < store.deaths / 2:
            raise Killed
        if luck > 1 - store.faults / 2:
            raise Unanswered("it never came there")
        with store.alone:
            answer = act()
        if luck < store.deaths:
            raise Killed
        if luck > 1 - store.faults:
            raise Unanswered("the answer was lost")
        return answer
