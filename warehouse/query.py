"""SQL for people: one SELECT at a time over the published catalogue, which nobody is writing.

The connection can read files under the warehouse's root alone and can write
none, whatever the statement says; DuckDB's own parser decides what a SELECT is.
"""

from collections.abc import Sequence
from contextlib import closing
from glob import escape
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from warehouse.errors import Mistake


def select(root: Path, sql: str) -> pa.Table:
    """The rows of one SELECT over a warehouse's catalogue.

    Raises:
        Mistake: there is no catalogue, the text is not one SELECT, or DuckDB refuses it.
    """
    with closing(connect(root)) as db:
        return rows(db, sql)


def rows(db: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
    """The rows of one SELECT over a connection, with a value for each of its parameters.

    Raises:
        Mistake: the text is not one SELECT, or DuckDB refuses it.
    """
    check(sql)
    try:
        return db.sql(sql, params=list(parameters)).to_arrow_table()
    except duckdb.Error as error:
        moved = "; where a warehouse has been moved, `valle catalogue rebuild` mends its views"
        hint = moved if isinstance(error, duckdb.PermissionException | duckdb.IOException) else ""
        raise Mistake(f"DuckDB refuses this query: {_first_sentence(error)}{hint}") from error


def connect(root: Path) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the published catalogue that sees no file outside the root.

    Raises:
        Mistake: nothing has been published under this root.
    """
    published = root / "catalogue.duckdb"
    if not published.is_file():
        raise Mistake(
            f"{root} is not a warehouse: it holds no catalogue.duckdb; `valle run --root {root}` makes one, "
            "and `valle catalogue rebuild` makes it anew from its shards"
        )
    try:
        db = duckdb.connect(published, read_only=True)
    except duckdb.Error as error:
        raise Mistake(f"{published} cannot be opened; `valle catalogue rebuild` makes it anew: {error}") from error
    db.execute("set autoinstall_known_extensions = false").fetchall()
    db.execute("set temp_directory = ''").fetchall()  # nothing is spilled to disk: a query never writes
    inside = str(root.resolve())  # and as a pattern is told it, for DuckDB compares letters
    db.execute("set allowed_directories = ?", [[inside, escape(inside)]]).fetchall()
    db.execute("set enable_external_access = false").fetchall()
    db.execute("set lock_configuration = true").fetchall()
    return db


def check(sql: str) -> None:
    """Raises Mistake unless the text is exactly one SELECT."""
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise Mistake(f"this is not SQL that DuckDB can read: {_first_sentence(error)}") from error
    if len(statements) != 1:
        raise Mistake(f"one SELECT at a time, please: these are {len(statements)} statements")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise Mistake(f"only SELECT is allowed here, and this is {statements[0].type.name}: the catalogue is an index")


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())


def failures(root: Path) -> dict[tuple[str, str, str], str]:
    """The error of every shard that has failed and not been made since, by table, shard and fingerprint."""
    rows = select(root, "select table_name, shard, fingerprint, error from failures").to_pylist()
    return {(row["table_name"], row["shard"], row["fingerprint"]): row["error"] for row in rows}
