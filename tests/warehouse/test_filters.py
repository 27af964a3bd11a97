"""Conditions in SQL over tables in memory: what is refused, and why."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow.dataset import dataset

from warehouse.errors import BrokenPromise, Mistake
from warehouse.filters import Condition, check, refused

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


@pytest.mark.parametrize(
    ("holds", "says"),
    [
        ("cats.age < 5", None),
        ("list_contains(['tom'], cats.name) and homes.rooms is not null -- so it is", None),
        ("cats.colour = 1", "refused by DuckDB: .*colour"),
        ("cats.age", "is of type BIGINT, and has to hold or not"),
        ("", "is no SQL"),
        ("true) or (false", "is no SQL: .*syntax error"),
        ("true; drop table cats", "is no SQL: Only SELECT"),
        ("true, false", "one expression"),
        ("random() < 0.5", r"calls random\(\), which is not the same at any time"),
        ("now() > '2020-01-01'", r"calls now\(\)"),
        ("row_number() over () > 1", "looks at other rows"),
        ("cats.age < (select avg(age) from cats)", "looks at other rows"),
        ("count(*) > 1", "refused by DuckDB: .*aggregates"),
        ("unnest([true, false])", "refused by DuckDB: .*UNNEST"),
    ],
)
def test_a_condition_is_about_one_row_and_the_same_at_any_time(holds: str, says: str | None) -> None:
    schemas = {"cats": CATS.schema, "homes": HOMES.schema}
    if says is None:
        check([Condition("odd", holds)], "name", **schemas)
    else:
        with pytest.raises(Mistake, match=says) as error:
            check([Condition("odd", holds)], "name", **schemas)
        assert "\n" not in str(error.value)


def test_a_condition_needs_a_reason() -> None:
    with pytest.raises(Mistake, match="needs a reason"):
        check([Condition(" ", "true")], "name", cats=CATS.schema)
