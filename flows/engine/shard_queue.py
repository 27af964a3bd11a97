"""The queue: the shards of a stage's task runs, taken up by whichever worker is free.

A task run is a range of shards where there are many. Were a range bound to a worker, there would be no more workers at
work than ranges, and most would wait for the last range. So ranges only say what is theirs, and wait; and of all that
lies here the largest is begun first, so that what is begun last is short.
"""

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

FIRST = float("inf")  # the size of what is to be begun before all others


class ShardQueue:
    """As many threads as shards are made at a time; a context manager, which ends with the last of them."""

    def __init__(self, at_a_time: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=at_a_time, thread_name_prefix="shards")
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, int, Callable[[], None], Future[None]]] = []
        self._order = itertools.count()  # of equals, the one that came first

    @property
    def num_waiting(self) -> int:
        """How many are not begun."""
        return len(self._waiting)

    def put(self, works: Sequence[tuple[float, Callable[[], None]]]) -> "list[Future[None]]":
        """Have several things done, each once a thread is free and nothing larger waits; with each, its size."""
        waiting: list[Future[None]] = [Future() for _ in works]
        with self._lock:
            for (size, work), done in zip(works, waiting, strict=True):
                heapq.heappush(self._waiting, (-size, next(self._order), work, done))
        for _ in works:
            self._pool.submit(self._do_next)
        return waiting

    def _do_next(self) -> None:
        with self._lock:
            _, _, work, done = heapq.heappop(self._waiting)
        try:
            work()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
