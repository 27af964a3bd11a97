"""Conditions that rows have to meet, in SQL over Arrow tables.

The surprising fact: a condition that is NULL is not met. A filter asks for what a row has to show, and a row
that shows nothing is refused like one that shows the wrong thing.

DuckDB runs in memory, sees no file and no network, and reads only the columns that a condition names.
"""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

import duckdb
import pyarrow as pa
from pyarrow.dataset import Dataset

from warehouse.errors import Mistake


@dataclass(frozen=True)
class Condition:
    """What a row has to meet, and what is said where it does not."""

    reason: str  # a code for `dropped`
    holds: str  # SQL over the columns of the tables, such as `utterances.seconds >= 3`
    says: str = ""  # SQL for `detail`; without it, the condition itself


def refused(conditions: Iterable[Condition], key: str, rows: pa.Table, **tables: Dataset) -> pa.Table:
    """The first condition that each row fails: `dropped` and `detail`, row for row, null where none fails.

    Args:
        conditions: in order of precedence.
        key: the column that all tables share.
        rows: the first table, known to conditions as `utterances`.
        tables: the others, by name, joined to the rows by the key; absent columns are NULL.

    Raises:
        Mistake: a condition is no SQL over these columns, or a table has a key twice.
    """
