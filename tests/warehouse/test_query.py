"""SQL for people: anything that reads, nothing that writes, and no file but the warehouse's."""

from pathlib import Path

import duckdb
import pytest

from warehouse.errors import Mistake
from warehouse.query import select


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    with duckdb.connect(root / "catalogue.duckdb") as db:
        db.execute("create table artifacts as select 1 as x").fetchall()
    (tmp_path / "secret.csv").write_text("a\n1\n")
    (root / "inside.csv").write_text("a\n1\n")
    return root


@pytest.mark.parametrize(
    "query",
    ["select 1", "from artifacts", "with a as (select 1) from a", "show tables", "summarize artifacts", "values (1)"],
)
def test_what_reads_is_allowed(root: Path, query: str) -> None:
    assert select(root, query).num_rows >= 1


@pytest.mark.parametrize(
    "query",
    [
        "drop table artifacts",
        "insert into artifacts values (2)",
        "copy artifacts to 'out.csv'",
        "attach 'other.db'",
        "set threads = 1",
        "install httpfs",
        "pragma version",
        "call pragma_version()",
        "explain select 1",
        "import database 'x'",
        "create table b as select 1",
    ],
)
def test_every_statement_but_a_select_is_refused(root: Path, query: str) -> None:
    with pytest.raises(Mistake, match="only SELECT"):
        select(root, query)


def test_one_statement_at_a_time(root: Path) -> None:
    with pytest.raises(Mistake, match="2 statements"):
        select(root, "select 1; drop table artifacts")
    with pytest.raises(Mistake, match="0 statements"):
        select(root, "")


def test_files_of_the_warehouse_can_be_read_and_no_others(root: Path) -> None:
    assert select(root, f"from '{root}/inside.csv'").num_rows == 1
    for path in ("/etc/passwd", f"{root}/../secret.csv", f"{root.parent}/secret.csv"):
        with pytest.raises(Mistake, match="DuckDB refuses"):
            select(root, f"from read_text('{path}')")
    with pytest.raises(Mistake, match="DuckDB refuses"):
        select(root, "from glob('/etc/*')")


def test_nonsense_is_said_in_one_sentence(root: Path) -> None:
    with pytest.raises(Mistake, match="not SQL that DuckDB can read") as error:
        select(root, "selec 1")
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_warehouse_is_named(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=f"{tmp_path} is not a warehouse"):
        select(tmp_path, "select 1")
