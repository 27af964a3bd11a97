"""Leases: one maker at a time of what lies in a folder, where there are no locks.

Whoever holds one renews it while it works. Who waits for it looks at whether it changes, by its own clock alone, and
takes it over when it has not for so long that its holder must be dead. A holder that was stopped for longer than that
and goes on is told so by its next renewal; rows and commits stand by themselves, so nothing else rests on it.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from warehouse.objects import Objects, Refused, Unanswered

BEAT, DEAD = 10.0, 60.0  # seconds between renewals, and without one


@contextmanager
def lease(
    objects: Objects, name: str, *, beat: float = BEAT, dead: float = DEAD, pause: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Nobody else holds the lease of this name meanwhile.

    Raises:
        Unanswered: it was lost on the way, to somebody who took this process for dead.
    """
    holder = f"{uuid4().hex} {_process(os.getpid())}"
    etag = _take(objects, name, holder, beat, dead, pause)
    done, lost = threading.Event(), threading.Event()

    def renew() -> None:
        nonlocal etag
        number = 0
        while not done.wait(beat):
            number += 1
            try:
                etag = objects.swap(name, f"{holder} {number}".encode(), etag)
            except (Refused, FileNotFoundError):
                lost.set()
                return
            except Unanswered:  # the next may be answered before anybody takes it over
                continue

    thread = threading.Thread(target=renew, name=f"lease {name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if not lost.is_set():
            objects.delete([name])
    if lost.is_set():
        raise Unanswered(f"{objects.url}/{name}: somebody else has gone on with it, for this was silent too long")


def _take(objects: Objects, name: str, holder: str, beat: float, dead: float, pause: Callable[[float], None]) -> str:
    """Waits until the lease is ours; its etag."""
    seen, since = "", time.monotonic()
    while True:
        try:
            said, etag = objects.get_tagged(name)
        except FileNotFoundError:
            said, etag = b"", ""
        if etag != seen:
            seen, since = etag, time.monotonic()
        if not etag or _is_dead(said.decode()) or time.monotonic() - since > dead:
            try:
                return objects.swap(name, holder.encode(), etag or None)
            except (Refused, FileNotFoundError):
                continue
        pause(min(1.0, beat / 2))


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
