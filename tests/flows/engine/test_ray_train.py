"""What a group of training workers fails of is the first cause; one that nobody can place is counted anew."""

from pathlib import Path
from typing import Any

import pytest

from flows.engine.ray_train import RayTrain, _cause
from flows.engine.shards import LASTING_ERRORS
from model.training.batches import NoExamples


def test_a_lasting_error_of_any_worker_comes_before_the_lost_connections_of_the_others() -> None:
    lost, cause = RuntimeError("connection closed by peer"), NoExamples("worker 1 of 2 has no example")
    assert _cause({0: lost, 1: cause}) is cause
    assert isinstance(cause, LASTING_ERRORS)


def test_without_one_it_is_the_first_worker_s() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    assert _cause({1: second, 0: first}) is first
    assert _cause({}) is None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """How many workers, or how many at least and at most, each trainer was to have; none gets more than one."""
    from ray.train import ControllerError
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

    asked: list[Any] = []

    class Trainer:
        def __init__(self, *_: object, scaling_config: Any, run_config: Any, **__: object) -> None:
            asked.append(scaling_config.num_workers)
            assert run_config.failure_config.controller_failure_limit == 0, "or it does not come back"

        def fit(self) -> None:
            if asked in ([2], [(1, 2)]):
                raise ControllerError(WorkerGroupStartupTimeoutError(2))

    monkeypatch.setattr("flows.engine.elastic.ElasticTrainer", Trainer)  # first: it is one of the other's
    monkeypatch.setattr("ray.train.torch.TorchTrainer", Trainer)
    return asked


def test_a_group_that_waits_for_a_node_that_has_died_is_counted_again(
    monkeypatch: pytest.MonkeyPatch, asked: list[Any]
) -> None:
    """Ray's own count has such a node for some seconds more, and its controller would wait without end."""
    import ray

    there = iter([{"CPU": 2.0}, {"CPU": 1.0}])
    monkeypatch.setattr(ray, "cluster_resources", lambda: next(there))
    RayTrain(2, use_gpu=False, storage=Path("nowhere"))(lambda _: None, {}, 2, Path("nowhere"))
    assert asked == [2, 1]


def test_where_nodes_may_join_the_number_is_left_to_the_policy(asked: list[Any]) -> None:
    train = RayTrain(3, use_gpu=False, storage=Path("nowhere"), grows=True)
    train(lambda _: None, {}, 2, Path("nowhere"))
    assert asked == [(1, 2), (1, 2)], "each time within the most that share out two batches evenly"


def test_where_one_worker_does_all_there_is_nothing_to_grow_to(
    monkeypatch: pytest.MonkeyPatch, asked: list[Any]
) -> None:
    import ray

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    train = RayTrain(8, use_gpu=False, storage=Path("nowhere"), grows=True)
    train(lambda _: None, {}, 1, Path("nowhere"))
    assert asked == [1]
