"""What a group of training workers fails of is the first cause; one that nobody can place is counted anew."""

from pathlib import Path

import pytest

from flows.engine.shards import LASTING_ERRORS
from flows.engine.workers import RayTrain, _cause
from model.training.batches import NoExamples


def test_a_lasting_error_of_any_worker_comes_before_the_lost_connections_of_the_others():
    lost, cause = RuntimeError("connection closed by peer"), NoExamples("worker 1 of 2 has no example")
    assert _cause({0: lost, 1: cause}) is cause
    assert isinstance(cause, LASTING_ERRORS)


def test_without_one_it_is_the_first_worker_s():
    first, second = RuntimeError("a"), RuntimeError("b")
    assert _cause({1: second, 0: first}) is first
    assert _cause({}) is None


def test_a_group_that_waits_for_a_node_that_has_died_is_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own count has such a node for some seconds more, and its controller would wait without end."""
    import ray
    from ray.train import ControllerError
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

    there, asked = iter([{"CPU": 2.0}, {"CPU": 1.0}]), []

    class Trainer:
        def __init__(self, *_: object, scaling_config: object, run_config: object, **__: object) -> None:
            self.num_workers = scaling_config.num_workers
            assert run_config.failure_config.controller_failure_limit == 0, "or it does not come back"

        def fit(self) -> None:
            asked.append(self.num_workers)
            if self.num_workers == 2:
                raise ControllerError(WorkerGroupStartupTimeoutError(2))

    monkeypatch.setattr(ray, "cluster_resources", lambda: next(there))
    monkeypatch.setattr("ray.train.torch.TorchTrainer", Trainer)
    RayTrain(2, use_gpu=False, storage=Path("nowhere"))(lambda _: None, {}, 2)
    assert asked == [2, 1]
