"""Tallies: what statistics want to know of a shard, counted once, when it is written.

Hours, speakers and lengths of 60,000 hours are answered from a few megabytes of JSON, without
opening one of the shards. Sums of sums are exact; quantiles come from counts of half seconds, so they are exact to
a quarter of a second.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.tables import TABLES, Table, Tally

NONE = "{}"  # of a table that counts nothing
_BETWEEN = "\x1f"  # the words of a list, as one word
_LONGEST = 119  # the last half second of a minute; what lasts longer is counted there

_KNOWN = {table.name: table for table in TABLES}


def tally_rows(table: Table, rows: pa.Table, seconds: pa.ChunkedArray | None) -> str:
    """The tallies of a shard's rows, as JSON: the name of each to its counts.

    A count is `{"of": {column: value}, "rows": n, "seconds": s, "distinct": {column: n}, "half_seconds": [n, …],
    "means": {column: {"rows": n, "mean": x}}}`; `seconds` is null where rows are not speech.

    Args:
        rows: the table's columns that its tallies speak of, and `dropped`.
        seconds: of audio in each row.
    """
    if not table.tallies:
        return NONE
    seconds = pa.chunked_array([pa.nulls(rows.num_rows, pa.float64())]) if seconds is None else seconds
    names = sorted({name for tally in table.tallies for name in tally.columns})
    half_seconds = pc.min_element_wise(pc.floor(pc.multiply(seconds, 2.0)), float(_LONGEST), skip_nulls=False)
    counted = rows.select(names).append_column("_seconds", seconds)
    counted = counted.append_column("_half_seconds", half_seconds.cast(pa.int32()))
    for place, name in enumerate(names):
        if pa.types.is_list(counted.schema.field(name).type):  # which rows cannot be grouped by
            counted = counted.set_column(place, name, pc.binary_join(counted[name], _BETWEEN))
    is_kept = pc.is_null(rows["dropped"])
    kept, dropped = counted.filter(is_kept), counted.filter(pc.invert(is_kept))
    return json.dumps({t.name: list(_counts(t, dropped if t.dropped else kept, table)) for t in table.tallies})


def tally_shard(file_of: Callable[[str], Path], table_name: str, path: str, inputs: str) -> str:
    """The tallies of a shard that was written before they were kept, read from its rows.

    Args:
        inputs: the JSON of what it was made from, where the seconds of its rows are found if it has none.

    Raises:
        OSError, pa.ArrowException: the shard cannot be read, or has other columns.
    """
    table = _KNOWN[table_name]
    names = {name for tally in table.tallies for name in tally.columns} | {"dropped", *table.key}
    names |= {"seconds"} & set(table.schema.names)
    rows = pq.read_table(file_of(path), columns=sorted(names))
    return tally_rows(table, rows, rows["seconds"] if "seconds" in names else _seconds(file_of, table, rows, inputs))


def names_of_tallies() -> dict[str, list[str]]:
    """For each table that has any, the names of its tallies."""
    return {table.name: [tally.name for tally in table.tallies] for table in TABLES if table.tallies}


def _counts(tally: Tally, rows: pa.Table, table: Table) -> Iterable[dict[str, Any]]:
    by = list(tally.by)
    lists = {name for name in by if pa.types.is_list(table.schema.field(name).type)}
    asked = [([], "count_all"), ("_seconds", "sum"), *((name, "count_distinct") for name in tally.distinct)]
    asked += [(name, what) for name in tally.means for what in ("count", "mean")]
    spread = _spread(tally, rows) if tally.spread else {}
    counted = rows.group_by(by, use_threads=False).aggregate(asked)
    for row in (counted.sort_by([(n, "ascending") for n in by]) if by else counted).to_pylist():
        key = tuple(row[name] for name in by)
        of = {name: _split(row[name]) if name in lists else row[name] for name in by}
        count = {"of": of, "rows": row["count_all"], "seconds": row["_seconds_sum"]}
        if tally.distinct:
            count["distinct"] = {name: row[f"{name}_count_distinct"] for name in tally.distinct}
        if tally.spread:
            count["half_seconds"] = spread[key]
        if tally.means:
            count["means"] = {n: {"rows": row[f"{n}_count"], "mean": row[f"{n}_mean"]} for n in tally.means}
        yield count


def _split(words: str | None) -> list[str] | None:
    return words.split(_BETWEEN) if words else None if words is None else []


def _spread(tally: Tally, rows: pa.Table) -> dict[tuple[Any, ...], list[int]]:
    """For each group, how many of its rows last 0 to 0.5 s, 0.5 to 1 s, … to the longest."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for row in (
        rows.group_by([*tally.by, "_half_seconds"], use_threads=False).aggregate([([], "count_all")]).to_pylist()
    ):
        counts = found.setdefault(tuple(row[name] for name in tally.by), [])
        if (half := row["_half_seconds"]) is not None:
            counts += [0] * (half + 1 - len(counts))
            counts[half] += row["count_all"]
    return found


def _seconds(file_of: Callable[[str], Path], table: Table, rows: pa.Table, inputs: str) -> pa.ChunkedArray | None:
    """Seconds of each row as its key has them in a shard that it was made from."""
    for path in json.loads(inputs):
        above = _KNOWN.get(path.partition("/")[0])
        if above and above.key == table.key and "seconds" in above.schema.names:
            try:
                known = pq.read_table(file_of(path), columns=[*table.key, "seconds"])
            except FileNotFoundError:
                continue
            [key] = table.key
            return known["seconds"].take(pc.index_in(rows[key], value_set=known[key].combine_chunks()))
    return None
