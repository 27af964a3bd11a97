"""Stages beside each other: a shard goes on when what it reads is there, whatever else is still to be made."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.engine.shards import Failure, Job, make_shard
from tests.toy import write_corpus
from warehouse.errors import WorkFailed
from warehouse.query import select
from warehouse.stage import Resources
from warehouse.store import Artifact

Run = Callable[..., dict[str, int]]
TOY = f"{Path(__file__).parents[2] / 'toy.py'}"


def times(root: Path) -> dict[str, tuple[float, float]]:
    """When each shard was begun and done, by table and shard."""
    query = "select table_name, shard, epoch(started_at) as begun, epoch(ended_at) as ended from runs"
    return {
        f"{row['table_name']}/{row['shard']}": (row["begun"], row["ended"]) for row in select(root, query).to_pylist()
    }


def test_no_worker_waits_for_the_longest_shard_of_a_stage(
    pipeline: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "audio", a="pause one", b="pause last", c="pause two", d="pause three")
    assert pipeline() == {"utterances": 4, "codes": 4, "examples": 4, "totals": 1}
    when = times(tmp_path / "root")
    _, longest = when["utterances/b"]
    for shard in "acd":
        assert when[f"utterances/{shard}"][1] <= when[f"codes/{shard}"][0]
        assert when[f"examples/{shard}"][1] <= longest
    assert when["codes/b"][0] >= longest
    assert when["totals/all"][0] >= when["codes/b"][1], "what reads a whole table has it whole"
    said = [line.split()[0] for line in capsys.readouterr().err.splitlines() if " current" in line]
    assert said == ["utterances", "codes", "examples", "totals"]


def test_what_reads_a_shard_that_failed_is_not_made_and_all_else_is(pipeline: Run, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", a="pause one", b="pause last wrong", c="pause two")
    with pytest.raises(WorkFailed, match="1 shard failed, the first utterances/b"):
        pipeline()
    assert {"codes/a", "codes/c", "examples/a", "examples/c"} <= times(tmp_path / "root").keys()
    assert not {"codes/b", "examples/b", "totals/all"} & times(tmp_path / "root").keys()
    assert pipeline(max_failed_share=0.5)["totals"] == 1


class Machine:
    """Stands in for `Workers`: one worker with a GPU and one without, in this process."""

    device, stopped = "cuda", False

    def __init__(self, *, meets: bool = False) -> None:
        self.meets = meets  # whether a shard that needs a GPU and one of what it reads wait for each other
        self.in_hand: list[str] = []
        self.beside: list[set[str]] = []  # the tables of which a shard was in hand at the same time
        self.kept_free: dict[str, Resources | None] = {}
        self.both = threading.Event()  # those two were in hand

    def __call__(self, site: Any, _module: Any) -> "Machine":
        self.site = site
        return self

    def check_room(self, _table: str, _needs: Resources) -> int:
        return 1

    def pool(self, table: str, needs: Resources, _num_jobs: int, beside: Resources | None) -> "Slot":
        self.kept_free[table] = beside
        return Slot(self, needs)

    def close(self) -> None: ...


class Slot:
    """A pool of one worker."""

    size = 1

    def __init__(self, machine: Machine, needs: Resources) -> None:
        self.machine, self.needs, self.site, self.stopped = machine, needs, machine.site, False
        self.has_begun = False

    def close(self) -> None: ...

    def make(self, job: Job, flow_run_id: str | None, attempt: int) -> Artifact | Failure:
        table = job.stage.makes.name
        self.machine.in_hand.append(table)
        self.machine.beside.append(set(self.machine.in_hand))
        if {"utterances", "codes"} <= set(self.machine.in_hand):
            self.machine.both.set()
        if self.machine.meets and (table == "codes" or (table == "utterances" and self.has_begun)):
            self.machine.meets = self.machine.both.wait(60)  # they do not, where one has waited in vain
        self.has_begun = True
        made = make_shard(job, flow_run_id, attempt)
        self.machine.in_hand.remove(table)
        return made


def test_a_gpu_does_not_wait_for_the_last_cpu_shard(
    pipeline: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(meets=True)
    monkeypatch.setattr("flows.engine.materialization.Workers", machine)
    write_corpus(tmp_path / "audio", **{f"s{i}": "pause one two" for i in range(6)})
    pipeline(recipe=f"{TOY}:on_gpus")
    assert {"utterances", "codes"} in machine.beside
    assert machine.kept_free["utterances"] == Resources(gpus=1.0)
    assert machine.kept_free["examples"] is None, "no stage below it takes a GPU"


def test_an_interrupted_run_begins_nothing_more_in_any_lane(
    pipeline: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "audio", **{f"s{i}": "pause one two" for i in range(30)})
    heard: list[Any] = []
    there: list[int] = []  # how many shards, as the run stops

    def hear(lane: Any, news: Any) -> Any:
        heard.append(news)
        if len(heard) == 3:
            raise KeyboardInterrupt
        return real(lane, news)

    def stop(_workers: Any, is_so: bool) -> None:
        if is_so:
            there.append(len([*(tmp_path / "root").rglob("*.parquet")]))

    from flows.engine.lane import Lane
    from flows.engine.workers import Workers

    real = Lane.hear
    monkeypatch.setattr(Lane, "hear", hear)
    monkeypatch.setattr(Workers, "stopped", property(lambda _: bool(there), stop), raising=False)
    with pytest.raises(KeyboardInterrupt):
        pipeline()
    [[done]] = select(tmp_path / "root", "select count(*) from artifacts").to_pydict().values()
    assert done <= there[0] + 4, "what was in hand is finished at most"
    monkeypatch.undo()
    whole = pipeline()
    assert sum(whole.values()) + done == 91
