"""Runs that are to be broken: `valle run` in a process group of its own, with a mark on all that it starts."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from warehouse.query import select

MARK = "VALLE_TEST_MARK"  # a variable of the environment, by which a run's processes are known
AGENTS = {"ray::DashboardA", "ray::RuntimeEnv"}  # of Ray's, which look for its head for a minute before they end
TOY = f"{Path(__file__).parents[1] / 'tests' / 'toy.py'}"


def start(
    root: Path,
    audio: Path,
    recipe: str,
    words: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    stderr: int | IO[bytes] = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """`valle run`, which hears Ctrl-C even where whoever starts it runs in the background."""
    valle = Path(sys.executable).parent / "valle"
    return subprocess.Popen(
        [valle, "run", "--recipe", recipe, "--audio", audio, "--root", root, *words],
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,  # a shell ignores it behind `&`
        env=os.environ | (environment or {}),
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


@contextmanager
def ended(*runs: subprocess.Popen[bytes]) -> Iterator[None]:
    """Whatever becomes of the block, these runs are over after it."""
    try:
        yield
    finally:
        for run in runs:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def processes(mark: str) -> dict[int, str]:
    """The processes that carry a mark in their environment, each with its name."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "comm").read_text().strip()
    return found


def kill_all(mark: str) -> None:
    """`kill -9` of all that carry a mark, and of what they start meanwhile."""
    while there := {number for number, name in processes(mark).items() if name and not _is_dead(number)}:
        for number in there:
            with suppress(OSError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.05)


def _is_dead(number: int) -> bool:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return True


def wait_until(there: Callable[[], object], process: "subprocess.Popen[bytes]", seconds: float = 120) -> bool:
    """Waits for something of a run; false where the run ends before.

    Raises:
        TimeoutError: neither happens.
    """
    deadline = time.monotonic() + seconds
    while not there():
        if process.poll() is not None:
            return bool(there())
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing within {seconds:g} s")
        time.sleep(0.02)
    return True


def digest(root: Path, table: str) -> str:
    """What a table's rows are, whatever their order and their files."""
    rows = select(root, f"from {table} order by all").to_pylist()
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:12]
