"""Conditions that rows have to meet, in SQL over Arrow tables.

The surprising fact: a condition that is NULL is not met. A filter says what a row has to show, and a row that
shows nothing is refused like one that shows the wrong thing.

DuckDB runs in memory, sees no file, and reads only the columns that a condition names.
"""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

import duckdb
import pyarrow as pa
from pyarrow.dataset import Dataset

from warehouse.errors import BrokenPromise, Mistake

_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "python_enable_replacements": False,
    "threads": 1,
}
_ROW = "_row"  # keeps the order of the rows through the joins


@dataclass(frozen=True)
class Condition:
    """What a row has to meet, and what is said where it does not."""

    reason: str  # a code for `dropped`
    holds: str  # SQL over the tables' columns, such as `utterances.seconds >= 3`
    says: str = ""  # SQL for `detail`; where empty, the condition itself is the detail


def refused(conditions: Iterable[Condition], key: str, **tables: pa.Table | Dataset) -> pa.Table:
    """The first condition that each row fails: columns `dropped` and `detail`, null for a row that fails none.

    Args:
        conditions: in order of precedence.
        key: the column that all tables share, and that names a row of each.
        tables: by the names that conditions know them by. The answer has the rows of the first, in its order; the
            others are joined to it, and their columns are NULL where they have no such row.

    Raises:
        Mistake: DuckDB does not understand a condition, or cannot work it out.
        BrokenPromise: a table has two rows of one key.
    """
    first, *others = tables
    rows = tables[first]
    rows = rows if isinstance(rows, pa.Table) else rows.to_table()
    whens = [(f"when not coalesce(({c.holds}\n), false) then", c) for c in conditions]
    dropped = "\n".join(f"{when} {_literal(c.reason)}" for when, c in whens)
    detail = "\n".join(f"{when} {c.says or _literal(c.holds)}" for when, c in whens)
    joins = "\n".join(f"left join {other} using ({key})" for other in others)
    with closing(duckdb.connect(":memory:", config=_CLOSED)) as db:
        db.register(first, rows.append_column(_ROW, pa.array(range(len(rows)), pa.int64())))
        for other in others:
            db.register(other, tables[other])
        try:
            answer = db.sql(
                f"select case when false then null {dropped} end::varchar as dropped, "
                f"case when false then null {detail} end::varchar as detail "
                f"from {first} {joins} order by {first}.{_ROW}"
            ).to_arrow_table()
        except duckdb.Error as error:
            raise Mistake(f"DuckDB refuses a condition: {' '.join(str(error).split())}") from error
    if len(answer) != len(rows):
        raise BrokenPromise(f"{' or '.join(others)} has two rows of one {key}: {len(rows)} rows became {len(answer)}")
    return answer


def _literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
