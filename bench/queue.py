"""How busy the engine keeps many workers, and what it costs a shard, beside a bare loop over the same shards.

    python -m bench.queue [--shards 7439] [--slots 256] [--seconds 0.5] [--made 2000] [--short]

First, shards of uneven length on many workers: Prefect, task runs and queue are the engine's own, and a worker is a
thread that sleeps as long as its shard would take, at a scale. What the engine knows of a length beforehand is off by
a fifth. A bare pool of threads gets the same sleeps in their order. Then as many shards go through two stages, the
second on GPUs as many as the first has CPUs: what that takes, over what both stages take one after the other. Last,
shards of no length are made in earnest, by Ray's workers, with their files and records, beside a loop of the
same calls.
"""

import argparse
import json
import os
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pyarrow as pa

from bench.progress import options, tell, told
from warehouse.stage import Resources
from warehouse.store import Artifact, shard_path
from warehouse.tables import Table

SPREAD = 0.6  # of the logarithm of a shard's length: the longest of 7,439 is nine times the mean
GUESS = 0.2  # by how much a length is known beforehand: a fifth more or less
OF_A_SHARD = 10.0  # seconds that overhead is a share of
EMPTY = Table("empty", grain="nothing", schema=pa.schema({"n": pa.int64()}))
SECOND = Table("second", grain="nothing", schema=pa.schema({"n": pa.int64()}))


@dataclass(frozen=True, kw_only=True)
class Empty:
    """Shards of no rows, each with a file of a claimed size."""

    makes, takes = EMPTY, ()
    needs, version, gathers = Resources(), 1, False
    sizes: dict[str, int] = field(default_factory=dict, compare=False)

    def shards(self) -> dict[str, dict[str, tuple[int, int]]]:
        return {shard: {f"{shard}.flac": (size, 0)} for shard, size in self.sizes.items()}

    def __call__(self, _shard: str) -> pa.Table:
        return EMPTY.schema.empty_table()


@dataclass(frozen=True, kw_only=True)
class OnGpus:
    """Shards of no rows, made of others', on GPUs."""

    makes, takes = SECOND, (EMPTY,)
    needs, version, gathers = Resources(gpus=1.0), 1, False
    device: str = field(default="cpu", compare=False)

    def __call__(self, _empty: Any) -> pa.Table:
        return SECOND.schema.empty_table()


class Sleepers:
    """Workers who only sleep; they stand in for Ray's."""

    stopped, needs, size = False, Resources(), 0

    def __init__(self, seconds: dict[str, float], slots: int, device: str = "cpu") -> None:
        self.seconds, self.slots, self.device = seconds, slots, device
        self.begun: list[float] = []
        self.ended: list[float] = []

    def __call__(self, site: Any, _module: Any) -> "Sleepers":
        self.site = site
        return self

    def check_room(self, _table: str, _needs: Resources) -> int:
        return self.slots

    def pool(self, _table: str, needs: Resources, num_jobs: int, _beside: Resources | None) -> "Sleepers":
        pool = copy(self)
        pool.needs, pool.size = needs, min(self.slots, num_jobs)
        return pool

    def close(self) -> None: ...

    def make(self, job: Any, _flow_run_id: str | None, _attempt: int) -> Artifact:
        self.begun.append(time.perf_counter())
        time.sleep(self.seconds[job.shard])
        self.ended.append(time.perf_counter())
        table = job.stage.makes.name
        path = shard_path(job.root, table, job.fingerprint, job.shard).relative_to(job.root).as_posix()
        said = {"num_rows": 0, "num_dropped": 0, "seconds": None, "dropped": "{}", "bytes": 0, "digest": ""}
        now = datetime.now(UTC).isoformat()
        return Artifact(
            **said,  # type: ignore[arg-type]
            table_name=table,
            shard=job.shard,
            fingerprint=job.fingerprint,
            path=path,
            stage=job.description,
            inputs=job.inputs,
            made_at=now,
        )

    @property
    def use(self) -> float:
        """The share of the workers' time in which they slept, from the first beginning to the last end."""
        return sum(self.seconds.values()) / self.slots / (max(self.ended) - min(self.begun))


def lengths(shards: int, mean: float) -> dict[str, float]:
    """Seconds of each shard, uneven, of this mean."""
    draw = random.Random(1)
    drawn = [draw.lognormvariate(0, SPREAD) for _ in range(shards)]
    return {f"s{i:05}": mean * length / statistics.fmean(drawn) for i, length in enumerate(drawn)}


def engine(root: Path, sizes: dict[str, int], workers: Any = None, *, until: str = EMPTY.name) -> float:
    """Seconds of a flow that makes all shards, of one stage or of two; by Ray's workers unless others are given."""
    from prefect import flow

    from flows.engine.materialization import materialize
    from flows.engine.recipe import Recipe
    from flows.engine.site import load_site
    from flows.engine.workers import Workers

    @flow(log_prints=False)
    def made_up() -> None:
        recipe = Recipe((Empty(sizes=sizes), OnGpus()))
        materialize(recipe, load_site(root=str(root), device="cpu"), until=until)

    begun = time.perf_counter()
    with patch("flows.engine.materialization.Workers", workers or Workers):
        made_up()
    return time.perf_counter() - begun


def bare_use(seconds: dict[str, float], slots: int) -> float:
    """The same share, of a pool of threads that takes the shards in their order."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(slots) as pool:
        list(pool.map(time.sleep, seconds.values()))
    return sum(seconds.values()) / slots / (time.perf_counter() - begun)


def bare_seconds(root: Path, shards: int) -> float:
    """Seconds in which a loop in one process makes empty shards, with their files and records."""
    from flows.engine.shards import Job, make_shard

    stage, begun = Empty(), time.perf_counter()
    for i in range(shards):
        said = {"fingerprint": "f" * 12, "description": "{}", "inputs": "{}", "reads": (), "again": False}
        made = make_shard(Job(root=root, stage=stage, shard=f"s{i:05}", **said), None, 1)  # type: ignore[arg-type]
        assert isinstance(made, Artifact)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shards", type=int, default=7_439, help="of uneven length")
    parser.add_argument("--slots", type=int, default=256, help="workers that sleep")
    parser.add_argument("--seconds", type=float, default=0.5, help="that a shard is slept through, on average")
    parser.add_argument("--staged", type=int, default=1_000, help="shards that go through two stages")
    parser.add_argument("--made", type=int, default=2_000, help="shards of no length, made in earnest; 0 makes none")
    asked = options(parser, shards=500, staged=100, made=50)
    with TemporaryDirectory() as folder:
        from flows.commands.options import prefects_mistakes, quiet

        root = Path(folder)
        quiet(root, verbose=False)
        with prefects_mistakes(root):
            print(json.dumps(measured(root, asked)))


def measured(root: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    seconds, draw = lengths(asked.shards, asked.seconds), random.Random(2)
    sizes = {shard: round(1e6 * one * draw.uniform(1 - GUESS, 1 + GUESS)) for shard, one in seconds.items()}
    sleepers = Sleepers(seconds, asked.slots)
    tell(f"{asked.shards} shards by {asked.slots} workers that sleep")
    engine(root / "asleep", sizes, sleepers)
    figures = told(
        {
            "shards": asked.shards,
            "slots": asked.slots,
            "longest_over_mean": round(max(seconds.values()) / asked.seconds, 1),
            "use": round(sleepers.use, 3),
            "bare_use": round(bare_use(seconds, asked.slots), 3),
        }
    )
    if asked.staged:
        seconds = lengths(asked.staged, asked.seconds)
        sizes = {shard: round(1e6 * one) for shard, one in seconds.items()}
        both = Sleepers(seconds, asked.slots // 4, "cuda")
        engine(root / "staged", sizes, both, until=SECOND.name)
        lasted = max(both.ended) - min(both.begun)
        share = lasted / (2 * sum(seconds.values()) / (asked.slots // 4))
        figures |= told({"two_stages_over_their_sum": round(share, 3)})
    if asked.made:
        made = dict.fromkeys(lengths(asked.made, 1.0), 1)
        whole = engine(root / "made", made)
        bare = bare_seconds(root / "bare", asked.made)
        cpus = os.cpu_count() or 1
        figures |= told(
            {
                "made": asked.made,
                "ms_a_shard": round(1e3 * whole / asked.made, 1),
                "bare_ms_a_shard": round(1e3 * bare / asked.made, 1),
                "overhead_of_10_s": round(cpus * whole / asked.made / OF_A_SHARD, 4),
            }
        )
    return figures


if __name__ == "__main__":
    main()
