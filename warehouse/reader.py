"""A reader of a warehouse, for Python: SQL in, Arrow out; pandas by `.to_pandas()`.

It shows the warehouse as it was when it was opened. A catalogue is published by rename, so a
reader keeps its copy for as long as it likes and no flow ever waits for it; open another one to see what is newer.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from warehouse.query import connect, rows
from warehouse.working_copy import address, root_at


def scan(place: int = 1) -> str:
    """The rows of the files that a query's parameter names, as SQL; their column `filename` is there when asked for.

    Said here alone, because DuckDB by itself makes a column of a folder above the root that is called `lang=en`.
    """
    return f"read_parquet(${place}, hive_partitioning = false)"


class Reader:
    """A read-only view of one published catalogue; a context manager."""

    def __init__(self, root: Path | str) -> None:
        """Open the catalogue under this root, a folder or the URL of an object store's.

        Raises:
            Mistake: nothing has been published there.
        """
        self.root = root_at(root)
        self._db = connect(self.root)

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """The rows of one SELECT, with a value for each `?` or `$1` in it.

        Raises:
            Mistake: the text is not one SELECT, or DuckDB refuses it.
        """
        return rows(self._db, query, parameters)

    def keep(self, view: str) -> None:
        """Ask a view once, for all queries that name it while this is open; its rows are Arrow's from then on.

        Raises:
            Mistake: there is no such view, or it cannot be answered.
        """
        quoted = view.replace('"', '""')
        self._db.register(view, self.sql(f'from "{quoted}"'))

    def files(self, table: str, shard: str | None = None) -> list[str]:
        """The paths or URLs of a table's current shards, or of the one of this name, wherever the root lies now."""
        found = self.sql(
            "select a.path, a.sha256 from wanted as w join artifacts as a using (table_name, shard, fingerprint) "
            "where w.state = 'made' and table_name = $1 and shard = coalesce($2, shard) order by shard",
            [table, shard],
        ).to_pylist()
        return [address(self.root, row["path"], row["sha256"]) for row in found]

    def close(self) -> None:
        """Let go of the catalogue."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
