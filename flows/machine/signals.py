"""Signals: Ctrl-C, a batch system's SIGTERM and a closed terminal's SIGHUP all interrupt a command, and it ends soon.

What is being made may take hours, and Ray and Prefect have handlers of their own that know nothing of each other. So
the first signal is an interrupt as Python knows it, and a command that has not come to an end after some seconds is
ended with all that it has started. After a `kill -9` that ends by itself: Ray's processes share our fate (two of them
after a minute), and so does Prefect's server (`flows.machine.prefect_server`). The next run goes on.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

GRACE = 8.0  # seconds to end in; Docker waits ten before it kills, and Slurm thirty
INTERRUPTED = "interrupted; what is made is kept, and the next run goes on from there"
_ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)

_heeded: set[signal.Signals] = set()
_heard = threading.Event()
_raised = threading.Event()
_told = threading.Event()


def heed_signals() -> None:
    """Let the three interrupt this process. One that is ignored, as `nohup` does with SIGHUP, stays so."""
    if threading.current_thread() is not threading.main_thread():
        return
    for event in (_heard, _raised, _told):
        event.clear()
    for number in _ALL:
        if signal.getsignal(number) in _DEFAULTS:
            signal.signal(number, _interrupt)
            _heeded.add(number)
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(ear,), name="listening", daemon=True).start()


def heed_again() -> None:
    """Take back the signals that a library has taken over. Nothing, where they are not ours to heed."""
    if threading.current_thread() is threading.main_thread():
        for number in _heeded:
            signal.signal(number, _interrupt)


def are_heeded() -> bool:
    """Whether `heed_signals` has been asked for."""
    return bool(_heeded)


def leave_signals() -> None:
    """Heed them no more: each does what it does by default."""
    for number in _heeded:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
    _heeded.clear()
    if (mouth := signal.set_wakeup_fd(-1)) >= 0:
        os.close(mouth)


def is_interrupted() -> bool:
    """Whether one of them has come. Whatever failed since then failed for that."""
    return _heard.is_set()


def tell_of_the_interrupt() -> None:
    """Say so, once."""
    if not _told.is_set():
        _told.set()
        print(INTERRUPTED, file=sys.stderr, flush=True)


def end_now() -> None:
    """End this process and all that it has started.

    Not by way of Python's own end, which waits for threads, and in which a library that was interrupted while it
    started may never come back.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    _end_after(0)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if not _raised.is_set():
        _raised.set()
        _begin_to_end()
        raise KeyboardInterrupt
    if number == signal.SIGINT:  # a second time: somebody does not want to wait
        _end_after(0)


def _listen(ear: int) -> None:
    """Hear of signals as they come: the handler waits for as long as Python's main thread is busy in a library."""
    while heard := os.read(ear, 1):
        if heard[0] in _heeded:
            _begin_to_end()
    os.close(ear)


def _begin_to_end() -> None:
    if not _heard.is_set():
        _heard.set()
        threading.Thread(target=_end_after, args=(GRACE,), name="ending", daemon=True).start()


def _end_after(seconds: float) -> None:
    time.sleep(seconds)
    try:
        for process in _descendants():
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        tell_of_the_interrupt()
    finally:
        os._exit(130)


def _descendants() -> list[int]:
    """What this process has started, and what that has; where there is no /proc, they see to it themselves."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = [os.getpid()]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found[1:]
