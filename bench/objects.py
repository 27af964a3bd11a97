"""What an object store costs: a shard, a record and a commit there against a folder, and a catalogue of 60,000 hours.

    python -m bench.objects [--short] [--readers 7439]

The server is SeaweedFS on this machine, as in the tests: it says what is done for each request, and nothing of a
network. A line for each figure as it is found.
"""

import json
import os
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from bench.made_up import attempt
from bench.progress import options, tell
from bench.simulated_warehouse import NUM_SHARDS, fabricate
from tests.object_server import BUCKET, ENVIRONMENT, object_server
from warehouse import ledger, working_copy
from warehouse.catalogue import Catalogue
from warehouse.ledger import Record
from warehouse.query import select
from warehouse.store import Artifact, write_shard
from warehouse.tables import CODES

SHARDS = 200
ROWS = 100  # of a shard, so that what is not writing it takes little


figures: dict[str, float] = {}


def told(what: str, figure: float) -> None:
    """One figure, when it is known."""
    figures[what] = round(figure, 4)
    tell(f"{what}: {figures[what]:,}")


def timed(act: Callable[[], object]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def shards(root: Path, number: int) -> list[Artifact]:
    """So many shards of codes, written one after the other."""
    types = {name: CODES.schema.field(name).type for name in CODES.schema.names}
    columns = {name: pa.array([[0, 1, 2] * 300] * ROWS, kind) for name, kind in types.items() if "codebook" in name}
    columns |= {"utterance_id": pa.array([f"u{i}" for i in range(ROWS)])}
    rows = pa.table(
        {name: columns.get(name, pa.nulls(ROWS, kind)) for name, kind in types.items()}, schema=CODES.schema
    )
    return [
        write_shard(root, CODES, f"s{i}", "0123456789ab", rows, stage='{"name": "bench", "version": 1}', inputs="{}")
        for i in range(number)
    ]


def leave(root: Path, records: list[Record]) -> None:
    """So many records."""
    for record in records:
        ledger.emit(root, record)


def small(root: Path, name: str, number: int) -> None:
    """A shard, a record and a commit."""
    artifacts: list[Artifact] = []
    told(f"{name}: a shard written", timed(lambda: artifacts.extend(shards(root, number))) / number)
    records = [Record(attempt(artifact), artifact) for artifact in artifacts]
    told(f"{name}: a record left", timed(lambda: leave(root, records)) / number)
    told(f"{name}: a commit of {number} records", timed(Catalogue(root).take_up))
    told(f"{name}: a commit of nothing new", timed(Catalogue(root).take_up))


def large(here: Path, root: Path, audio: Path, readers: int) -> None:
    """A catalogue of so many readers' shards, of which the store has the ledger and one reader's files."""
    fabricate(here, audio, readers)
    objects = working_copy.objects_of(root)
    assert objects
    num_shards = 0
    first: dict[str, Artifact] = {}  # of each table, whose columns a view asks for
    for file in ledger.kept(here):
        records = []
        for one in ledger.read([file]):
            assert isinstance(one, Record)
            assert one.artifact
            artifact = Artifact(**vars(one.artifact) | {"sha256": one.artifact.digest * 4})
            records.append(Record(one.attempt, artifact))
            known = first.get(artifact.table_name, artifact)
            first[artifact.table_name] = min(known, artifact, key=lambda one: one.shard)
        num_shards += len(records)
        ledger.keep(root, records, [])
    for artifact in first.values():
        name = working_copy.object_name(artifact.path, artifact.sha256)
        objects.put(name, (here / artifact.path).read_bytes())
    for recipe in (here / "recipes").glob("*.json"):
        objects.put(f"recipes/{recipe.name}", recipe.read_bytes())
    told("number of shards in the ledger", num_shards)
    told("a new machine's first commit of them all", timed(Catalogue(root).take_up))
    told("publishing again", timed(Catalogue(root).take_up))
    size = max(size for name, size in objects.list("catalogue").items() if name.endswith("catalogue.duckdb"))
    told("MB of the catalogue that readers fetch", size / 1e6)
    told("`select * from funnel`, where it is fetched", timed(lambda: select(root, "from funnel")))
    told("the same again", timed(lambda: select(root, "from funnel")))
    reader = root.with_name("another machine's")
    working_copy.bind(reader, objects.url)
    told("a second machine's first look at a plan", timed(Catalogue(reader).take_up))


def main() -> None:
    """Print the figures as JSON."""
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--readers", type=int, default=NUM_SHARDS)
    parser.add_argument("--shards", type=int, default=SHARDS)
    words = options(parser, readers=NUM_SHARDS // 100, shards=SHARDS // 10)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= ENVIRONMENT | {"VALLE_CACHE": str(folder / "cache")}
        (folder / "server").mkdir()
        with object_server(folder / "server"):
            small(folder / "root", "folder", words.shards)
            small(working_copy.root_at(f"s3://{BUCKET}/small"), "object store", words.shards)
            large(folder / "large", working_copy.root_at(f"s3://{BUCKET}/large"), folder / "audio", words.readers)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
