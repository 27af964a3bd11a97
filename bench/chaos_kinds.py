"""What is done to a run: processes killed, a worker stopped for a while, a node lost, the disk filled, the clock moved.

A kind is a generator in three parts. What comes before its first `yield` is there when the run begins; then comes what
is done at the moment that the seed has chosen, and the words for it; what comes after these is mended before the next
run. It ends with what has to be put away.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.broken_runs import kill_all, processes
from bench.moved_clock import MovedClock, compiler
from bench.ray_nodes import OPEN, RayNodes

DISK = "48m"  # of which a whole run takes a fifth
AWAY = (-40 * 86_400, -7_200, -90, 90, 7_200, 40 * 86_400)  # seconds that a clock is moved by


class TooLate(Exception):
    """The run was over before."""


@dataclass
class Case:
    """One trial, as far as what is done to it has to know."""

    folder: Path
    draw: random.Random
    mark: str  # of all processes of the run
    prefect: Path  # a home of Prefect's that can be copied
    environment: dict[str, str]
    keys: list[str] = field(default_factory=list)  # more lines of the site
    ends: tuple[int, ...] = (0,)  # how the broken run may end
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def root(self) -> Path:
        """The warehouse."""
        return self.folder / "disk" / "root"

    def one(self, name: str) -> int:
        """A process of the run, once there is one of this name."""
        while self.process and self.process.poll() is None:
            found = [number for number, called in processes(self.mark).items() if called.startswith(name)]
            if found:
                return self.draw.choice(sorted(found))
            time.sleep(0.05)
        raise TooLate


Kind = Callable[[Case], Generator[str]]


def power(case: Case) -> Generator[str]:
    """All processes at once."""
    case.ends = (-signal.SIGKILL,)
    yield ""
    kill_all(case.mark)
    yield "all processes killed"
    yield ""


def flow(case: Case) -> Generator[str]:
    """The flow's process alone, which has a Prefect server of its own."""
    case.ends = (-signal.SIGKILL,)
    home = shutil.copytree(case.prefect, case.folder / "prefect")
    shared = case.environment.pop("PREFECT_API_URL")
    case.environment["PREFECT_HOME"] = str(home)
    yield ""
    _kill(case, signal.SIGKILL)
    yield "the flow's process killed"
    case.environment |= {"PREFECT_API_URL": shared, "PREFECT_HOME": str(case.prefect)}
    yield ""


def terminate(case: Case) -> Generator[str]:
    """The flow's process is asked to end, as a batch system does."""
    case.ends = (130,)
    yield ""
    _kill(case, signal.SIGTERM)
    yield "SIGTERM to the flow's process"
    yield ""


def worker(case: Case) -> Generator[str]:
    """A worker; the shard is tried again."""
    yield ""
    _end(case.one("ray::Worker"), signal.SIGKILL)
    yield "a worker killed"
    yield ""


def pause(case: Case) -> Generator[str]:
    """A worker that is stopped goes on later, perhaps after it was given up."""
    case.keys.append("shard_timeout_seconds = 8.0")
    yield ""
    stopped, seconds = case.one("ray::Worker"), case.draw.choice([1.0, 4.0, 12.0])
    _end(stopped, signal.SIGSTOP)
    time.sleep(seconds)
    _end(stopped, signal.SIGCONT)
    yield f"a worker stopped for {seconds:.0f} s"
    yield ""


def raylet(case: Case) -> Generator[str]:
    """The only node of a local Ray, whose workers go on for some twelve seconds."""
    case.ends = (0, 1)
    yield ""
    _end(case.one("raylet"), signal.SIGKILL)
    yield "the only node killed"
    yield ""


def node(case: Case) -> Generator[str]:
    """The node of a cluster on which all workers are; another comes, now or for the next run."""
    case.ends = (0, 1, 2)  # 2 where it is gone before the run has looked for room, and there is none
    with RayNodes() as nodes:
        case.environment |= OPEN
        case.keys += [f'ray_address = "{nodes.address}"', "worker_wait_seconds = 30.0"]
        there = nodes.add()
        yield ""
        nodes.kill(there)
        if comes := case.draw.random() < 0.7:
            time.sleep(case.draw.uniform(0, 4))
            nodes.add()
        yield f"the workers' node killed, {'another' if comes else 'none'} came"
        if not comes:
            nodes.add()
        yield ""


def disk(case: Case) -> Generator[str]:
    """The disk is full; sometimes there is room again while the run goes on."""
    case.ends = (0, 1)
    mounted, ballast = case.root.parent, case.root.parent / "ballast"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", mounted], check=True)
    try:
        yield ""
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        if passes := case.draw.random() < 0.4:
            time.sleep(case.draw.uniform(0.5, 4))
            ballast.unlink()
        yield f"the disk filled{', for a while' if passes else ''}"
        ballast.unlink(missing_ok=True)
        yield ""
    finally:
        if mounted.is_mount():
            subprocess.run(["umount", "--lazy", mounted], check=False)


def clock(case: Case) -> Generator[str]:
    """The clock is moved, sometimes a worker is killed then, and the clock moved back or on, also for the next run."""
    moved, (first, second, third) = MovedClock(case.folder), case.draw.sample(AWAY, 3)
    case.environment |= moved.environment
    yield ""
    moved.move(first)
    if dies := case.draw.random() < 0.7:
        _end(case.one("ray::Worker"), signal.SIGKILL)
    time.sleep(case.draw.uniform(0, 1.5))
    moved.move(second)
    yield f"the clock moved by {first}{' s, a worker killed, the clock by' if dies else ','} {second}, then {third} s"
    moved.move(third)
    yield ""


KINDS: dict[str, Kind] = {
    kind.__name__: kind for kind in (power, flow, terminate, worker, pause, raylet, node, disk, clock)
}


def cannot(folder: Path) -> dict[str, str]:
    """Kinds that this machine does not allow, each with why."""
    found = {}
    if not compiler():
        found["clock"] = "no C compiler, and the machine's own clock is not ours to move"
    trial = folder / "mounted"
    trial.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", trial], capture_output=True).returncode:
        found["disk"] = "no right to mount a small disk"
    else:
        subprocess.run(["umount", trial], check=True)
    return found


def _kill(case: Case, number: int) -> None:
    assert case.process
    if case.process.poll() is not None:
        raise TooLate
    case.process.send_signal(number)


def _end(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError as error:
        raise TooLate from error
