"""Publishing: a file for readers, with what the private database knows and all the views.

DuckDB takes a quarter of a second to bind the views, and would do so each time. So a process makes one empty file
with all of them, a frame, and each file that it publishes is a copy of that, which the rows are put into. A frame
serves all files whose tables have the same columns.
"""

from base64 import b64decode
from collections.abc import Iterable, Mapping, Set
from contextlib import closing
from glob import escape
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa

from warehouse.plan import StagePlan
from warehouse.private_database import attach, current, migrate, open_waiting
from warehouse.query import reach
from warehouse.statistics import PUBLISHED, UNCOUNTED, VIEWS
from warehouse.store import place_of
from warehouse.tables import TABLES
from warehouse.working_copy import objects_of

Columns = tuple[tuple[str, str], ...]
"""Names of columns, with DuckDB's names of their types."""

_STAGES = pa.schema(
    {
        "position": pa.int32(),
        "table_name": pa.string(),
        "first_table": pa.string(),  # the first it takes
        "one_to_one": pa.bool_(),
        "gathers": pa.bool_(),
        "fingerprint": pa.string(),
    }
)
_WANTED = pa.schema(
    {
        "position": pa.int32(),
        "table_name": pa.string(),
        "shard": pa.string(),
        "fingerprint": pa.string(),
        "made": pa.bool_(),
        "reason": pa.string(),  # why it is not made, or what else there is to say
    }
)

_DECLARED: dict[bytes, Columns] = {}  # what DuckDB makes of each schema, asked once
_SQL = Path(__file__).parent / "views"
_CURRENT = (
    "semi join artifacts on filename = '{url}/' || path[:-9] || '@' || sha256[:16] || '.parquet' "
    "select * exclude (filename)"
)


class _Rows(NamedTuple):
    """The view of a table's rows."""

    source: str  # its SQL
    declared: Columns  # of the table without rows; none where nobody has said
    columns: Columns

    def needs(self, name: str) -> bool:
        """Whether it reads the table without rows."""
        return _empty(name) in self.source


class _Frame(NamedTuple):
    """An empty catalogue that has all views."""

    file: bytes
    columns: dict[str, str]  # of each table that has the private database's rows


_FRAMES: dict[tuple[tuple[str, Columns, Columns], ...], _Frame] = {}
_MOST_FRAMES = 8  # of 1.5 MB each; a process that publishes has to do with one or two


def publish(
    db: duckdb.DuckDBPyConnection,
    path: Path,
    root: Path,
    plans: list[StagePlan],
    uncounted: Mapping[str, Set[str]],
) -> None:
    """Write a new file for readers: what the private database knows, what the last run asked for, and all views.

    And `examples_of(version)`: the examples of any dataset version, so that two can be compared row by row.

    Args:
        root: absolute, so that the views work from any folder.
        uncounted: by table, the shards that views have to read, for what they ask was not counted.
    """
    reach(db, root)
    rows = _rows(db, root, plans, uncounted)
    frame = _frame(path, tuple((name, rows[name].declared, rows[name].columns) for name in sorted(rows)))
    own = current(db)
    attach(db, path, "copy")
    db.execute("use copy").fetchall()
    db.begin()  # one write to the disk, rather than one for each view
    for table in PUBLISHED:
        what = f'select {frame.columns[table]} from "{own}".{table}'  # of which newer code may have made more
        db.execute(f"insert into {table} by name {what}").fetchall()
    db.register("incoming", pa.Table.from_pylist(list(_stage_rows(plans)), schema=_STAGES))
    db.execute("insert into stages from incoming").fetchall()
    db.register("incoming", pa.Table.from_pylist(list(_wanted_rows(plans)), schema=_WANTED))
    db.execute(f"insert into wanted {(_SQL / 'wanted.sql').read_text()}").fetchall()
    db.unregister("incoming")
    for name, view in rows.items():
        if view.source != _nothing(name):
            db.execute(f'create or replace view "{name}" as {view.source}').fetchall()
        if view.declared and not view.needs(name):
            db.execute(f"drop table {_empty(name)}").fetchall()
    url = objects.url if (objects := objects_of(root)) else None
    folder = (url or escape(str(root))).replace("'", "''")  # a root may be called `speech [2024]`
    examples = f"from read_parquet('{folder}/examples/' || version || '/*.parquet', hive_partitioning = false"
    examples += f", filename = true) {_CURRENT.format(url=folder)}" if url else ")"  # there, others lie beside them
    db.execute(f"create macro examples_of(version) as table {examples}").fetchall()
    db.commit()
    db.execute(f'use "{own}"').fetchall()
    db.execute("detach copy").fetchall()


def _frame(path: Path, tables: tuple[tuple[str, Columns, Columns], ...]) -> _Frame:
    """Write the file with all views and no row, for tables by name, the columns that are declared, and those they have.

    It is made where it is wanted, so that whatever is the matter with a disk is said of that one.
    """
    if tables in _FRAMES:
        path.write_bytes(_FRAMES[tables].file)
        return _FRAMES[tables]
    with closing(open_waiting(path)) as db:
        migrate(db)
        db.begin()
        for (table,) in db.sql("select table_name from duckdb_tables()").fetchall():
            if table not in PUBLISHED:
                db.execute(f"drop table {table}").fetchall()
        columns = {table: ", ".join(column for column, _ in _described(db, f"from {table}")) for table in PUBLISHED}
        db.register("incoming", _STAGES.empty_table())
        db.execute("create table stages as from incoming").fetchall()
        db.register("incoming", _WANTED.empty_table())
        db.execute(f"create table wanted as {(_SQL / 'wanted.sql').read_text()}").fetchall()
        db.unregister("incoming")
        db.execute("create schema no_rows").fetchall()
        for name, declared, its in tables:
            if declared:
                its_columns = ", ".join(f"{_quoted(column)} {type_}" for column, type_ in declared)
                db.execute(f"create table {_empty(name)} ({its_columns})").fetchall()
            nulls = "select " + ", ".join(f"null::{type_} as {_quoted(column)}" for column, type_ in its) + " limit 0"
            view = _nothing(name) if declared == its else nulls
            db.execute(f'create view "{name}" as {view}').fetchall()
        for view in VIEWS:
            db.execute((_SQL / f"{view}.sql").read_text()).fetchall()
        db.commit()
        db.execute("checkpoint").fetchall()  # which closing does, too, and says nothing of a full disk
    if len(_FRAMES) == _MOST_FRAMES:
        _FRAMES.clear()
    _FRAMES[tables] = _Frame(path.read_bytes(), columns)
    return _FRAMES[tables]


def _rows(
    db: duckdb.DuckDBPyConnection, root: Path, plans: list[StagePlan], uncounted: Mapping[str, Set[str]]
) -> dict[str, _Rows]:
    """The views of rows by their names: of each table's current shards, and of those that views have to read."""
    shards = {plan.wanted.table: {a.path: place_of(root, a) for a in plan.current.values()} for plan in plans}
    ours = {table.name: table.schema for table in TABLES}
    schemas = ours | {
        plan.wanted.table: _with(
            pa.ipc.read_schema(pa.py_buffer(b64decode(plan.wanted.schema))), ours.get(plan.wanted.table)
        )
        for plan in plans
        if plan.wanted.schema
    }
    found = {}
    for name in schemas.keys() | {name for name, paths in shards.items() if paths}:
        found[name] = _view(db, root, name, [*shards.get(name, {}).values()], schemas.get(name))
    for name, view in UNCOUNTED.items():
        places = [shards[name][path] for path in sorted(uncounted.get(name, ()))]
        found[view] = _view(db, root, view, places, schemas[name])
    return found


def _view(db: duckdb.DuckDBPyConnection, root: Path, name: str, places: list[str], schema: pa.Schema | None) -> _Rows:
    """One table's current shards; no rows, but all columns, where there are none yet.

    Shards that were written before a column was thought of have nulls in it, for the statistics ask for it.
    """
    try:
        declared = _declared(db, schema) if schema else ()
    except duckdb.NotImplementedException:  # half floats, and wide decimals: it reads those from Parquet alone
        if not places:
            raise
        declared = ()
    if not places:
        return _Rows(_nothing(name), declared, declared)
    there = objects.url if (objects := objects_of(root)) else str(root)
    files = ", ".join("'" + f"{there}/{place}".replace("'", "''") + "'" for place in places)
    source = f"select * from read_parquet([{files}], hive_partitioning = false)"  # the root may lie under lang=en
    columns = _described(db, source)
    if schema and set(schema.names) - {column for column, _ in columns}:
        db.register("incoming", schema.empty_table())
        columns = _described(db, f"{source} union all by name from incoming")
        db.unregister("incoming")
        source = f"{source} union all by name {_nothing(name)}"
    return _Rows(source, declared, columns)


def _nothing(name: str) -> str:
    return f"select * from {_empty(name)}"


def _empty(name: str) -> str:
    """The table that has a table's columns and no rows; in a schema of its own, so `show tables` says nothing of it."""
    return f'no_rows."{name}"'


def _declared(db: duckdb.DuckDBPyConnection, schema: pa.Schema) -> Columns:
    key = schema.serialize().to_pybytes()
    if key not in _DECLARED:
        db.register("incoming", schema.empty_table())
        _DECLARED[key] = _described(db, "from incoming")
        db.unregister("incoming")
    return _DECLARED[key]


def _described(db: duckdb.DuckDBPyConnection, query: str) -> Columns:
    return tuple((column[0], column[1]) for column in db.execute(f"describe {query}").fetchall())


def _with(schema: pa.Schema, ours: pa.Schema | None) -> pa.Schema:
    """A schema with the columns of ours that it lacks."""
    for column in ours or ():
        if column.name not in schema.names:
            schema = schema.append(column)
    return schema


def _stage_rows(plans: list[StagePlan]) -> Iterable[dict[str, object]]:
    for position, plan in enumerate(plans):
        wanted = plan.wanted
        yield {
            "position": position,
            "table_name": wanted.table,
            "first_table": wanted.takes[0] if wanted.takes else None,
            "one_to_one": wanted.one_to_one,
            "gathers": bool(wanted.gathers),
            "fingerprint": wanted.version,
        }


def _wanted_rows(plans: list[StagePlan]) -> Iterable[dict[str, object]]:
    for position, plan in enumerate(plans):
        for shard in plan.shards:
            pending = plan.pending.get(shard)
            yield {
                "position": position,
                "table_name": plan.wanted.table,
                "shard": shard,
                "fingerprint": plan.wanted.fingerprint(shard),
                "made": pending is None,
                "reason": pending.reason if pending else "newer data" if shard in plan.newer_data else None,
            }


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
