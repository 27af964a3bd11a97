"""What a run promises, on the toy pipeline, through Prefect and Ray."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import TOY
from tests.toy import write_corpus
from warehouse.catalogue import Catalogue
from warehouse.errors import WorkFailed
from warehouse.query import select

Run = Callable[..., dict[str, int]]


def rows(root: Path, query: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in select(root, query).to_pylist()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "audio", a="pause one three", b="pause i seven", c="pause eleven")
    return tmp_path / "root"


@pytest.fixture(scope="module")
def whole(prefect_server: None, ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, and the warehouse that a run has made of it."""
    from flows.pipeline import pipeline as flow

    folder = tmp_path_factory.mktemp("whole")
    write_corpus(folder / "audio", a="pause one three", b="pause i seven", c="pause eleven")
    site = folder / "site.toml"
    site.write_text(f'root = "{folder}/root"\naudio = "{folder}/audio"\ndevice = "cpu"\n')
    assert flow(recipe=TOY, site=str(site)) == {"utterances": 3, "codes": 3, "examples": 3, "totals": 1}
    return folder


@pytest.fixture
def made(whole: Path, tmp_path: Path) -> Path:
    """A copy of that warehouse, and of its corpus, that a test may change."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    Catalogue(tmp_path / "root").take_up()  # its views name the folder
    return tmp_path / "root"


def test_a_run_makes_every_table(pipeline: Run, root: Path) -> None:
    assert pipeline() == {"utterances": 3, "codes": 3, "examples": 3, "totals": 1}
    assert rows(root, "from totals") == [(3 + 5 + 5 + 6,)]
    assert rows(root, "select count(*), count(dropped) from utterances") == [(8, 3)]


def test_a_second_run_makes_nothing(pipeline: Run, made: Path) -> None:
    before = rows(made, "from artifacts order by path")
    assert pipeline() == {}
    assert rows(made, "from artifacts order by path") == before


def test_a_setting_remakes_exactly_what_depends_on_it(pipeline: Run, made: Path) -> None:
    assert pipeline(settings=["codes.step=2"]) == {"codes": 3, "examples": 3, "totals": 1}
    assert pipeline() == {}, "what was made before is still there"


def test_where_a_stage_works_remakes_nothing(pipeline: Run, made: Path) -> None:
    assert pipeline(settings=["codes.pause=0.01"]) == {}


def test_until_makes_every_table_up_to_one(pipeline: Run, root: Path) -> None:
    assert pipeline(until="codes") == {"utterances": 3, "codes": 3}
    assert rows(root, "from examples") == []


def test_audio_added_changed_and_removed_is_noticed(pipeline: Run, made: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", a="pause one two", d="pause four")
    (tmp_path / "audio" / "b.txt").unlink()
    assert pipeline() == {"utterances": 2, "codes": 2, "examples": 2, "totals": 1}
    assert rows(made, "select distinct recording_id from utterances order by all") == [("a",), ("c",), ("d",)]
    assert rows(made, "from totals") == [(3 + 3 + 6 + 4,)]


def test_equal_rows_stop_the_ripple(pipeline: Run, made: Path, tmp_path: Path) -> None:
    (tmp_path / "audio" / "a.txt").touch()
    assert pipeline() == {"utterances": 1}


def test_a_shard_that_somebody_deleted_is_made_again(pipeline: Run, made: Path) -> None:
    [(path,)] = rows(made, "select path from artifacts where table_name = 'codes' and shard = 'b'")
    (made / str(path)).unlink()
    assert pipeline() == {"codes": 1}


def test_a_shard_whose_writer_died_before_its_record_is_found(pipeline: Run, made: Path) -> None:
    for ledger in (made / "ledger").glob("*.jsonl"):
        ledger.unlink()
    for database in made.glob("*.duckdb"):
        database.unlink()
    assert pipeline() == {}
    assert rows(made, "select count(*) from artifacts") == [(10,)]


def test_a_failed_shard_costs_itself(pipeline: Run, root: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", b="pause broken")
    with pytest.raises(WorkFailed, match="1 shard failed, the first utterances/b: OSError: the disk is on fire"):
        pipeline()
    assert rows(root, "select shard from artifacts where table_name = 'codes' order by all") == [("a",), ("c",)]
    assert rows(root, "select shard, error from failures") == [("b", "OSError: the disk is on fire")]
    assert rows(root, "select attempt, state from runs where shard = 'b' order by attempt") == [
        (1, "failed"),
        (2, "failed"),
        (3, "failed"),
    ]
    write_corpus(tmp_path / "audio", b="pause mended")
    assert pipeline(only=["utterances/b"]) == {"utterances": 1, "codes": 1, "examples": 1, "totals": 1}
    assert rows(root, "from failures") == []


def test_what_would_only_fail_again_is_not_retried(pipeline: Run, root: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", b="pause wrong")
    with pytest.raises(WorkFailed, match="ValueError: these are no utterances"):
        pipeline()
    assert rows(root, "select count(*) from runs where state = 'failed'") == [(1,)]


def test_a_dead_worker_is_replaced_and_costs_its_shard(pipeline: Run, root: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", b="pause poison")
    with pytest.raises(WorkFailed, match="utterances/b: the worker died"):
        pipeline(keys="workers = 1\nretries = 1\n")
    assert rows(root, "select count(*) from runs where state = 'crashed'") == [(2,)]
    assert rows(root, "select count(*) from artifacts where table_name = 'codes'") == [(2,)]


def test_a_stage_that_loses_a_row_is_caught(pipeline: Run, root: Path) -> None:
    with pytest.raises(
        WorkFailed, match=r"BrokenPromise: codes/a gave 1 rows for 2 kept rows of utterances \(1 lost\)"
    ):
        pipeline(settings=["codes.loses=true"])


def test_asked_for_by_name_a_current_shard_is_made_again(pipeline: Run, made: Path) -> None:
    assert pipeline(only=["codes/a"], again=["codes/a"]) == {"codes": 1}


def test_the_funnel_adds_up_while_shards_are_missing(pipeline: Run, root: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", b="pause wrong")
    with pytest.raises(WorkFailed):
        pipeline()
    for row in select(root, "from funnel").to_pylist():
        assert row["rows_in"] == row["rows_kept"] + row["rows_dropped"] + row["rows_pending"] + row["rows_failed"]
        assert row["hours_in"] == pytest.approx(
            row["hours_kept"] + row["hours_dropped"] + row["hours_pending"] + row["hours_failed"]
        )


def test_the_catalogue_can_be_rebuilt_row_for_row(pipeline: Run, root: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", b="pause wrong")
    with pytest.raises(WorkFailed):
        pipeline()
    tables = ("artifacts", "runs", "wanted", "stages", "funnel")
    before = [rows(root, f"from {table} order by all") for table in tables]
    for database in root.glob("*.duckdb"):
        database.unlink()
    Catalogue(root).rebuild()
    assert [rows(root, f"from {table} order by all") for table in tables] == before


def test_the_last_run_is_remembered(pipeline: Run, root: Path) -> None:
    pipeline(settings=["codes.step=2"])
    last = Catalogue(root).last_run()
    assert last.name == "toy"
    assert last.options["settings"] == ["codes.step=2"]
    codes = next(stage for stage in last.stages if stage.table == "codes")
    assert json.loads(codes.stage("a"))["settings"] == {"step": 2}


def test_a_run_is_true_to_its_own_recipe_when_another_begins(
    pipeline: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_up = Catalogue.take_up

    def another_begins(self: Catalogue, **words: bool) -> object:
        said = self.last_run()
        other = [replace(stage, fingerprints={"*": "0" * 12}) for stage in said.stages]
        self.remember(said.name, other, said.options)
        return take_up(self, **words)

    monkeypatch.setattr(Catalogue, "take_up", another_begins)
    pipeline()
    assert not list(root.glob("codes/000000000000/*"))


def test_what_waits_above_a_selected_shard_is_made_too(pipeline: Run, made: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", a="pause now otherwise", b="pause this too")
    assert pipeline(only=["codes/a"], again=["codes/a"]) == {"utterances": 1, "codes": 1, "examples": 1}


def test_a_failed_rerun_of_a_shard_that_is_there_is_a_failure(pipeline: Run, made: Path) -> None:
    with pytest.raises(WorkFailed):
        pipeline(settings=["codes.loses=true"], only=["codes/a"], again=["codes/a"])
    assert rows(made, "select table_name, shard from failures") == [("codes", "a")]
    pipeline(only=["codes/a"], again=["codes/a"])
    assert rows(made, "from failures") == []


def test_what_the_site_tolerates_neither_stops_what_gathers_nor_fails_the_run(
    pipeline: Run, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "audio", b="pause wrong")
    assert pipeline(max_failed_share=0.4) == {"utterances": 2, "codes": 2, "examples": 2, "totals": 1}
    assert "1 shard failed, the first utterances/b: ValueError: these are no utterances" in capsys.readouterr().err
    assert rows(root, "from totals") == [(3 + 5 + 6,)]
    assert rows(root, "select shard from failures") == [("b",)]
    assert pipeline(max_failed_share=0.4) == {"utterances": 0}, "it is tried again, and nothing hangs on it"
    assert rows(root, "from totals") == [(3 + 5 + 6,)]
    write_corpus(tmp_path / "audio", b="pause mended")
    assert pipeline(max_failed_share=0.4) == {"utterances": 1, "codes": 1, "examples": 1, "totals": 1}
    assert rows(root, "from totals") == [(3 + 5 + 6 + 6,)]


def test_each_table_has_a_tolerance_of_its_own(
    pipeline: Run, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "audio", b="pause wrong")
    assert pipeline(max_failed_share=0.4, settings=["codes.fails=c"]) == {
        "utterances": 2,
        "codes": 1,
        "examples": 1,
        "totals": 1,
    }
    assert "2 shards failed, the first utterances/b" in capsys.readouterr().err
    assert rows(root, "from totals") == [(3 + 5,)]


def test_a_run_that_fails_tells_of_what_it_tolerated_too(pipeline: Run, root: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", b="pause wrong")
    with pytest.raises(WorkFailed, match=r"2 shards failed, the first codes/a: .* \(1 more are tolerated\)"):
        pipeline(max_failed_share=0.4, settings=["codes.loses=true"])


def test_more_failures_than_the_site_tolerates_fail_the_run(pipeline: Run, root: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", b="pause wrong")
    with pytest.raises(WorkFailed):
        pipeline(max_failed_share=0.3)
    assert rows(root, "from totals") == []


def test_a_site_that_tolerates_nothing_any_more_excuses_nothing(pipeline: Run, root: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", b="pause wrong")
    pipeline(max_failed_share=0.4)
    with pytest.raises(WorkFailed):
        pipeline()
    assert rows(root, "from totals") == []
    assert "totals" in [stage.wanted.table for stage in Catalogue(root).take_up() if stage.pending]


def test_the_shards_of_one_task_run_are_made_by_all_workers_and_the_largest_first(
    pipeline: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.engine.lane.MOST_TASKS", 1)
    write_corpus(tmp_path / "audio", d="pause nineteen twenty")
    pipeline(until="utterances", keys="workers = 1\n")
    order = rows(root, "select shard from runs where table_name = 'utterances' order by started_at")
    assert order == [("d",), ("a",), ("b",), ("c",)], "by the bytes of their files"
    (tmp_path / "met").mkdir()
    pipeline(until="codes", settings=[f"codes.meets={tmp_path / 'met'}"])
    assert len(list((tmp_path / "met").iterdir())) == 2, "two at a time"
