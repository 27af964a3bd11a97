"""How soon the catalogue answers for 60,000 hours: LibriLight's 7,439 speakers, 14 million utterances.

    python -m bench.simulation [SHARDS]

What is real: the corpus's folders and files (empty ones that claim a size), a file for each shard of each table
from `recordings` to `examples`, the ledger, the catalogue, and the commands. What is made up: the rows. A shard's
file holds none, and its footer, its record and its tallies claim those of eight hours of one reader; so a command
that opens rows is not measured here, and one that should not open them gives itself away.

Each figure is the median of three runs of the whole process, or one of the slower; memory is the most it held.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench.made_up import attempt
from flows.engine.recipe import Listings, Recipe
from flows.recipes import load_recipe
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.ledger import Record
from warehouse.plan import StagePlan, Wanted, inputs_of, plan_stage
from warehouse.store import Artifact, shard_path
from warehouse.tables import Table, Tally

VALLE = str(Path(sys.executable).parent / "valle")
TIMES = 3
SETTING = "recordings.subset=large"  # all three archives

NUM_SHARDS = 7_439  # speakers of LibriLight, Kahn et al. 2020, table 1
RECORDINGS = 30  # of a speaker: 219,041 in all there, 223,170 here; each is a .flac and a .json
FLAC_BYTES = 16_300_000  # 16 minutes at LibriLight's mean of 16.8 kB a second
RECORDS_PER_FILE = 100  # of the ledger: what is taken up at a time
ROWS: Mapping[
    str, tuple[int, dict[str, int]]
] = {  # of a shard: kept, and dropped by reason; each adds up with those above
    "recordings": (30, {"too_short": 1}),
    "utterances": (1_882, {"silence": 310}),
    "transcripts": (1_840, {"not_english": 12, "low_confidence": 30}),
    "phones": (1_838, {"no_words": 2}),
    "codes": (1_882, {}),
    "examples": (1_838, {"not_whole": 44}),
}
SECONDS_OF_A_ROW = {"recordings": 970.0}  # else 15
HALF_SECONDS = [0, 0] + [50] * 37 + [32]  # 1,882 utterances of 1 to 20 s


def fabricate(root: Path, audio: Path, num_shards: int) -> None:
    """A warehouse in which all is made from `recordings` to `examples`, but for its rows."""
    fabricate_corpus(audio, num_shards)
    recipe = load_recipe("librilight")[0].set([SETTING]).place({"audio": audio})
    listings = recipe.listings()
    wanted = recipe.wanted(listings)
    held = {"device": "cuda", "seconds": 60.0, "peak_memory_bytes": 4_000_000_000}
    records = [Record(attempt(artifact, **held), artifact) for artifact in _artifacts(root, recipe, wanted, listings)]
    for i in range(0, len(records), RECORDS_PER_FILE):
        ledger.keep(root, records[i : i + RECORDS_PER_FILE], [])
    said = {"recipe": "librilight", "site": None, "settings": [SETTING], "audio": str(audio), "until": "examples"}
    Catalogue(root).remember(recipe.name, wanted, said)


def fabricate_corpus(audio: Path, num_shards: int) -> None:
    """LibriLight's folders, with files that claim a size and hold nothing."""
    for number in range(num_shards):
        subset = ("small", "medium", *["large"] * 8)[number % 10]
        for book in range(2):
            folder = audio / subset / f"{number}" / f"book_{book}_64kb"
            folder.mkdir(parents=True)
            for chapter in range(RECORDINGS // 2):
                name = f"{folder}/chapter_{chapter:02d}_reader_64kb"
                for path, size in ((f"{name}.flac", FLAC_BYTES), (f"{name}.json", 1)):
                    file = os.open(path, os.O_WRONLY | os.O_CREAT)
                    os.ftruncate(file, size)
                    os.close(file)


def _artifacts(root: Path, recipe: Recipe, asked: list[Wanted], listings: Listings) -> Iterator[Artifact]:
    """One for each shard of each table, its file written."""
    plans: dict[str, StagePlan] = {}
    known: dict[tuple[str, str, str], Artifact] = {}
    for stage, wanted in zip(recipe.stages, asked, strict=True):
        if (table := stage.makes).name not in ROWS:
            break
        for shard in plan_stage(wanted, plans, known).shards:
            inputs = listings[table.name][shard] if not wanted.takes else inputs_of(wanted, shard, plans)
            artifact = _shard(root, table, shard, wanted.fingerprint(shard), wanted.stage(shard), inputs)
            known[table.name, shard, artifact.fingerprint] = artifact
            yield artifact
        plans[table.name] = plan_stage(wanted, plans, known)


def _shard(root: Path, table: Table, shard: str, fingerprint: str, stage: str, inputs: str) -> Artifact:
    """A shard without rows that claims to have them."""
    kept, dropped = ROWS[table.name]
    seconds = SECONDS_OF_A_ROW.get(table.name, 15.0)
    path = shard_path(root, table.name, fingerprint, shard)
    said = {
        "table_name": table.name,
        "shard": shard,
        "fingerprint": fingerprint,
        "path": path.relative_to(root).as_posix(),
        "num_rows": kept + sum(dropped.values()),
        "num_dropped": sum(dropped.values()),
        "seconds": seconds * (kept + sum(dropped.values())),
        "dropped": json.dumps({reason: {"rows": n, "seconds": n * seconds} for reason, n in dropped.items()}),
        "digest": sha256(f"{table.name}/{shard}".encode()).hexdigest()[:16],
        "stage": stage,
        "inputs": inputs,
        "made_at": datetime.now(UTC).isoformat(),
        "tally": json.dumps({tally.name: list(_tally(tally, shard, kept, seconds)) for tally in table.tallies}),
    }
    artifact = Artifact(**said, bytes=0)  # type: ignore[arg-type]
    whole = _file(table, json.dumps(asdict(artifact)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole)
    return Artifact(**said, bytes=len(whole))  # type: ignore[arg-type]


def _tally(tally: Tally, shard: str, kept: int, seconds: float) -> Iterator[dict[str, Any]]:
    """What `warehouse.tallies` would count of one reader's shard."""
    split = ("dev", "test", *["train"] * 48)[int(shard.rsplit("-", 1)[-1]) % 50]
    values = {"speaker_id": shard.rsplit("-", 1)[-1], "split": split}
    groups = [values | {"book_id": f"{shard}-{book}"} for book in range(2)] if "book_id" in tally.by else [values]
    for group in groups:
        rows = kept // len(groups)
        count = {"of": {name: group[name] for name in tally.by}, "rows": rows, "seconds": rows * seconds}
        if "speaker_id" in tally.by and "split" in tally.by:
            count |= {"distinct": {"recording_id": RECORDINGS}, "half_seconds": HALF_SECONDS}
        if tally.means:
            count["means"] = {name: {"rows": 2, "mean": 0.999} for name in tally.means}
        yield count


def _file(table: Table, footer: str) -> bytes:
    """A Parquet file of no rows with this footer: one is written, and the others differ from it in as many letters."""
    held = "0" * (1 << len(footer).bit_length())
    return _template(table, held).replace(held.encode(), footer.ljust(len(held)).encode())


@cache
def _template(table: Table, footer: str) -> bytes:
    file = BytesIO()
    with pq.ParquetWriter(file, table.schema) as writer:
        writer.write_table(table.schema.empty_table())
        writer.add_key_value_metadata({"artifact": footer})
    return file.getvalue()


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
done = subprocess.run(sys.argv[1:], capture_output=True, text=True, timeout=120)
taken = time.perf_counter() - begun
print(json.dumps([taken, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.returncode, done.stderr[-500:]]))
"""


def commands(root: Path, audio: Path) -> Iterator[tuple[str, float | None, int, list[str]]]:
    """What is measured: its name, its goal in seconds, how often, and its words."""
    here = ["--root", str(root)]
    what = [*here, "--audio", str(audio), "--recipe", "librilight", "--set", SETTING, "--until", "examples"]
    shard = next((root / "codes").rglob("*.parquet")).stem
    take_up = f"import pathlib, warehouse.catalogue as c; c.Catalogue(pathlib.Path({str(root)!r})).take_up()"
    yield "catalogue rebuild", None, 1, [VALLE, "catalogue", "rebuild", *here]
    yield "take up and publish", None, TIMES, [sys.executable, "-c", take_up]
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


def simulate(num_shards: int) -> dict[str, Any]:
    """The figures by what was measured: seconds and GB, and the goals where there are any."""
    with tempfile.TemporaryDirectory() as folder:
        root, audio = Path(folder) / "root", Path(folder) / "audio"
        begun = time.perf_counter()
        fabricate(root, audio, num_shards)
        figures: dict[str, Any] = {
            "shards": num_shards * len(ROWS),
            "rows of utterances": num_shards * sum([ROWS["utterances"][0], *ROWS["utterances"][1].values()]),
            "hours": round(num_shards * ROWS["recordings"][0] * SECONDS_OF_A_ROW["recordings"] / 3600),
            "files of the corpus": num_shards * RECORDINGS * 2,
            "fabricating, seconds": round(time.perf_counter() - begun, 1),
            "goal of memory, GB": 4,
        }
        for name, goal, times, words in commands(root, audio):
            seconds, gigabytes = measure(*words, times=times)
            figures[name] = {"seconds": seconds, "GB": gigabytes} | ({"goal": goal} if goal else {})
        return figures | {"catalogue.duckdb, MB": round((root / "catalogue.duckdb").stat().st_size / 1e6, 1)}


def main() -> None:
    """Print the figures as JSON."""
    print(json.dumps(simulate(int(sys.argv[1]) if len(sys.argv) > 1 else NUM_SHARDS), indent=1))


if __name__ == "__main__":
    main()
