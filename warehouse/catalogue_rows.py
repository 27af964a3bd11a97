"""Rows of the catalogue: what records of the ledger become in its tables, each counted once."""

from dataclasses import fields
from typing import Any

import duckdb
import pyarrow as pa

from warehouse import foreign_scores, ledger, value_sums
from warehouse.store import Artifact


def insert(db: duckdb.DuckDBPyConnection, records: list[ledger.Entry]) -> None:
    """What records tell that is not there yet."""
    _insert_runs(db, [record for record in records if isinstance(record, ledger.Record)])
    _insert_archives(db, [record for record in records if isinstance(record, ledger.ArchiveRecord)])
    for record in records:
        if isinstance(record, ledger.ConsentRecord):
            _insert_consent(db, record)
        elif isinstance(record, ledger.RatingsRecord):
            _insert_ratings(db, record)
        elif isinstance(record, ledger.ScoredRecord):
            foreign_scores.take_up(db, record)


def sizes(db: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """How many artifacts and runs a catalogue holds."""
    [(artifacts, runs)] = db.sql("select (select count(*) from artifacts), (select count(*) from runs)").fetchall()
    return artifacts, runs


def _insert_archives(db: duckdb.DuckDBPyConnection, records: list[ledger.ArchiveRecord]) -> None:
    """The latest word on each archive, in one transaction."""
    if not records:
        return
    db.execute("begin").fetchall()
    insert_rows(db, "archives", records)
    db.execute(
        "create or replace table archives as from archives "
        "qualify row_number() over (partition by name, dest order by written_at desc, record_id) = 1"
    ).fetchall()
    db.execute("commit").fetchall()


def _insert_consent(db: duckdb.DuckDBPyConnection, said: ledger.ConsentRecord) -> None:
    """One row for each voice, whenever its words are taken up: the first, and when the last and its withdrawal came."""
    if said.withdrawn:
        row = [said.voice, None, None, None, None, None, said.written_at]
    else:
        row = [said.voice, said.written_at, said.prompt, said.said_by, said.host, said.written_at, None]
    db.execute("begin").fetchall()
    db.execute("insert into consents values (?, ?, ?, ?, ?, ?, ?)", row).fetchall()
    db.execute(
        "create or replace table consents as select voice, min(said_at) as said_at, "
        "arg_min(prompt, said_at) as prompt, arg_min(said_by, said_at) as said_by, arg_min(host, said_at) as host, "
        "max(said_last_at) as said_last_at, max(withdrawn_at) as withdrawn_at from consents group by voice"
    ).fetchall()
    db.execute("commit").fetchall()


def _insert_ratings(db: duckdb.DuckDBPyConnection, said: ledger.RatingsRecord) -> None:
    """A row for each pair that was heard; a test that is there already tells nothing new."""
    if not said.pairs or db.execute("from ratings where test_id = ?", [said.record_id]).fetchall():
        return
    rows = [
        {
            "test_id": said.record_id,
            "version": said.version,
            "listener": said.listener,
            "seed": said.seed,
            "place": place,
            "sample_a": a,
            "sample_b": b,
            "system_a": a.partition("/")[0],
            "system_b": b.partition("/")[0],
            "preferred": preferred,
            "host": said.host,
            "taken_at": said.written_at,
        }
        for place, (a, b, preferred) in enumerate(said.pairs, start=1)
    ]
    db.register("incoming", pa.Table.from_pylist(rows))
    db.execute("insert into ratings by name from incoming").fetchall()
    db.unregister("incoming")


def _insert_runs(db: duckdb.DuckDBPyConnection, records: list[ledger.Record]) -> None:
    """Runs that are not there yet, and what they made, in one transaction."""
    [known] = db.execute(
        "select coalesce(list(run_id), []) from runs where run_id in (select unnest(?::varchar[]))",
        [[record.attempt.run_id for record in records]],
    ).fetchall()
    new = [record for record in records if record.attempt.run_id not in set(known[0])]
    new.sort(key=lambda record: record.attempt.ended_at)
    if not new:
        return
    db.execute("begin").fetchall()
    insert_rows(db, "runs", [record.attempt for record in new])
    made = {record.artifact.path: record.artifact for record in new if record.artifact}
    db.execute("delete from artifacts where path in (select unnest(?::varchar[]))", [list(made)]).fetchall()
    insert_artifacts(db, list(made.values()))
    db.execute("commit").fetchall()


def insert_artifacts(db: duckdb.DuckDBPyConnection, found: list[Artifact]) -> None:
    """Shards that are new. The counts of their values are no column of theirs: see `warehouse.value_sums`."""
    insert_rows(db, "artifacts", found, leave_out="counts")
    value_sums.take_up(db, found)


def insert_rows(db: duckdb.DuckDBPyConnection, table: str, rows: list[Any], leave_out: str = "") -> None:
    """Dataclasses as rows of a table of the same columns, less one."""
    if rows:
        incoming = pa.Table.from_pylist([vars(row) for row in rows])  # flat, and `asdict` would copy
        incoming = incoming.drop_columns([leave_out]) if leave_out else incoming
        db.register("incoming", incoming)
        db.execute(f"insert into {table} by name from incoming").fetchall()
        db.unregister("incoming")


def artifacts(db: duckdb.DuckDBPyConnection) -> dict[tuple[str, str, str], Artifact]:
    """Every artifact, oldest first. What was published by an older version may lack the newest columns."""
    there = {name for name, *_ in db.execute("describe artifacts").fetchall()}
    names = [f.name for f in fields(Artifact) if f.name in there]
    columns = ", ".join(names).replace("made_at", "made_at::varchar")
    rows = db.execute(f"select {columns} from artifacts order by made_at").fetchall()
    found = (Artifact(**dict(zip(names, row, strict=True))) for row in rows)
    return {(artifact.table_name, artifact.shard, artifact.fingerprint): artifact for artifact in found}
