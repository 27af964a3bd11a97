"""Conditions that rows have to meet, in SQL over Arrow tables.

A condition that is NULL is not met. A filter says what a row has to show, and a row that
shows nothing is refused like one that shows the wrong thing.

DuckDB runs in memory, sees no file, and reads only the columns that a condition names.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from warehouse.errors import BrokenPromise, Mistake

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "python_enable_replacements": False,
    "threads": 1,
}
_ROW = "_row"  # keeps the order of the rows through the joins
_CHANGING = "select distinct function_name from duckdb_functions() where stability <> 'CONSISTENT'"


@dataclass(frozen=True)
class Condition:
    """What a row has to meet, and what is said where it does not."""

    reason: str  # a code for `dropped`
    holds: str  # SQL over the tables' columns, such as `utterances.seconds >= 3`
    says: str = ""  # SQL for `detail`; where empty, the condition itself is the detail


def check(conditions: Iterable[Condition], key: str, **schemas: pa.Schema) -> None:
    """Nothing, where every condition can be worked out for each row by itself, the same at any time.

    A fingerprint names rows by their filter, so chance and the clock have no place in it; and a shard sees its own
    rows alone, so neither has what looks at other rows.

    Args:
        conditions: to be given to `refused`.
        key: as there.
        schemas: of the tables, by the names that conditions know them by.

    Raises:
        Mistake: one cannot, in a sentence that names it.
    """
    first, *others = schemas
    joins = "\n".join(f"left join {other} using ({key})" for other in others)
    with closing(duckdb.connect(":memory:", config=_CLOSED)) as db:
        changing = {name for (name,) in db.sql(_CHANGING).fetchall()}
        for name, schema in schemas.items():
            db.register(name, schema.empty_table())
        for condition in conditions:
            said = f"the condition {condition.reason!r}, {condition.holds!r},"
            if not condition.reason.strip():
                raise Mistake(f"the condition {condition.holds!r} needs a reason, a word for `dropped`")
            _check_alone(db, condition.holds, said, changing)
            try:
                db.sql(f"select 1 from {first} {joins} where ({condition.holds}\n)").fetchall()
                [kind] = db.sql(f"select ({condition.holds}\n) from {first} {joins}").types
            except duckdb.Error as error:
                raise Mistake(f"{said} is refused by DuckDB: {' '.join(str(error).split())}") from error
            if str(kind) != "BOOLEAN":
                raise Mistake(f"{said} is of type {kind}, and has to hold or not: BOOLEAN")


def _check_alone(db: duckdb.DuckDBPyConnection, holds: str, said: str, changing: set[str]) -> None:
    """A condition is one expression, and names nothing but the columns of a row."""
    [(text,)] = db.execute("select json_serialize_sql(?::varchar)", [f"select {holds}"]).fetchall()
    tree = json.loads(text)
    if tree["error"]:
        raise Mistake(f"{said} is no SQL: {tree['error_message']}")
    expressions = tree["statements"][0]["node"]["select_list"]
    if len(tree["statements"]) > 1 or len(expressions) > 1:
        raise Mistake(f"{said} has to be one expression")
    for part in _parts(expressions[0]):
        if part.get("class") in ("WINDOW", "SUBQUERY"):
            raise Mistake(f"{said} looks at other rows, and a shard sees its own alone: no window, no subquery")
        if part.get("function_name") in changing:
            raise Mistake(f"{said} calls {part['function_name']}(), which is not the same at any time")


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a parsed expression."""
    if isinstance(tree, dict):
        yield tree
    for branch in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _parts(branch)


def refused(conditions: Iterable[Condition], key: str, **tables: "pa.Table | Dataset") -> pa.Table:
    """What each row fails: `dropped` and `detail` of the first condition, and `failed`, the reasons of all.

    Args:
        conditions: in order of precedence.
        key: the column that all tables share, and that names a row of each.
        tables: by the names that conditions know them by. The answer has the rows of the first, in its order; the
            others are joined to it, and their columns are NULL where they have no such row.

    Returns:
        Rows that fail none have null, null and an empty list.

    Raises:
        Mistake: DuckDB does not understand a condition, or cannot work it out.
        BrokenPromise: a table has two rows of one key.
    """
    first, *others = tables
    rows = tables[first]
    rows = rows if isinstance(rows, pa.Table) else rows.to_table()
    conditions = list(conditions)
    reasons = ", ".join(_literal(condition.reason) for condition in conditions)
    holds = ", ".join(f"coalesce(({condition.holds}\n), false)" for condition in conditions)
    says = ", ".join(f"({condition.says or _literal(condition.holds)})::varchar" for condition in conditions)
    joins = "\n".join(f"left join {other} using ({key})" for other in others)
    with closing(duckdb.connect(":memory:", config=_CLOSED)) as db:
        db.register(first, rows.append_column(_ROW, pa.array(range(len(rows)), pa.int64())))
        for other in others:
            db.register(other, tables[other])
        try:
            answer = db.sql(
                _VERDICT.format(
                    reasons=reasons, holds=holds, says=says, row=f"{first}.{_ROW}", tables=first, joins=joins
                )
            ).to_arrow_table()
        except duckdb.Error as error:
            raise Mistake(f"DuckDB refuses a condition: {' '.join(str(error).split())}") from error
    if len(answer) != len(rows):
        raise BrokenPromise(f"{' or '.join(others)} has two rows of one {key}: {len(rows)} rows became {len(answer)}")
    return answer


_VERDICT = """
with judged as (
    select
        {row} as _row,
        [{reasons}]::varchar[] as reasons,
        [{holds}]::boolean[] as holds,
        [{says}]::varchar[] as says
    from {tables}
    {joins}
),
failing as (
    select
        *,
        list_position(holds, false) as first,
        list_filter(reasons, lambda _, i: not holds[i]) as failing
    from judged
)
select
    reasons[first] as dropped,
    says[first] as detail,
    list_filter(failing, lambda reason, i: list_position(failing, reason) = i) as failed  -- each reason once
from failing
order by _row
"""


def _literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
