"""Workers that outlive a run: the next test's run takes them up, as one pool does what another has left idle.

A worker's process takes seconds to import what it works with, and only `test_workers.py` is about its birth.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from warehouse.stage import Resources

_IDLE: defaultdict[Resources, list[Any]] = defaultdict(list)


def let_go() -> None:
    """End those that no run has at the moment, whose room somebody else is to have."""
    import ray

    for idle in _IDLE.values():
        for worker in idle:
            ray.kill(worker)
    _IDLE.clear()


@contextmanager
def parked() -> Iterator[None]:
    """While this lasts, what is idle at the end of a run is kept for the next."""
    from flows.engine.workers import Pool, Workers

    close, new = Workers.close, Pool._new

    def park(self: Workers) -> None:
        with self.changed:
            for needs, idle in self.idle.items() if not self._ours else ():
                _IDLE[needs] += idle
                self.there[needs] -= len(idle)
                idle.clear()
        close(self)

    def take_up(self: Pool) -> Any:
        if _IDLE[self.needs]:
            return _IDLE[self.needs].pop()
        let_go()
        return new(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workers, "close", park)
        patch.setattr(Pool, "_new", take_up)
        yield
    let_go()
