"""How long `valle demo` takes, how much memory it and all that it starts hold, and how soon a second one is done.

    python -m bench.demo [--short]

Memory is the sum of proportional set sizes over the process and its descendants, read twice a second: pages that
processes share are counted once. `--short` makes the tables up to `utterances`, for which no goal was set.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bench.progress import options, tell, told

SAY_EVERY = 10  # seconds
VALLE = Path(sys.executable).parent / "valle"


def main() -> None:
    """Print the figures as JSON."""
    short = options(argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])).short
    what = ["run", "--recipe", "demo", "--until", "utterances"] if short else ["demo"]
    name, goals = " ".join(["valle", *what]), [""] * 3 if short else [" (goal 360)", " (goal 4000)", " (goal 15)"]
    with tempfile.TemporaryDirectory() as root:
        first, peak = run(*what, "--root", root)
        figures = told(
            {
                f"{name}, seconds{goals[0]}": round(first, 1),
                f"{name}, peak memory in MB{goals[1]}": round(peak / 1e6),
            }
        )
        second, _ = run(*what, "--root", root)
        figures |= told({f"a second {name}, seconds{goals[2]}": round(second, 1)})
    print(json.dumps(figures, indent=1))


def run(*words: str) -> tuple[float, int]:
    """Wall clock in seconds, and peak memory in bytes, of one command and everything it starts."""
    begun = time.perf_counter()
    peak = said = 0
    with subprocess.Popen([VALLE, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            held = sum(proportional(pid) for pid in family(process.pid))
            peak = max(peak, held)
            if time.perf_counter() > begun + SAY_EVERY * (said + 1):
                said += 1
                tell(f"{time.perf_counter() - begun:.0f} s, {held / 1e6:.0f} MB")
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
