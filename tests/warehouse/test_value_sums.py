"""Value sums: what is published of phones, codes and conditions is what the rows of the current shards say."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.small_warehouse import make_warehouse
from warehouse import ledger, value_sums
from warehouse.catalogue import Catalogue
from warehouse.query import select
from warehouse.statistics import VIEWS

WHERE = (("short", "utterances.seconds >= 1"),)
COUNTED = ("phone_coverage", "codebook_usage", "conditions")
READS_ROWS = {"dataset", "duplicates", "alarms", "leaderboard"}  # what is asked of them is in rows alone

PHONES_OF_ROWS = """
    select phone, count(*) as occurrences, count(distinct utterance_id) as utterances
    from (select utterance_id, unnest(phones) as phone from phones where dropped is null)
    group by phone order by occurrences desc, phone
"""
CODES_OF_ROWS = """
    select codebook, count(*) as codes_used, -sum(share * log2(share)) as entropy_bits
    from (
        select codebook, count(*) / sum(count(*)) over (partition by codebook) as share
        from (
            select codebook, unnest(list) as code
            from (unpivot (from codes where dropped is null) on columns('codebook_.*') into name codebook value list)
        )
        group by codebook, code
    )
    group by codebook order by codebook
"""


def answers(root: Path) -> list[list[dict[str, Any]]]:
    rows = [select(root, f"from {view}").to_pylist() for view in COUNTED]
    return [[{k: round(v, 9) if isinstance(v, float) else v for k, v in row.items()} for row in one] for one in rows]


def forget_what_was_counted(root: Path) -> Catalogue:
    """A warehouse whose shards were written before anything was counted."""
    for path in [*ledger.waiting(root), *ledger.kept(root)]:
        said = [json.loads(line) for line in path.read_text().splitlines()]
        for record in said:
            if record["artifact"]:
                record["artifact"] |= {"tally": "{}", "counts": ""}
        path.write_text("".join(json.dumps(record) + "\n" for record in said))
    for path in root.glob("*catalogue.duckdb"):
        path.unlink()
    return Catalogue(root)


def blank(root: Path) -> None:
    for path in root.rglob("*.parquet"):
        path.write_bytes(b"")


def check_against_rows(root: Path) -> None:
    assert select(root, "from phone_coverage").to_pylist() == select(root, PHONES_OF_ROWS).to_pylist()
    ours = select(root, "select codebook, codes_used, entropy_bits from codebook_usage").to_pylist()
    theirs = select(root, CODES_OF_ROWS).to_pylist()
    assert len(ours) == 8
    for one, other in zip(ours, theirs, strict=True):
        assert one["entropy_bits"] == pytest.approx(other["entropy_bits"])
        assert {**one, "entropy_bits": 0} == {**other, "entropy_bits": 0}


def test_what_is_counted_is_what_the_rows_say(tmp_path: Path) -> None:
    make_warehouse(tmp_path, tmp_path / "audio", where=WHERE)
    check_against_rows(tmp_path)


def test_no_view_but_those_of_rows_opens_a_shard(tmp_path: Path) -> None:
    make_warehouse(tmp_path, tmp_path / "audio", where=WHERE)
    views = sorted(set(VIEWS) - READS_ROWS)
    before = [select(tmp_path, f"from {view} order by all").to_pylist() for view in views]
    blank(tmp_path)
    for view, rows in zip(views, before, strict=True):
        assert select(tmp_path, f"from {view} order by all").to_pylist() == rows, view


def test_shards_that_come_and_go_change_the_sums(tmp_path: Path) -> None:
    make_warehouse(tmp_path, tmp_path / "audio")
    before = answers(tmp_path)
    make_warehouse(tmp_path, tmp_path / "audio", first_code=500)  # at the same path
    check_against_rows(tmp_path)
    after = answers(tmp_path)
    assert after == before, "as many codes, only others"
    [(code,)] = codes_of(tmp_path)
    assert code == "500"
    for path in (tmp_path / "codes").rglob("*.parquet"):
        path.unlink()
    Catalogue(tmp_path).take_up(look_at_disk=True)
    assert codes_of(tmp_path) == []
    assert select(tmp_path, "from codebook_usage").num_rows == 0
    assert answers(tmp_path)[0] == before[0]


def codes_of(root: Path) -> list[tuple[str]]:
    """The first code of the first codebook."""
    with duckdb.connect(root / "catalogue.duckdb", read_only=True) as db:
        return db.sql(
            "select value from value_sums where column_name = 'codebook_1' order by value::integer limit 1"
        ).fetchall()


def test_sums_are_the_same_after_a_rebuild_from_ledger_or_footers(tmp_path: Path) -> None:
    catalogue = make_warehouse(tmp_path, tmp_path / "audio", where=WHERE)
    before = answers(tmp_path)
    catalogue.rebuild()
    assert answers(tmp_path) == before
    for path in [*tmp_path.glob("*catalogue.duckdb"), *(tmp_path / "ledger").iterdir()]:
        path.unlink()
    catalogue.rebuild()
    assert answers(tmp_path) == before
    blank(tmp_path)
    assert answers(tmp_path) == before


def test_old_shards_are_read_until_they_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_warehouse(tmp_path, tmp_path / "audio", where=WHERE)
    before = answers(tmp_path)
    catalogue = forget_what_was_counted(tmp_path)
    catalogue.take_up()
    assert answers(tmp_path) == before, "read from the rows"
    monkeypatch.setattr(value_sums, "PATIENCE", -1.0)  # a warehouse too large to be counted in passing
    catalogue.take_up(look_at_disk=True)
    assert answers(tmp_path) == before
    monkeypatch.undo()
    catalogue.take_up(look_at_disk=True)
    blank(tmp_path)
    assert answers(tmp_path) == before, "counted, once"


@pytest.mark.parametrize("name", ["consents", "value_sums", "uncounted_codes"])
def test_what_a_catalogue_holds_itself_is_no_name_for_a_table(tmp_path: Path, name: str) -> None:
    from warehouse.statistics import INDEX

    assert name in INDEX
