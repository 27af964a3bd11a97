"""How soon the catalogue answers for 60,000 hours: LibriLight's 7,439 speakers, 14 million utterances.

    python -m bench.simulation [READERS] [--short] [--store]

`bench.simulated_warehouse` says what of it is real. Each figure is the median of three runs of the whole process, or
one of the slower; memory is the most it held. Each view is asked for all its columns and rows. With `--store` the
warehouse lies on an object store, a server on the same machine as in the tests.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.made_up import attempt
from bench.progress import options, tell, told
from bench.simulated_warehouse import NUM_SHARDS, RECORDINGS, ROWS, SECONDS_OF_A_ROW, SETTING, fabricate
from tests.object_server import BUCKET, ENVIRONMENT, object_server
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.ledger import Record
from warehouse.query import published
from warehouse.statistics import VIEWS
from warehouse.store import list_shards
from warehouse.working_copy import root_at
from warehouse.working_copy import said as said_of

VALLE = str(Path(sys.executable).parent / "valle")
TIMES = 3
READS = {"dataset": ", which reads rows", "duplicates": ", which reads the rows of recordings"}


def measure(*words: str, times: int) -> tuple[float, float]:
    """The median wall clock of a command in seconds, and the most memory it held in GB.

    A small process starts it: one forked from this would count this one's memory as its own.
    """
    measured = [
        json.loads(subprocess.run([sys.executable, "-S", "-c", _WATCH, *words], check=True, capture_output=True).stdout)
        for _ in range(times)
    ]
    if failed := [said for *_, status, said in measured if status]:
        raise SystemExit(f"{' '.join(words)} failed: {failed[0]}")
    seconds, kilobytes, *_ = zip(*measured, strict=True)
    return round(statistics.median(seconds), 2), round(max(kilobytes) * 1024 / 1e9, 2)


_WATCH = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True, timeout=900)
taken = time.perf_counter() - begun
print(json.dumps([taken, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.returncode, done.stderr[-500:]]))
"""


def write(said: str) -> None:
    """Leaves the records of a hundred attempts at shards that there are, and takes up the ledger."""
    root = root_at(said)
    for artifact in list(Catalogue(root).published_artifacts().values())[:100]:
        ledger.emit(root, Record(attempt(artifact), None))
    Catalogue(root).take_up()


def write_twice(said: str) -> None:
    """Two processes write at once."""
    words = [sys.executable, "-c", f"from bench.simulation import write; write({said!r})"]
    writers = [subprocess.Popen(words), subprocess.Popen(words)]
    if any([writer.wait() for writer in writers]):
        raise SystemExit("a writer failed")


def commands(root: Path, audio: Path) -> Iterator[tuple[str, float | None, int, list[str]]]:
    """What is measured: its name, its goal in seconds, how often, and its words."""
    name = said_of(root)
    here = ["--root", name]
    what = [*here, "--audio", str(audio), "--recipe", "librilight", "--set", SETTING, "--until", "examples"]
    shard = next(Path(place).name.partition("@")[0].removesuffix(".parquet") for place in list_shards(root, ["codes"]))
    take_up = (
        f"from warehouse.catalogue import Catalogue; from warehouse.working_copy import root_at\n"
        f"Catalogue(root_at({name!r})).take_up()"
    )
    yield "catalogue rebuild", None, 1, [VALLE, "catalogue", "rebuild", *here]
    yield "take up and publish", None, TIMES, [sys.executable, "-c", take_up]
    writers = f"from bench.simulation import write_twice; write_twice({name!r})"
    yield "two writers of 100 records at once", None, 1, [sys.executable, "-c", writers]
    yield "run, nothing to make", None, 1, [VALLE, "run", *what]
    yield "plan, nothing pending", 10, TIMES, [VALLE, "plan", *what]
    yield "plan, codes and examples stale", 10, 1, [VALLE, "plan", *what, "--set", "codes.model=embedded"]
    yield "stats", 2, TIMES, [VALLE, "stats", *here]
    yield "select * from funnel", 2, TIMES, [VALLE, "sql", "select * from funnel", *here]
    yield "select * from speakers", 2, TIMES, [VALLE, "sql", "select * from speakers", *here]
    yield "select * from speakers, CSV", 2, TIMES, [VALLE, "sql", "select * from speakers", *here, "--format", "csv"]
    yield "select 1", 1, TIMES, [VALLE, "sql", "select 1", *here]
    yield "status", None, TIMES, [VALLE, "status", *here]
    yield "why SHARD", None, TIMES, [VALLE, "why", f"codes/{shard}", *here]
    yield "why TABLE", None, TIMES, [VALLE, "why", "codes", *here]
    yield "from dataset limit 1", None, 1, [VALLE, "sql", "from dataset limit 1", *here]
    for view in VIEWS:  # each column of each row
        all_of_it = f"select count(*), bit_xor(hash(v)) from {view} as v"
        yield f"view {view}{READS.get(view, '')}", None, 1, [VALLE, "sql", all_of_it, *here]


def simulate(num_shards: int, *, store: bool = False) -> dict[str, Any]:
    """The figures by what was measured: seconds and GB, and the goals where there are any."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root, audio = Path(folder) / "root", Path(folder) / "audio"
        if store:
            os.environ |= ENVIRONMENT | {"VALLE_CACHE": f"{folder}/cache"}
            (Path(folder) / "server").mkdir()
            stack.enter_context(object_server(Path(folder) / "server"))
            root = root_at(f"s3://{BUCKET}/simulation")
        begun = time.perf_counter()
        tell(f"fabricating {num_shards} shards of {len(ROWS)} tables")
        fabricate(root, audio, num_shards)
        figures = told(
            {
                "shards": num_shards * len(ROWS),
                "rows of utterances": num_shards * sum([ROWS["utterances"][0], *ROWS["utterances"][1].values()]),
                "hours": round(num_shards * ROWS["recordings"][0] * SECONDS_OF_A_ROW["recordings"] / 3600),
                "files of the corpus": num_shards * RECORDINGS * 2,
                "fabricating, seconds": round(time.perf_counter() - begun, 1),
                "goal of memory, GB": 4,
            }
        )
        for name, goal, times, words in commands(root, audio):
            seconds, gigabytes = measure(*words, times=times)
            figures |= told({name: {"seconds": seconds, "GB": gigabytes} | ({"goal": goal} if goal else {})})
        return figures | {"catalogue.duckdb, MB": round(published(root).stat().st_size / 1e6, 1)}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("shards", nargs="?", type=int, default=NUM_SHARDS)
    parser.add_argument("--store", action="store_true", help="on an object store")
    words = options(parser, shards=20)
    print(json.dumps(simulate(words.shards, store=words.store), indent=1))


if __name__ == "__main__":
    main()
