"""Ratings of a listening test: kept in the ledger, told by the catalogue, a row for each pair."""

from pathlib import Path

from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.ledger import RatingsRecord
from warehouse.query import select

ROWS = "select test_id, place, system_a, system_b, preferred from ratings order by test_id, place"


def answered(root: Path, test: str, *pairs: tuple[str, str, str | None]) -> None:
    record = RatingsRecord(
        record_id=test,
        version="0123456789ab",
        listener="ann",
        seed=7,
        pairs=pairs,
        host="here",
        written_at="2026-01-01T00:00:00+00:00",
    )
    ledger.emit(root, record)


def test_each_pair_is_a_row(tmp_path: Path) -> None:
    answered(tmp_path, "one", ("valle/u/0", "ground-truth/u/0", "b"), ("valle/v/0", "ground-truth/v/0", None))
    Catalogue(tmp_path).take_up()
    assert [tuple(row.values()) for row in select(tmp_path, ROWS).to_pylist()] == [
        ("one", 1, "valle", "ground-truth", "b"),
        ("one", 2, "valle", "ground-truth", None),
    ]


def test_a_test_that_is_told_twice_counts_once(tmp_path: Path) -> None:
    for _ in range(2):
        answered(tmp_path, "one", ("valle/u/0", "ground-truth/u/0", "a"))
        Catalogue(tmp_path).take_up()
    assert select(tmp_path, ROWS).num_rows == 1


def test_they_outlive_both_databases(tmp_path: Path) -> None:
    for test in ("one", "two"):
        answered(tmp_path, test, ("valle/u/0", "ground-truth/u/0", "a"), ("valle/u/1", "ground-truth/u/0", "b"))
    Catalogue(tmp_path).take_up()
    before = select(tmp_path, "from ratings order by test_id, place").to_pylist()
    assert len(before) == 4
    Catalogue(tmp_path).rebuild()
    assert select(tmp_path, "from ratings order by test_id, place").to_pylist() == before
    for path in tmp_path.glob("*catalogue.duckdb*"):
        path.unlink()
    Catalogue(tmp_path).rebuild()
    assert select(tmp_path, "from ratings order by test_id, place").to_pylist() == before


def test_a_test_is_known_before_and_after_it_is_taken_up(tmp_path: Path) -> None:
    assert ledger.ratings(tmp_path, "one") is None
    answered(tmp_path, "one", ("valle/u/0", "ground-truth/u/0", "a"))
    for _ in range(2):
        found = ledger.ratings(tmp_path, "one")
        assert found is not None
        assert found.pairs == (("valle/u/0", "ground-truth/u/0", "a"),)
        Catalogue(tmp_path).take_up()
