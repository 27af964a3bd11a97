"""Value sums: the value counts of a warehouse's current shards, added up as shards come and go.

60,000 hours have some hundred megabytes of counts, too many to be copied whenever a catalogue is published. So the
private database keeps their sum, changes it by the shards that have come and gone since, and only the sum is
published. Shards that were written before values were counted are read when the disk is looked at, for a few seconds
each time; as long as one is left, the views read its rows.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from warehouse.plan import StagePlan
from warehouse.store import Artifact
from warehouse.tables import EXAMPLES, UTTERANCES
from warehouse.tallies import names_of_tallies
from warehouse.value_counts import COUNTED, count_shard, unpack
from warehouse.working_copy import here, shard_file

PATIENCE = 5.0  # seconds to read old shards at a time, while others wait for the catalogue

LAYOUT = """
    create table value_counts (path varchar, digest varchar, packed varchar);  -- of shards, as records have them
    create table summed (path varchar, digest varchar);  -- the shards that `value_sums` has in it
    create table value_sums (
        table_name varchar, column_name varchar,
        value varchar,            -- a phone, or a code as digits
        times bigint,             -- that it stands in kept rows of current shards
        num_rows bigint           -- that it stands in; 0 for codes, of which that is not counted
    )
"""
_SUMS = pa.schema(
    {
        "table_name": pa.string(),
        "column_name": pa.string(),
        "value": pa.string(),
        "times": pa.int64(),
        "num_rows": pa.int64(),
    }
)


def take_up(db: duckdb.DuckDBPyConnection, artifacts: Iterable[Artifact]) -> None:
    """Keep the counts of shards that are new to the catalogue."""
    counted = [
        {"path": artifact.path, "digest": artifact.digest, "packed": artifact.counts}
        for artifact in artifacts
        if artifact.counts
    ]
    if counted:
        db.register("incoming", pa.Table.from_pylist(counted))
        db.execute("insert into value_counts from incoming anti join value_counts using (path, digest)").fetchall()
        db.unregister("incoming")


def add_up(db: duckdb.DuckDBPyConnection, plans: list[StagePlan]) -> None:
    """Bring the sums to what is current, in one transaction; forget counts of shards that are there no more."""
    _register(db, [a for plan in plans if plan.wanted.table in COUNTED for a in plan.current.values()])
    db.execute("begin").fetchall()
    come = "from now join value_counts using (path, digest) anti join summed using (path, digest)"
    gone = "from summed join value_counts using (path, digest) anti join now using (path, digest)"
    if db.sql(f"select 1 {come} union all select 1 {gone} limit 1").fetchall():
        sums = _Sums(db)
        sums.add(db, come, 1)
        sums.add(db, gone, -1)
        sums.write(db)
        db.execute("delete from summed").fetchall()
        db.execute("insert into summed from now semi join value_counts using (path, digest)").fetchall()
    db.execute("delete from value_counts where (path, digest) not in (select (path, digest) from artifacts)").fetchall()
    db.execute("commit").fetchall()
    db.unregister("now")


def count_old(db: duckdb.DuckDBPyConnection, root: Path, plans: list[StagePlan]) -> int:
    """Read current shards whose values were not counted when they were written, for as long as `PATIENCE` lasts.

    Returns how many were.
    """
    until, counted = time.monotonic() + PATIENCE, 0
    old = uncounted(db, plans)
    for plan in plans:
        if plan.wanted.table in COUNTED:
            for artifact in plan.current.values():
                if artifact.path in old[artifact.table_name]:
                    if time.monotonic() > until:
                        return counted
                    with suppress(OSError, KeyError, pa.ArrowException):  # of other columns than ours, or unreadable
                        file = here(shard_file(root, artifact.path, artifact.sha256))
                        packed = count_shard(artifact.table_name, file)
                        values = [artifact.path, artifact.digest, packed]
                        db.execute("insert into value_counts values (?, ?, ?)", values).fetchall()
                        counted += 1
    return counted


def uncounted(db: duckdb.DuckDBPyConnection, plans: list[StagePlan]) -> Mapping[str, set[str]]:
    """By table, the current shards whose rows views have to read, for what is asked of them was not counted.

    Of `examples` those without a tally of what they refuse, and of `utterances` those of the same names, which have
    their seconds.
    """
    current = {plan.wanted.table: plan.current for plan in plans}
    found = {}
    for table in COUNTED:
        _register(db, current.get(table, {}).values())
        rows = db.sql("select path from now anti join value_counts using (path, digest)").fetchall()
        found[table] = {path for (path,) in rows}
    _register(db, current.get(EXAMPLES.name, {}).values())
    rows = db.execute(
        "select shard, path from now join artifacts using (path) "
        "where not list_has_all(json_keys(coalesce(tally, '{}')), ?::varchar[])",
        [names_of_tallies()[EXAMPLES.name]],
    ).fetchall()
    db.unregister("now")
    utterances = current.get(UTTERANCES.name, {})
    found[EXAMPLES.name] = {path for _, path in rows}
    found[UTTERANCES.name] = {utterances[shard].path for shard, _ in rows if shard in utterances}
    return found


def _register(db: duckdb.DuckDBPyConnection, artifacts: Iterable[Artifact]) -> None:
    """Shards as the table `now`."""
    rows = [{"path": artifact.path, "digest": artifact.digest} for artifact in artifacts]
    db.register("now", pa.Table.from_pylist(rows, schema=pa.schema({"path": pa.string(), "digest": pa.string()})))


class _Sums:
    """The sums as they are in the database, to be changed: words with their rows, and numbers by their places."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self.words: dict[tuple[str, str, str], list[int]] = {}
        self.numbers: dict[tuple[str, str], np.ndarray[Any, Any]] = {}
        for table, column, value, times, num_rows in db.sql("from value_sums").fetchall():
            if num_rows:
                self.words[table, column, value] = [times, num_rows]
            else:
                numbers = self._numbers((table, column), int(value) + 1)
                numbers[int(value)] = times

    def add(self, db: duckdb.DuckDBPyConnection, shards: str, sign: int) -> None:
        """Add what shards have, or take it away."""
        answer = db.execute(f"select path, packed {shards}")
        while found := answer.fetchmany(200):
            for path, packed in found:
                table = path.partition("/")[0]
                for column, counts in unpack(packed).items():
                    if isinstance(counts, np.ndarray):
                        self._add_numbers((table, column), counts, sign)
                    else:
                        self._add_words(table, column, counts, sign)

    def write(self, db: duckdb.DuckDBPyConnection) -> None:
        """Put them into the database."""
        rows = [(*key, *total) for key, total in self.words.items() if total[0]]
        for (table, column), counts in self.numbers.items():
            rows += [(table, column, str(value), int(counts[value]), 0) for value in np.flatnonzero(counts)]
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(_SUMS)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _SUMS, strict=True)]
        db.register("incoming", pa.table(arrays, schema=_SUMS))
        db.execute("delete from value_sums").fetchall()
        db.execute("insert into value_sums from incoming").fetchall()
        db.unregister("incoming")

    def _add_words(self, table: str, column: str, counts: Mapping[str, list[int]], sign: int) -> None:
        for word, (times, num_rows) in counts.items():
            total = self.words.setdefault((table, column, word), [0, 0])
            total[0] += sign * times
            total[1] += sign * num_rows

    def _add_numbers(self, key: tuple[str, str], counts: "np.ndarray[Any, Any]", sign: int) -> None:
        self._numbers(key, len(counts))[: len(counts)] += sign * counts.astype(np.int64)

    def _numbers(self, key: tuple[str, str], length: int) -> "np.ndarray[Any, Any]":
        """The counts of a column, with room for as many numbers."""
        total = self.numbers.get(key, np.zeros(0, np.int64))
        if len(total) < length:
            total = self.numbers[key] = np.concatenate([total, np.zeros(max(length - len(total), 1024), np.int64)])
        return total
