"""The catalogue: taken up once, read by anybody, never in the way."""

import os
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from bench.made_up import attempt
from warehouse import ledger, publishing
from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake, WorkFailed
from warehouse.fingerprint import short_hash
from warehouse.ledger import Record
from warehouse.plan import Wanted
from warehouse.private_database import MIGRATIONS, migrate
from warehouse.query import connect, select
from warehouse.statistics import VIEWS
from warehouse.store import write_shard
from warehouse.tables import SCORES, UTTERANCES

RECIPE = [
    Wanted(
        table="utterances",
        takes=(),
        gathers=(),
        lasting=False,
        one_to_one=False,
        fingerprints={"*": "f" * 12},
        stages={"*": "{}"},
        sources={},
    )
]


def make(root: Path, shard: str) -> Record:
    """A shard and its record, as a worker leaves them."""
    rows = pa.Table.from_pylist([{"utterance_id": shard, "seconds": 1.0}], schema=UTTERANCES.schema)
    artifact = write_shard(root, UTTERANCES, shard, "f" * 12, rows, stage="{}", inputs="{}", seconds=rows["seconds"])
    record = Record(attempt(artifact), artifact)
    ledger.emit(root, record)
    return record


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    index = Catalogue(tmp_path)
    index.remember("toy", RECIPE, {})
    return index


def count(root: Path, table: str) -> int:
    return int(select(root, f"select count(*) as n from {table}")["n"][0].as_py())


def test_a_record_counts_once_however_often_it_is_taken_up(catalogue: Catalogue) -> None:
    record = make(catalogue.root, "a")
    catalogue.take_up()
    ledger.emit(catalogue.root, record)  # as after a kill between taking up and putting away
    catalogue.take_up()
    assert count(catalogue.root, "runs") == count(catalogue.root, "artifacts") == 1
    assert ledger.waiting(catalogue.root) == []


def test_a_kill_before_records_are_put_away_loses_nothing(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(catalogue.root, "a")
    with monkeypatch.context() as killed:
        killed.setattr(ledger, "keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            catalogue.take_up()
    make(catalogue.root, "b")
    catalogue.take_up()
    assert count(catalogue.root, "runs") == 2
    catalogue.rebuild()
    assert count(catalogue.root, "runs") == count(catalogue.root, "artifacts") == 2


def test_a_reader_keeps_its_copy_and_blocks_nobody(catalogue: Catalogue) -> None:
    make(catalogue.root, "a")
    catalogue.take_up()
    with connect(catalogue.root) as reader:
        make(catalogue.root, "b")
        catalogue.take_up()
        assert reader.sql("select count(*) from runs").fetchall() == [(1,)]
    assert count(catalogue.root, "runs") == 2


def test_many_may_take_up_at_once(catalogue: Catalogue) -> None:
    def work(name: int) -> None:
        for i in range(3):
            make(catalogue.root, f"{name}-{i}")
            Catalogue(catalogue.root).take_up()

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(catalogue.root, "runs") == count(catalogue.root, "artifacts") == 12


def test_another_process_is_waited_for(catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue.take_up()
    waits: list[float] = []
    with _holding(tmp_path / ".catalogue.duckdb") as other:

        def wait(seconds: float) -> None:
            waits.append(seconds)
            other.communicate()  # it lets go

        clock = SimpleNamespace(monotonic=time.monotonic, sleep=wait)  # of that module alone
        monkeypatch.setattr("warehouse.private_database.time", clock)
        catalogue.take_up()
    assert len(waits) == 1


@contextmanager
def _holding(database: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has a database open until it is told something."""
    code = f"import duckdb, sys; c = duckdb.connect('{database}'); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield other


def test_another_process_that_does_not_let_go_is_named(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue.take_up()
    monkeypatch.setattr("warehouse.private_database.PATIENCE", 0.0)
    with _holding(catalogue.root / ".catalogue.duckdb") as other:
        for work in (catalogue.take_up, catalogue.rebuild):
            with pytest.raises(WorkFailed, match=rf"held by another process .*PID {other.pid}"):
                work()
        other.communicate()
    catalogue.take_up()


@pytest.mark.parametrize(("name", "kind"), [("funnel", "view"), ("runs", "view"), ("ledger", "folder")])
def test_a_table_cannot_have_the_name_of_something_else(catalogue: Catalogue, name: str, kind: str) -> None:
    with pytest.raises(Mistake, match=f"a table cannot be called '{name}': a warehouse has a {kind} of that name"):
        catalogue.remember("toy", [replace(RECIPE[0], table=name)], {})


def test_every_view_works_before_anything_is_made(catalogue: Catalogue) -> None:
    catalogue.take_up()
    with connect(catalogue.root) as reader:
        for (view,) in reader.sql("select view_name from duckdb_views() where not internal").fetchall():
            reader.sql(f'from "{view}"').fetchall()


def test_views_work_from_any_folder(catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(catalogue.root, "a")
    sources = {"a": "whatever"}
    catalogue.remember("toy", [Wanted(**{**vars(RECIPE[0]), "sources": sources, "lasting": True})], {})
    catalogue.take_up()
    monkeypatch.chdir("/")
    with duckdb.connect(tmp_path / "catalogue.duckdb", read_only=True) as anybody:
        assert anybody.sql("select utterance_id from utterances").fetchall() == [("a",)]


def test_a_migration_is_done_once_and_in_order(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "x.duckdb") as db:
        migrate(db)
        migrate(db)
        assert db.sql("from migrations order by number").fetchall() == [(i,) for i in range(len(MIGRATIONS))]


def test_a_folder_where_nothing_ran_is_no_warehouse(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="is not a warehouse"):
        Catalogue(tmp_path / "empty").last_run()


def test_a_lost_private_database_is_told_of_every_attempt_again(catalogue: Catalogue) -> None:
    make(catalogue.root, "a")
    catalogue.take_up()
    (catalogue.root / ".catalogue.duckdb").unlink()
    make(catalogue.root, "b")
    catalogue.take_up()
    assert count(catalogue.root, "runs") == 2


def test_a_rebuild_that_is_killed_loses_nothing(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    make(catalogue.root, "a")
    catalogue.take_up()
    with monkeypatch.context() as killed:
        killed.setattr(Catalogue, "_publish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            catalogue.rebuild()
    assert count(catalogue.root, "runs") == 1, "readers still have the copy of before"
    catalogue.take_up()
    assert count(catalogue.root, "runs") == 1


def test_a_damaged_database_is_made_anew(catalogue: Catalogue) -> None:
    make(catalogue.root, "a")
    catalogue.take_up()
    for name in (".catalogue.duckdb", "catalogue.duckdb"):
        (catalogue.root / name).write_bytes(b"this is no database" * 1000)
    with pytest.raises(Mistake, match=r"cannot be opened; `valle catalogue rebuild` makes it anew"):
        select(catalogue.root, "select 1")
    assert catalogue.rebuild() == (1, 1)
    assert count(catalogue.root, "runs") == 1


@pytest.mark.parametrize("name", ["catalogue.duckdb", ".catalogue.duckdb"])
@pytest.mark.parametrize("left", [0, 1000, 5000, 50_000])
def test_a_database_that_is_cut_is_said_in_a_sentence_and_made_anew(catalogue: Catalogue, name: str, left: int) -> None:
    make(catalogue.root, "a")
    catalogue.take_up()
    os.truncate(catalogue.root / name, left)
    for work in (lambda: select(catalogue.root, "from runs"), catalogue.artifacts, catalogue.take_up):
        with suppress(Mistake):  # and nothing else
            work()
    assert catalogue.rebuild() == (1, 1)
    assert count(catalogue.root, "artifacts") == 1


def test_a_line_that_is_torn_costs_itself(catalogue: Catalogue) -> None:
    make(catalogue.root, "a")
    catalogue.take_up()
    make(catalogue.root, "b")
    [kept] = ledger.kept(catalogue.root)
    with kept.open("ab") as file:
        file.write(b'{"attempt": {"run_id": "01\xff')
    torn = ledger.folder(catalogue.root) / "torn.json"
    torn.write_bytes(b'{"consent": {"record_id"')
    assert ledger.consent(catalogue.root, "audio:1") is None
    assert catalogue.rebuild() == (2, 2)
    catalogue.take_up()
    assert count(catalogue.root, "runs") == 2
    assert torn.with_suffix(".damaged").exists()
    assert ledger.waiting(catalogue.root) == []


@pytest.mark.parametrize(
    "words", ["", "{", "[]", '{"name": "toy"}', '{"name": 1, "options": 1, "stages": 1, "ran_at": 1}']
)
def test_a_damaged_recipe_is_named_and_the_next_run_mends_it(catalogue: Catalogue, words: str) -> None:
    make(catalogue.root, "a")
    path = catalogue.root / "recipes" / "toy.json"
    path.write_text(words)
    with pytest.raises(Mistake, match=f"{path} is damaged; run its recipe again"):
        catalogue.last_run()
    assert catalogue.rebuild() == (1, 1)
    assert catalogue.excused(RECIPE) == RECIPE
    assert len(catalogue.artifacts()) == 1
    catalogue.remember("toy", RECIPE, {})
    catalogue.take_up()
    assert count(catalogue.root, "artifacts") == 1


def test_a_root_with_a_question_mark_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="has a question mark in its path, and DuckDB writes no database there"):
        Catalogue(tmp_path / "what?" / "root").take_up()
    assert list(tmp_path.iterdir()) == [], "and nothing is left there"


@pytest.mark.parametrize("flow", ["one", "another"])
def test_a_shard_is_no_failure_that_was_made_after_by_a_clock_that_was_behind(tmp_path: Path, flow: str) -> None:
    index = Catalogue(tmp_path)
    index.remember("toy", [replace(RECIPE[0], sources={"a": "x"})], {})
    record = make(tmp_path, "a")
    made = replace(record.attempt, run_id="made", flow_run_id="one", ended_at="2026-01-01T00:00:00")
    ledger.emit(tmp_path, replace(record, attempt=made))
    assert record.artifact
    Catalogue(tmp_path).take_up()
    failed = replace(made, run_id="failed", flow_run_id=flow, ended_at="2126-01-01T00:00:00", state="crashed")
    ledger.emit(tmp_path, Record(failed, None))
    index.take_up()
    assert count(tmp_path, "failures") == (0 if flow == "one" else 1), "in one flow run, what is made is made last"


def test_a_shard_is_no_failure_whose_maker_was_killed_before_it_left_a_record(tmp_path: Path) -> None:
    index = Catalogue(tmp_path)
    index.remember("toy", [replace(RECIPE[0], sources={"a": "x"})], {})
    record = make(tmp_path, "a")
    ledger.waiting(tmp_path)[0].unlink()
    failed = replace(record.attempt, ended_at="2026-01-01T00:00:00", state="crashed")
    ledger.emit(tmp_path, Record(failed, None))
    index.take_up(look_at_disk=True)
    assert count(tmp_path, "runs") == 1
    assert count(tmp_path, "failures") == 0


def test_shards_from_before_a_column_was_thought_of_have_nulls_in_it(tmp_path: Path) -> None:
    old = replace(SCORES, schema=pa.schema([f for f in SCORES.schema if f.name not in ("failures", "speaker_id")]))
    score = {"sample_id": "valle/a/0", "system": "valle", "metric": "wer", "errors": 1, "words": 4, "judge": "whisper"}
    wanted = replace(RECIPE[0], table="scores", sources={"a": "0"}, schema=b64encode(old.schema.serialize()).decode())
    index = Catalogue(tmp_path)
    index.remember("old", [wanted], {})
    index.take_up()
    assert count(tmp_path, "leaderboard where source = 'this warehouse'") == 0
    rows = pa.Table.from_pylist([score], schema=old.schema)
    artifact = write_shard(tmp_path, old, "a", "f" * 12, rows, stage="{}", inputs='{"files": {}}')
    ledger.emit(tmp_path, Record(attempt(artifact), artifact))
    index.remember("old", [replace(wanted, sources={"a": short_hash('{"files": {}}')})], {})
    index.take_up()
    [row] = select(tmp_path, "from scores").to_pylist()
    assert (row["errors"], row["failures"], row["speaker_id"]) == (1, None, None)
    [row] = select(tmp_path, "select wer from leaderboard where source = 'this warehouse'").to_pylist()
    assert row["wer"] == 0.25


def test_what_newer_code_has_added_to_the_private_database_is_no_matter(catalogue: Catalogue) -> None:
    make(catalogue.root, "a")
    catalogue.take_up()
    with duckdb.connect(catalogue.root / ".catalogue.duckdb") as db:
        db.execute("alter table artifacts add column newer varchar default 'yes'").fetchall()
    make(catalogue.root, "b")
    catalogue.take_up()
    assert count(catalogue.root, "artifacts") == 2


def test_a_file_of_all_views_that_failed_is_made_again(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    make(catalogue.root, "a")
    with monkeypatch.context() as failing:
        failing.setattr(publishing, "_FRAMES", {})
        failing.setattr(publishing, "VIEWS", ("no_such_view",))
        with pytest.raises(FileNotFoundError):
            catalogue.take_up()
        failing.setattr(publishing, "VIEWS", VIEWS)
        catalogue.take_up()
    assert (count(catalogue.root, "artifacts"), count(catalogue.root, "funnel")) == (1, 0)
    assert not list(catalogue.root.glob(".publishing-*"))


def test_tables_may_have_names_and_types_that_are_odd(tmp_path: Path) -> None:
    """DuckDB reads half floats from Parquet, and not from Arrow."""
    odd = pa.schema({"select": pa.string(), 'a "b" c': pa.float16()})
    tables = [replace(SCORES, name=name, schema=odd, key="select") for name in ("x", "no_x")]
    index = Catalogue(tmp_path)
    for table in tables:
        rows = pa.table({"select": ["a"], 'a "b" c': np.array([0.5], np.float16)}, schema=odd)
        artifact = write_shard(tmp_path, table, "a", "f" * 12, rows, stage="{}", inputs='{"files": {}}')
        ledger.emit(tmp_path, Record(attempt(artifact), artifact))
    schema, sources = b64encode(odd.serialize()).decode(), {"a": short_hash('{"files": {}}')}
    index.remember("odd", [replace(RECIPE[0], table=t.name, sources=sources, schema=schema) for t in tables], {})
    index.take_up()
    for table in tables:
        assert select(tmp_path, f"from {table.name}").to_pylist() == [{"select": "a", 'a "b" c': 0.5}]


def test_a_rebuild_that_cannot_publish_keeps_the_private_database(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(catalogue.root, "a")
    catalogue.take_up()
    there = (catalogue.root / ".catalogue.duckdb").stat().st_ino
    monkeypatch.setattr(Catalogue, "_copy", lambda *_: (_ for _ in ()).throw(duckdb.BinderException("of no use")))
    with pytest.raises(duckdb.BinderException):
        catalogue.rebuild()
    assert (catalogue.root / ".catalogue.duckdb").stat().st_ino == there
