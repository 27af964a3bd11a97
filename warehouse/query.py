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

from warehouse import commits
from warehouse.copies import fetch
from warehouse.errors import Mistake
from warehouse.working_copy import objects_of, said


class DamagedCatalogue(Mistake):
    """The file that is published is none of DuckDB's."""


def select(root: Path, sql: str, at: str | None = None) -> pa.Table:
    """The rows of one SELECT over a warehouse's catalogue, or over one of its commits.

    Raises:
        Mistake: there is no catalogue, the text is not one SELECT, or DuckDB refuses it.
    """
    with closing(connect(root, at)) as db:
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


def published(root: Path, at: str | None = None) -> Path:
    """The file of the published catalogue; where nothing is published there is none.

    Args:
        at: of an object store, the commit, by its name or the number that it begins with; the newest unless said.

    Raises:
        Mistake: there is no such commit, or this is no object store.
    """
    objects = objects_of(root)
    if not objects:
        if at:
            raise Mistake(f"{root} is a folder, which keeps its newest catalogue alone; commits have an object store's")
        return root / "catalogue.duckdb"
    if at:
        head = commits.head(objects)
        names = [*head.before, head.name] if head else []
        meant = [name for name in names if name == at or name.partition("-")[0].lstrip("0") == at.lstrip("0")]
        if len(meant) != 1:
            raise Mistake(
                f"{objects.url} keeps no commit {at!r}; the oldest that it keeps is {min(names, default='none')}"
            )
        name = meant[0]
    elif head := commits.head(objects):
        name = head.name
    else:
        return root / "catalogue.duckdb"
    path = root / ".published" / f"{name}.duckdb"
    if not path.exists():
        try:
            fetch(objects, f"{commits.FOLDER}/{name}/{commits.FILES[0]}", path)
        except FileNotFoundError as error:
            raise commits.Damaged(f"{objects.url} has lost its commit {name}; {commits.ANEW}") from error
        for old in sorted(path.parent.glob("*.duckdb"))[: -commits.KEPT]:
            if old != path:
                old.unlink(missing_ok=True)
    return path


def reach(db: duckdb.DuckDBPyConnection, root: Path) -> str | None:
    """Lets a connection read the shards of a warehouse on an object store; gives its URL, if it is on one."""
    objects = objects_of(root)
    if not objects:
        return None
    from warehouse.object_backend import filesystem

    db.register_filesystem(filesystem(objects.url))
    return objects.url


def connect(root: Path, at: str | None = None) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the published catalogue that sees no file outside the root.

    Args:
        at: the commit, as `published` says.

    Raises:
        Mistake: nothing has been published under this root.
    """
    file = published(root, at)
    if not file.is_file():
        raise Mistake(
            f"{said(root)} is not a warehouse: it holds no catalogue.duckdb; `valle run --root {said(root)}` makes "
            "one, and `valle catalogue rebuild` makes it anew from its shards"
        )
    try:
        db = duckdb.connect(file, read_only=True)
    except duckdb.Error as error:
        raise DamagedCatalogue(f"{file} cannot be opened; `valle catalogue rebuild` makes it anew: {error}") from error
    inside = [str(root.resolve()), escape(str(root.resolve()))]  # and as a pattern is told it: DuckDB compares letters
    if url := reach(db, root):
        inside.append(f"{url}/")
    db.execute("set autoinstall_known_extensions = false").fetchall()
    db.execute("set temp_directory = ''").fetchall()  # nothing is spilled to disk: a query never writes
    db.execute("set allowed_directories = ?", [inside]).fetchall()
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
