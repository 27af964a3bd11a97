"""One attempt at one shard, without Prefect and Ray: what it leaves, and what it clears away."""

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest

from flows.engine.shards import Failure, Job, make_shard, one_line
from warehouse import ledger
from warehouse.stage import Resources
from warehouse.store import Artifact
from warehouse.tables import Table

FILES = Table("things", grain="a thing", files=True, schema=pa.schema({"path": pa.string(), "before": pa.int64()}))


@dataclass(frozen=True)
class Things:
    """Makes one file, and says how many it found in its folder."""

    makes, takes = FILES, ()
    needs, version, gathers = Resources(), 1, False
    pause: float = 0.0
    fails: bool = False

    def __call__(self, _name: str, *, shard: str, folder: Path) -> pa.Table:
        before = len(list(folder.iterdir()))
        (folder / f"{before}.txt").write_text(shard)
        time.sleep(self.pause)
        if self.fails:
            raise RuntimeError("in the\nmiddle")
        return pa.table({"path": [f"{before}.txt"], "before": [before]}, schema=FILES.schema)


def job(root: Path, stage: Things, inputs: str = "one", *, again: bool = False) -> Job:
    return Job(
        root=root,
        stage=stage,
        shard="s",
        fingerprint="f",
        description="{}",
        inputs=inputs,
        reads=(),
        again=again,
        device="cpu",
    )


def found_before(root: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_table(root / "things" / "f" / "s.parquet")["before"][0].as_py())


def test_an_attempt_leaves_a_record_whether_it_succeeds_or_not(tmp_path: Path) -> None:
    failed = make_shard(job(tmp_path, Things(fails=True)), "flow", 1)
    assert failed == Failure("things/s", "RuntimeError: in the middle", may_pass=True)
    assert isinstance(make_shard(job(tmp_path, Things()), "flow", 2), Artifact)
    first, second = sorted(ledger.read(ledger.waiting(tmp_path)), key=lambda record: record.attempt.attempt)
    assert (first.attempt.state, first.attempt.error, first.artifact) == ("failed", "RuntimeError: in the middle", None)
    assert (second.attempt.state, second.attempt.error) == ("made", None)
    assert second.attempt.peak_memory_bytes > 1e6
    [log] = (tmp_path / "logs").iterdir()
    assert log.stem == first.attempt.run_id
    assert "in the" in log.read_text()


def test_a_folder_outlives_a_failure(tmp_path: Path) -> None:
    make_shard(job(tmp_path, Things(fails=True)), None, 1)
    make_shard(job(tmp_path, Things()), None, 2)
    assert found_before(tmp_path) == 1


def test_what_was_begun_from_other_inputs_is_cleared(tmp_path: Path) -> None:
    make_shard(job(tmp_path, Things(fails=True)), None, 1)
    make_shard(job(tmp_path, Things(), inputs="two"), None, 1)
    assert found_before(tmp_path) == 0


def test_what_is_made_again_by_name_begins_anew(tmp_path: Path) -> None:
    make_shard(job(tmp_path, Things()), None, 1)
    make_shard(job(tmp_path, Things(), again=True), None, 1)
    assert found_before(tmp_path) == 0


def test_two_workers_are_never_in_one_folder(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=make_shard, args=(job(tmp_path, replace(Things(), pause=0.3)), None, i)) for i in (1, 2)
    ]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun >= 0.6
    assert found_before(tmp_path) == 1


def test_an_error_of_ours_is_not_worth_another_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Things, "__call__", lambda *_, **__: pa.table({"other": [1]}))
    outcome = make_shard(job(tmp_path, Things()), None, 1)
    assert isinstance(outcome, Failure)
    assert not outcome.may_pass
    assert outcome.error.startswith("BrokenPromise: things/s lacks")


def test_a_long_error_is_cut_to_what_a_table_can_show() -> None:
    assert one_line(OSError("no\n  space")) == "OSError: no space"
    assert len(one_line(RuntimeError("word " * 1_000))) < 450
