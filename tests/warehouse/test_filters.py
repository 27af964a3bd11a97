"""Conditions in SQL over tables in memory: what is refused, and why."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow.dataset import dataset

from warehouse.errors import BrokenPromise, Mistake
from warehouse.filters import Condition, refused

CATS = pa.table({"name": ["tom", "felix", "kit"], "age": [9, 2, None]})
HOMES = pa.table({"name": ["kit", "tom"], "rooms": [1, 3]})


def reasons(*conditions: Condition, **tables: pa.Table) -> list[str | None]:
    answer = refused(conditions, "name", **({"cats": CATS, "homes": HOMES} | tables))
    return [reason.as_py() for reason in answer["dropped"]]


def test_without_conditions_nothing_is_refused() -> None:
    assert reasons() == [None, None, None]


def test_the_first_condition_that_fails_gives_the_reason() -> None:
    young, housed = Condition("old", "cats.age < 5"), Condition("homeless", "homes.rooms >= 1")
    assert reasons(young, housed) == ["old", "homeless", "old"]
    assert reasons(housed, young) == ["old", "homeless", "old"]
    assert reasons(housed) == [None, "homeless", None]


def test_null_does_not_hold_and_a_row_keeps_its_place() -> None:
    assert reasons(Condition("ageless", "cats.age > 0")) == [None, None, "ageless"]


def test_the_detail_is_the_condition_or_what_it_says() -> None:
    plain = Condition("wrong", "cats.name <> 'tom'")
    told = Condition("small", "homes.rooms > 2", says="'rooms: ' || coalesce(homes.rooms::text, 'none')")
    assert refused([plain, told], "name", cats=CATS, homes=HOMES)["detail"].to_pylist() == [
        "cats.name <> 'tom'",
        "rooms: none",
        "rooms: 1",
    ]


def test_datasets_of_files_do_as_well_as_tables(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(HOMES, tmp_path / "homes.parquet")
    assert reasons(Condition("homeless", "homes.rooms >= 1"), homes=dataset(tmp_path)) == [None, "homeless", None]


def test_a_condition_sees_no_file(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(Mistake, match="disabled"):
        reasons(Condition("odd", f"exists(from '{tmp_path}/secret.csv')"))


def test_a_condition_that_is_no_sql_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="condition"):
        reasons(Condition("odd", "cats.colour = 1"))


def test_two_rows_of_one_key_are_noticed() -> None:
    with pytest.raises(BrokenPromise, match="two rows of one name"):
        reasons(homes=pa.concat_tables([HOMES, HOMES]))
