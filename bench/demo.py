"""How long `valle demo` takes, how much memory it and all that it starts hold, and how soon a second one is done.

    python -m bench.demo

Memory is the sum of proportional set sizes over the process and its descendants, read twice a second: pages that
processes share are counted once.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

VALLE = Path(sys.executable).parent / "valle"


def main() -> None:
    """Print the figures as JSON."""
    with tempfile.TemporaryDirectory() as root:
        first, peak = run("demo", "--root", root)
        second, _ = run("demo", "--root", root)
    figures = {
        "valle demo, seconds (goal 360)": round(first, 1),
        "valle demo, peak memory in MB (goal 4000)": round(peak / 1e6),
        "a second valle demo, seconds (goal 15)": round(second, 1),
    }
    print(json.dumps(figures, indent=1))


def run(*words: str) -> tuple[float, int]:
    """Wall clock in seconds, and peak memory in bytes, of one command and everything it starts."""
    begun = time.perf_counter()
    peak = 0
    with subprocess.Popen([VALLE, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, sum(proportional(pid) for pid in family(process.pid)))
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"valle {' '.join(words)} ended with {process.returncode}")
    return time.perf_counter() - begun, peak


def family(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    with suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from family(int(child))


def proportional(pid: int) -> int:
    """The proportional set size of a process, in bytes."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
