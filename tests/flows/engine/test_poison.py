"""Poison is found by halving; what is none is not called so."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.engine.poison import MOST, make_without_poison, search
from flows.engine.shards import Failure, Job
from flows.engine.site import Site
from flows.engine.workers import Pool, Workers
from warehouse import ledger
from warehouse.stage import Resources
from warehouse.store import write_shard
from warehouse.tables import UTTERANCES, Table, column, schema

ID = column("utterance_id", pa.string(), "as in utterances")
LOUDNESS = Table("loudness", grain="an utterance", key=("utterance_id",), schema=schema(ID))
BARE = Table("bare", grain="an utterance", key=("utterance_id",), schema=pa.schema([ID]))
FAILURE = Failure("loudness/s", "the worker died: of something", may_pass=True, crashed=True)


@dataclass(frozen=True, kw_only=True)
class Loudness:
    """Gives each utterance a row, or would."""

    makes: Table = LOUDNESS
    takes = (UTTERANCES,)
    needs, version, gathers = Resources(), 1, False

    def __call__(self, utterances: Any) -> pa.Table:
        raise AssertionError("a worker would do this")


class Fragile:
    """Workers that do not survive some rows."""

    def __init__(self, *deadly: str, seconds: float = 1000.0) -> None:
        self.site = Site(shard_timeout_seconds=seconds)
        self.deadly = set(deadly)
        self.limits: list[float] = []
        self.made: list[Job] = []

    def rehearse(self, job: Job, limit: float) -> str | None:
        self.limits.append(limit)
        return "the worker died" if self.deadly & (set(job.items) - set(job.poison)) else None

    def make(self, job: Job, _flow_run_id: str | None, _attempt: int) -> Failure:
        self.made.append(job)
        return FAILURE


def job(root: Path, num_rows: int, makes: Table = LOUDNESS) -> Job:
    utterances = [{"utterance_id": f"u{i}", "dropped": "silence" if i == 0 else None} for i in range(num_rows + 1)]
    table = pa.Table.from_pylist(utterances, schema=UTTERANCES.schema)
    artifact = write_shard(root, UTTERANCES, "s", "f", table, stage="{}", inputs="{}")
    reads = ((root / artifact.path,),)
    return Job(
        root=root,
        stage=Loudness(makes=makes),
        shard="s",
        fingerprint="f",
        description="{}",
        inputs="{}",
        reads=reads,
        again=False,
        device="cpu",
    )


@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=MOST))
def test_all_poison_is_found_and_nothing_else(num_items: int, deadly: set[int]) -> None:
    names = [str(i) for i in range(num_items)]
    poison = {str(i) for i in deadly} & set(names)
    found = search(names, lambda part: "bang" if poison & set(part) else None)
    assert found == dict.fromkeys(sorted(poison, key=int), "bang")


def test_one_of_a_thousand_takes_twenty_trials() -> None:
    tried: list[Sequence[str]] = []
    search([str(i) for i in range(1024)], lambda part: tried.append(part) or ("bang" if "700" in part else None))
    assert len(tried) == 20


def test_the_shard_is_made_without_what_was_found(tmp_path: Path) -> None:
    workers = Fragile("u3", "u5")
    make_without_poison(workers, job(tmp_path, 8), FAILURE, None, 4)  # type: ignore[arg-type]
    [made] = workers.made
    assert made.poison == {"u3": "alone with it, the worker died", "u5": "alone with it, the worker died"}


def test_a_part_has_less_time_than_the_whole_and_enough_to_load_a_model(tmp_path: Path) -> None:
    workers = Fragile("u1")
    make_without_poison(workers, job(tmp_path, 16), FAILURE, None, 4)  # type: ignore[arg-type]
    assert sorted(set(workers.limits)) == [300.0, 500.0, 1000.0]
    quick = Fragile("u1", seconds=10.0)
    make_without_poison(quick, job(tmp_path, 16), FAILURE, None, 4)  # type: ignore[arg-type]
    assert set(quick.limits) == {10.0}


def test_where_no_row_alone_does_it_the_shard_is_tried_whole_and_says_so(tmp_path: Path) -> None:
    workers = Fragile()
    outcome = make_without_poison(workers, job(tmp_path, 8), FAILURE, None, 4)  # type: ignore[arg-type]
    assert isinstance(outcome, Failure)
    assert outcome.error == "the worker died: of something; none of its 8 rows does that alone"
    assert workers.made[0].poison == {}


@pytest.mark.parametrize(("num_rows", "num_deadly"), [(2, 2), (8, 5), (100, MOST + 1)])
def test_too_much_poison_is_none(tmp_path: Path, num_rows: int, num_deadly: int) -> None:
    workers = Fragile(*(f"u{i + 1}" for i in range(num_deadly)))
    outcome = make_without_poison(workers, job(tmp_path, num_rows), FAILURE, None, 4)  # type: ignore[arg-type]
    assert isinstance(outcome, Failure)
    assert f"at least {num_deadly} of its {num_rows} rows do that alone, the first u1" in outcome.error
    assert not outcome.may_pass
    assert not workers.made


def test_a_shard_of_one_row_loses_it(tmp_path: Path) -> None:
    workers = Fragile("u1")
    make_without_poison(workers, job(tmp_path, 1), FAILURE, None, 4)  # type: ignore[arg-type]
    assert list(workers.made[0].poison) == ["u1"]


def test_a_table_without_room_for_drops_says_which_row_it_is(tmp_path: Path) -> None:
    outcome = make_without_poison(Fragile("u2"), job(tmp_path, 8, BARE), FAILURE, None, 4)  # type: ignore[arg-type]
    assert isinstance(outcome, Failure)
    assert outcome.error.endswith("u2 does that alone, and the table bare has no column `dropped` to say so")
    [record] = ledger.read(ledger.waiting(tmp_path))
    assert isinstance(record, ledger.Record)
    assert (record.attempt.state, record.attempt.attempt, record.attempt.error) == ("failed", 4, outcome.error)


def test_an_interrupted_run_seeks_no_poison(tmp_path: Path) -> None:
    workers = Workers(Site())
    workers.stopped = True
    pool = Pool(workers, Resources(), most=1, size=1)
    outcome = make_without_poison(pool, job(tmp_path, 8), FAILURE, None, 4)
    assert isinstance(outcome, Failure)
    assert outcome.error == f"{FAILURE.error}; which row does that was not found: NoRoom: the run is being interrupted"


def test_what_makes_files_or_gathers_is_left_as_it_is(tmp_path: Path) -> None:
    made = replace(LOUDNESS, files=True)
    workers = Fragile("u2")
    assert make_without_poison(workers, job(tmp_path, 8, made), FAILURE, None, 4) is FAILURE  # type: ignore[arg-type]
    assert not workers.limits
