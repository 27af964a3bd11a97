"""Workers and their pool: what a worker dies of, what breaks it, and what a cluster without room says."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.parked import let_go
from tests.small_corpus import audio
from tests.toy import write_corpus
from warehouse.errors import Mistake, WorkFailed
from warehouse.query import select
from warehouse.stage import Resources

Run = Callable[..., dict[str, int]]
DEADLY = f"{Path(__file__).parents[2] / 'deadly.py'}:deadly"
WHOLE = {"utterances": 3, "codes": 3, "examples": 3, "totals": 1}


def rows(root: Path, query: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in select(root, query).to_pylist()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "audio", a="pause one three", b="pause six seven eleven", c="pause eleven")
    return tmp_path / "root"


@contextmanager
def another_run(cpus: int) -> Iterator[None]:
    """Holds so many of the cluster's two CPUs."""
    import ray

    let_go()

    class Worker:
        def ready(self) -> None: ...

    workers: list[Any] = [ray.remote(Worker).options(num_cpus=1).remote() for _ in range(cpus)]
    ray.get([worker.ready.remote() for worker in workers])
    yield
    for worker in workers:
        ray.kill(worker)


@pytest.mark.parametrize(
    ("what", "keys", "says"),
    [
        ("crashes", "", "alone with it, the worker died: %"),
        pytest.param(
            "hangs",
            "shard_timeout_seconds = 6.0\n",
            "alone with it, the worker was stuck for more than 6 s, and was %",
            marks=pytest.mark.slow,
        ),
        pytest.param("starves", "", "alone with it, MemoryError: no room for 1 TiB", marks=pytest.mark.slow),
    ],
)
def test_a_poison_row_is_found_and_dropped_and_its_shard_is_made(
    pipeline: Run, root: Path, capsys: pytest.CaptureFixture[str], what: str, keys: str, says: str
) -> None:
    assert pipeline(settings=[f"codes.poison=b#2 {what}"], keys=f"retries = 0\n{keys}") == WHOLE
    assert rows(root, "select utterance_id, dropped, num_frames from codes where utterance_id[1] = 'b'") == [
        ("b#1", None, 3),
        ("b#2", "poison", None),
        ("b#3", None, 6),
    ], "in their order"
    assert rows(root, f"select count(*) from codes where detail like '{says}'") == [(1,)]
    assert "codes/b: b#2 is dropped as poison: alone with it" in capsys.readouterr().err
    state = "failed" if what == "starves" else "crashed"
    attempts = rows(root, "select attempt, state from runs where table_name = 'codes' and shard = 'b' order by attempt")
    assert attempts == [(1, state), (2, "made")]
    assert pipeline() == {}, "the shard is current"


@pytest.mark.slow
def test_a_poison_file_or_recording_costs_itself_and_no_sample_is_lost(pipeline: Run, tmp_path: Path) -> None:
    for name in ("a", "b_deadly", "c", "d_endless", "e"):
        audio(tmp_path / "audio" / f"{name}.wav").with_suffix(".txt").write_text("Said.")
    assert pipeline(recipe=DEADLY, keys="retries = 0\n") == {"recordings": 1, "utterances": 1}
    root = tmp_path / "root"
    assert rows(root, "select recording_id, dropped, sha256 is null from recordings order by all") == [
        ("a", None, False),
        ("b_deadly", "poison", True),
        ("c", None, False),
        ("d_endless", None, False),
        ("e", None, False),
    ]
    assert rows(root, "select utterance_id, dropped, seconds from utterances order by all") == [
        ("a#0-32000", None, 2.0),
        ("c#0-32000", None, 2.0),
        ("d_endless#0-32000", "poison", 2.0),
        ("e#0-32000", None, 2.0),
    ]


@pytest.mark.slow
def test_poison_is_sought_after_the_last_retry_and_not_before(pipeline: Run, root: Path) -> None:
    pipeline(settings=["codes.poison=c#1 crashes"], until="codes", keys="retries = 1\n")
    states = rows(root, "select attempt, state from runs where table_name = 'codes' and shard = 'c' order by attempt")
    assert states == [(1, "crashed"), (2, "crashed"), (3, "made")]


@pytest.mark.slow
def test_what_crashes_over_every_row_is_no_poison(pipeline: Run, root: Path) -> None:
    with pytest.raises(WorkFailed, match=r"codes/b: the worker died.*; at least 3 of its 3 rows do that alone"):
        pipeline(settings=["codes.poison=every crashes"], until="codes", keys="retries = 0\n", only=["codes/b"])
    assert rows(root, "select shard, error like '%do that alone, the first b#1' from failures") == [("b", True)]


def test_a_worker_that_failed_for_no_reason_of_its_shard_is_replaced(pipeline: Run, root: Path, tmp_path: Path) -> None:
    settings = [f"codes.breaks={tmp_path / 'broken'}"]
    assert pipeline(settings=settings, keys="workers = 1\nretries = 1\n") == WHOLE
    failed = rows(root, "select shard, attempt, error from runs where state = 'failed'")
    assert [(attempt, error) for _, attempt, error in failed] == [
        (1, "RuntimeError: CUDA error: device-side assert triggered")
    ]


class Nodes:
    """A cluster whose only GPU is on another machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        import ray

        self.asked = 0
        self.real = ray.nodes
        monkeypatch.setattr(ray, "nodes", self.told)
        monkeypatch.setenv("VALLE_DEVICE", "auto")
        monkeypatch.setenv("VALLE_RAY_ADDRESS", address)

    def told(self) -> list[dict[str, Any]]:
        self.asked += 1
        return [*self.real(), {"Alive": True, "Resources": {"CPU": 0.0, "GPU": 1.0}}]


def test_with_auto_the_cluster_is_asked_for_a_device_and_not_this_machine(
    pipeline: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = Nodes(monkeypatch, address="auto")
    pipeline(until="codes")
    assert rows(root, "select distinct table_name, device from runs order by all") == [
        ("codes", "cuda"),
        ("utterances", "cpu"),
    ], "what has no device works on a CPU"
    asked = nodes.asked
    assert pipeline(until="codes") == {}
    assert nodes.asked == asked, "without work, nobody is asked"


def test_a_cluster_of_this_machine_alone_needs_a_torch_that_knows_cuda(
    pipeline: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Nodes(monkeypatch, address="local")
    monkeypatch.setattr("flows.engine.workers.device_here", lambda _site: "cpu")
    pipeline(until="codes")
    assert rows(root, "select distinct device from runs") == [("cpu",)]
    monkeypatch.setattr("flows.engine.workers.device_here", lambda _site: "cuda")
    pipeline(until="codes", settings=["codes.step=2"])
    assert rows(root, "select distinct device from runs order by all") == [("cpu",), ("cuda",)]


@pytest.mark.slow
def test_a_cluster_without_room_is_one_sentence_after_a_while(pipeline: Run, root: Path) -> None:
    with another_run(cpus=2), pytest.raises(WorkFailed) as error:
        pipeline(keys="worker_wait_seconds = 2.0\nretries = 0\n")
    assert "had no room for a worker of 1 CPUs and 0 GPUs within 2 s; something else holds it" in str(error.value)
    assert rows(root, "select count(*) from failures") == [(3,)]
    assert pipeline() == WHOLE, "when there is room again, it goes on"


def test_a_ray_of_this_machine_whose_node_is_gone_is_not_waited_for(
    pipeline: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.engine.workers._PATIENCE", 0.5)
    monkeypatch.setattr("flows.engine.workers.room", lambda *_: 1)  # as it was when the run began
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": False, "Resources": {}}])
    with another_run(cpus=2), pytest.raises(WorkFailed, match="this machine's Ray is gone: its node was killed"):
        pipeline(keys="retries = 0\n")


def test_with_less_room_than_there_seems_to_be_a_run_goes_on_with_fewer_workers(
    pipeline: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.engine.workers._GRACE", 1.0)
    with another_run(cpus=1):
        assert pipeline() == WHOLE


def test_a_cluster_that_starts_machines_is_asked_for_more_than_it_has(ray_here: None) -> None:
    from flows.engine.site import Site
    from flows.engine.workers import Workers

    large = Resources(cpus=4)  # the cluster has two
    with pytest.raises(Mistake, match="has no room for one"):
        Workers(Site(ray_address="auto")).pool("codes", large, 10)
    growing = Workers(Site(ray_address="auto", grows_to=3))
    assert [growing.pool("codes", large, number).size for number in (2, 10)] == [2, 3]
    assert Workers(Site(ray_address="auto", grows_to=1)).pool("codes", Resources(), 10).size == 2, (
        "what is there counts"
    )


def test_a_stage_without_room_is_said_before_anything_is_made(pipeline: Run, root: Path) -> None:
    with pytest.raises(
        Mistake, match="a worker of codes needs 64 CPUs and 0 GPUs, and the cluster at local has no room"
    ):
        pipeline(recipe=f"{Path(__file__).parents[2] / 'toy.py'}:wide")
    assert rows(root, "from runs") == []
    assert pipeline(recipe=f"{Path(__file__).parents[2] / 'toy.py'}:wide", until="utterances") == {"utterances": 3}
