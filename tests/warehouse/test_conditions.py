"""What a corpus holds too much and what a filter costs: doubles, conditions, hours, two versions compared."""

from pathlib import Path

import pytest

from tests.small_warehouse import FRENCH, make_warehouse
from warehouse.query import select


def test_a_condition_costs_what_fails_it_first_and_alone(tmp_path: Path) -> None:
    make_warehouse(tmp_path, tmp_path / "audio", where=(("short", "utterances.seconds >= 1"),))
    whole, short = select(tmp_path, "from conditions").to_pylist()
    assert whole["condition"] == "not_whole"
    assert (whole["rows_failing"], whole["rows_refused"], whole["rows_alone"]) == (1, 1, 1)
    assert whole["hours_alone"] == pytest.approx(1 / 3600)
    assert short == {
        "condition": "short",
        "holds": "utterances.seconds >= 1",
        "rows_failing": 0,
        "hours_failing": 0.0,
        "rows_refused": 0,
        "hours_refused": 0.0,
        "rows_alone": 0,
        "hours_alone": 0.0,
    }


def test_the_funnel_tells_the_hours_of_each_reason(tmp_path: Path) -> None:
    make_warehouse(tmp_path, tmp_path / "audio")
    [row] = select(
        tmp_path, "select hours_dropped_by_reason ->> 'silence' as hours from funnel where table_name = 'utterances'"
    ).to_pylist()
    assert float(row["hours"]) == pytest.approx(1 / 3600)
    [glance] = select(tmp_path, "select dropped_for from funnel_at_a_glance where \"table\" = 'utterances'").to_pylist()
    assert glance["dropped_for"] == "silence 1 (0.0 h)"


def test_two_versions_of_a_dataset_are_compared_row_by_row(tmp_path: Path) -> None:
    make_warehouse(tmp_path, tmp_path / "audio")
    make_warehouse(tmp_path, tmp_path / "audio", where=(("short", "utterances.seconds >= 1"),))
    new, old = [row["fingerprint"] for row in select(tmp_path, "from dataset_versions").to_pylist()]
    same = f"select utterance_id from examples_of('{new}') intersect select utterance_id from examples_of('{old}')"
    assert len(select(tmp_path, same)) == 2
    refused = f"select utterance_id from examples_of('{old}') where dropped is not null"
    assert select(tmp_path, refused)["utterance_id"].to_pylist() == [FRENCH]


def test_recordings_that_sound_alike_in_several_shards_are_told(tmp_path: Path) -> None:
    make_warehouse(tmp_path, tmp_path / "audio")
    [double] = select(tmp_path, "from duplicates").to_pylist()
    assert (double["recordings"], double["speakers"]) == (2, 0), "nobody knows who is silent here"
    assert double["recording_ids"] == ["a/one", "b/one"]
    assert double["hours_too_many"] == pytest.approx(2.5 / 3600)
