"""Leases: one maker at a time of what lies in a folder, where there are no locks.

Whoever holds one renews it while it works. Who waits for it looks at whether it changes, by its own clock alone, and
takes it over when it has not for so long that its holder must be dead; of a holder on the same machine that is known at
once. A holder that was stopped for longer and goes on finds out by its next renewal, or at its end, and its work counts
as failed. What rows and commits say rests on no lease.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from warehouse.errors import Mistake
from warehouse.objects import Objects, Refused, Unanswered, now_and_then

BEAT, DEAD = 10.0, 300.0  # seconds between renewals, and without one: a request may be made again for two minutes


@contextmanager
def lease(
    objects: Objects, name: str, *, beat: float = BEAT, dead: float = DEAD, pause: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Nobody else holds the lease of this name meanwhile.

    Raises:
        Unanswered: it was lost on the way, to somebody who took this process for dead.
    """
    held = _Held(objects, name, f"{uuid4().hex} {_process(os.getpid())}")
    held.take(beat, dead, pause)
    try:
        with now_and_then(held.renew, beat, f"lease {name}"):
            yield
    finally:
        held.let_go()
    if held.is_lost:
        raise Unanswered(f"{objects.url}/{name}: somebody else has gone on with it, for this was silent too long")


class _Held:
    """A lease, as its holder knows it."""

    def __init__(self, objects: Objects, name: str, holder: str) -> None:
        self.is_lost = False
        self._objects, self._name, self._holder = objects, name, holder
        self._etag = ""
        self._renewals = 0

    def take(self, beat: float, dead: float, pause: Callable[[float], None]) -> None:
        """Waits until it is ours."""
        seen, since = "", time.monotonic()
        while True:
            said, etag = self._there()
            if etag != seen:
                seen, since = etag, time.monotonic()
            if not etag or _is_dead(said) or time.monotonic() - since > dead:
                with suppress(Refused):
                    self._etag = self._objects.swap(self._name, self._holder.encode(), etag or None)
                    return
            pause(min(1.0, beat / 2))

    def renew(self) -> None:
        """Says that its holder lives, or finds that it is somebody else's."""
        if self.is_lost:
            return
        self._renewals += 1
        try:
            self._etag = self._objects.swap(self._name, f"{self._holder} {self._renewals}".encode(), self._etag)
        except Refused:
            said, etag = self._there()
            if said.startswith(self._holder):  # a renewal that was heard, whose answer was lost
                self._etag = etag
            else:
                self.is_lost = True

    def let_go(self) -> None:
        """Removes it, if it is still ours: a last renewal says so."""
        with suppress(Unanswered, Mistake):  # it runs out by itself
            self.renew()
            if not self.is_lost:
                self._objects.delete([self._name])

    def _there(self) -> tuple[str, str]:
        """What it says, and its etag; nothing where there is none."""
        try:
            said, etag = self._objects.get_tagged(self._name)
        except FileNotFoundError:
            return "", ""
        return said.decode(), etag


def _process(number: int) -> str:
    """A process of this machine, or of this container of it, by what no later one has.

    The boot of the kernel, the namespace of its numbers, its number, and the tick in which it began.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    began = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}/{number}/{began}"


def _is_dead(said: str) -> bool:
    """Whether a holder was a process of this machine that is no more. Of another machine's nothing can be told."""
    with suppress(OSError, IndexError, ValueError):
        holder = said.split()[1]
        boot, names, number, _ = holder.split("/")
        if _process(os.getpid()).startswith(f"{boot}/{names}/"):
            try:
                return _process(int(number)) != holder
            except FileNotFoundError:
                return True
    return False
