"""Statistics of a warehouse: the views of the catalogue, in SQL, and the way to ask for more.

Each `views/<name>.sql` is one view. They count with what the catalogue knows of
every shard, so they need not open the shards themselves.
"""

from base64 import b64decode
from collections.abc import Iterable, Mapping, Set
from glob import escape
from pathlib import Path

import duckdb
import pyarrow as pa

from warehouse.plan import StagePlan
from warehouse.store import place_of
from warehouse.tables import CODES, EXAMPLES, PHONES, TABLES, UTTERANCES
from warehouse.working_copy import objects_of

VIEWS = (
    "status",
    "refusals",
    "tallies",
    "funnel",
    "funnel_at_a_glance",
    "failures",
    "throughput",
    "dataset",
    "dataset_versions",
    "conditions",
    "overview",
    "speakers",
    "duplicates",
    "codebook_usage",
    "codec_fidelity",
    "phone_coverage",
    "alarms",
    "claims",
    "estimates",
    "leaderboard",
    "failure_classes",
)

PUBLISHED = ("artifacts", "runs", "archives", "consents", "ratings", "foreign_scores", "value_sums")
"""The tables that a published catalogue has from the private database."""

UNCOUNTED = {table.name: f"uncounted_{table.name}" for table in (UTTERANCES, PHONES, CODES, EXAMPLES)}
"""Views of the rows of shards that were written before what is counted of them now was counted: mostly none."""

INDEX = (*PUBLISHED, "stages", "wanted", *UNCOUNTED.values())
"""The names of what a published catalogue holds itself, beside the views."""

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


_CURRENT = (
    "semi join artifacts on filename = '{url}/' || path[:-9] || '@' || sha256[:16] || '.parquet' "
    "select * exclude (filename)"
)


def create_views(
    db: duckdb.DuckDBPyConnection, root: Path, plans: list[StagePlan], uncounted: Mapping[str, Set[str]]
) -> None:
    """Everything a reader finds beside `artifacts` and `runs`: what the last run asked for, the tables, the statistics.

    And `examples_of(version)`: the examples of any dataset version, so that two can be compared row by row.

    Args:
        root: absolute, so that the views work from any folder.
        uncounted: by table, the shards that views have to read, for what they ask was not counted.
    """
    db.begin()  # one write to the disk, rather than one for each view
    db.register("incoming", pa.Table.from_pylist(list(_stage_rows(plans)), schema=_STAGES))
    db.execute("create table stages as from incoming").fetchall()
    db.register("incoming", pa.Table.from_pylist(list(_wanted_rows(plans)), schema=_WANTED))
    db.execute((Path(__file__).parent / "views" / "wanted.sql").read_text()).fetchall()
    db.unregister("incoming")
    url = objects.url if (objects := objects_of(root)) else None
    current = {plan.wanted.table: {a.path: place_of(root, a) for a in plan.current.values()} for plan in plans}
    ours = {table.name: table.schema for table in TABLES}
    schemas = ours | {
        plan.wanted.table: _with(
            pa.ipc.read_schema(pa.py_buffer(b64decode(plan.wanted.schema))), ours.get(plan.wanted.table)
        )
        for plan in plans
        if plan.wanted.schema
    }
    for name in schemas.keys() | {name for name, paths in current.items() if paths}:
        _create_table_view(db, url or str(root), name, [*current.get(name, {}).values()], schemas.get(name))
    for name, view in UNCOUNTED.items():
        places = [current[name][path] for path in sorted(uncounted.get(name, ()))]
        _create_table_view(db, url or str(root), view, places, schemas[name])
    folder = (url or escape(str(root))).replace("'", "''")  # a root may be called `speech [2024]`
    rows = f"from read_parquet('{folder}/examples/' || version || '/*.parquet', hive_partitioning = false"
    rows += f", filename = true) {_CURRENT.format(url=folder)}" if url else ")"  # there, others lie beside them
    db.execute(f"create macro examples_of(version) as table {rows}").fetchall()
    for view in VIEWS:
        db.execute((Path(__file__).parent / "views" / f"{view}.sql").read_text()).fetchall()
    db.commit()


def _create_table_view(
    db: duckdb.DuckDBPyConnection, root: str, name: str, places: list[str], schema: pa.Schema | None
) -> None:
    """One table's current shards as a view; no rows, but all columns, where there are none yet.

    Shards that were written before a column was thought of have nulls in it, for the statistics ask for it.
    """
    source = f"select * from no_{name}"
    if places:
        files = ", ".join("'" + f"{root}/{place}".replace("'", "''") + "'" for place in places)
        there = f"select * from read_parquet([{files}], hive_partitioning = false)"  # the root may lie under lang=en
        lacks = schema is not None and set(schema.names) - {
            one[0] for one in db.execute(f"describe {there}").fetchall()
        }
        source = f"{there} union all by name {source}" if lacks else there
    if "no_" in source:
        assert schema is not None
        db.register("incoming", schema.empty_table())
        db.execute(f"create table no_{name} as from incoming").fetchall()
        db.unregister("incoming")
    db.execute(f'create view "{name}" as {source}').fetchall()


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
