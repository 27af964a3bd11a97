"""A recipe over tables that are given: Parquet beside a corpus, and real samples made from them, slowly."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import Dataset

from flows.engine.recipe import Recipe
from tasks.samples import Samples
from tasks.scores import Scores
from warehouse.stage import Resources
from warehouse.tables import CODES, EXAMPLES, PHONES, RECORDINGS, TABLES, TRANSCRIPTS, UTTERANCES, Table

INPUTS = (RECORDINGS, UTTERANCES, TRANSCRIPTS, PHONES, CODES, EXAMPLES)


@dataclass(frozen=True, kw_only=True)
class Given:
    """One shard, `given`, of a table, out of a file of its name."""

    table: str
    model: str = "embedded"  # of codes
    audio: Path = field(default=Path("audio"), compare=False)
    takes = ()
    needs, version, gathers = Resources(), 1, False

    @property
    def makes(self) -> Table:
        return next(table for table in TABLES if table.name == self.table)

    def shards(self) -> dict[str, dict[str, tuple[int, int]]]:
        path = self.audio / f"{self.table}.parquet"
        return {"given": {path.name: (path.stat().st_size, path.stat().st_mtime_ns)}}

    def __call__(self, _shard: str) -> pa.Table:
        return pq.read_table(self.audio / f"{self.table}.parquet", schema=self.makes.schema)


@dataclass(frozen=True, kw_only=True)
class SlowSamples(Samples):
    """With time to be killed in."""

    hold: str = field(default="", compare=False)  # a folder: as long as it is there, one shard is made and no other

    def __call__(self, *inputs: Any, **where: Any) -> pa.Table:
        if self.hold and Path(self.hold).is_dir():
            try:
                Path(self.hold, "taken").touch(exist_ok=False)
            except FileExistsError:
                time.sleep(3600)
        return super().__call__(*inputs, **where)


def spoken() -> Recipe:
    """A pair to a shard."""
    small = {"min_seconds": 1.0, "prompt_seconds": 1.0, "seeds": (0,), "num_utterances": 4, "shard_pairs": 1}
    samples = SlowSamples(checkpoint="embedded", **small)
    return Recipe((*(Given(table=table.name) for table in INPUTS), samples))


@dataclass(frozen=True, kw_only=True)
class GivenScores(Given):
    """Scores with the controls of the real ones."""

    table: str = "scores"

    def controls(self, scores: Dataset) -> Iterable[str]:
        return Scores().controls(scores)


def judged() -> Recipe:
    """Scores alone."""
    return Recipe((GivenScores(),))
