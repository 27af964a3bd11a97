"""How many workers a training has: those that share out a step evenly, and more only just after a state was saved."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


class Cluster:
    """What Ray would say of a cluster, and a group on it that a policy for four batches looks after."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, use_gpu: bool = False):
        import ray
        from ray.train import ScalingConfig  # which takes a second to import

        from flows.engine.elastic import EvenShares

        self.states, self.kind = folder / "states", "GPU" if use_gpu else "CPU"
        self.there = self.free = 0.0
        self.fits = 99  # workers that Ray would find a place for
        monkeypatch.setattr(ray, "cluster_resources", lambda: {self.kind: self.there, "memory": 1e9})
        monkeypatch.setattr(ray, "available_resources", lambda: {self.kind: self.free, "memory": 1e9})
        config = ScalingConfig(num_workers=(1, 4), use_gpu=use_gpu, elastic_resize_monitor_interval_s=0.0)
        self.policy = EvenShares(config, 4, self.states)
        monkeypatch.setattr(self.policy, "_maybe_send_resource_request", lambda: None)
        monkeypatch.setattr(self.policy, "_fits", lambda num_workers, _: num_workers <= self.fits)

    def begins_with(self) -> int:
        decision = self.policy.make_decision_for_non_running_worker_group()
        assert decision.resources_per_worker == {self.kind: 1}
        return int(decision.num_workers)

    def grows_from(self, num_workers: int) -> int | None:
        """How many it is to have instead, if it is."""
        decision: Any = self.policy.make_decision_for_running_worker_group(
            SimpleNamespace(num_workers=num_workers), None
        )
        return getattr(decision, "num_workers", None)

    def save(self, step: int) -> None:
        self.states.mkdir(exist_ok=True)
        (self.states / f".{step:09d}.pt.unfinished").touch()
        (self.states / f"{step:09d}.pt").touch()


@pytest.mark.parametrize(("there", "workers"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (99, 4)])
@pytest.mark.parametrize("use_gpu", [False, True])
def test_it_begins_with_as_many_as_share_out_a_step_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: int, workers: int, use_gpu: bool
) -> None:
    cluster = Cluster(tmp_path, monkeypatch, use_gpu=use_gpu)
    cluster.there = there
    assert cluster.begins_with() == workers


def test_it_begins_without_those_that_find_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(tmp_path, monkeypatch)
    cluster.there = 4
    for fits, workers in ((3, 2), (1, 1), (0, 1)):
        cluster.fits = fits
        assert cluster.begins_with() == workers, "of a node that has died, or that others hold"


def test_it_does_not_grow_into_room_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as half a GPU here and half a GPU there."""
    cluster = Cluster(tmp_path, monkeypatch)
    cluster.free, cluster.fits = 1, 0
    assert cluster.grows_from(1) is None
    cluster.save(10)
    assert cluster.grows_from(1) is None
    cluster.fits = 1
    assert cluster.grows_from(1) is None, "the last state was of before it was asked for"
    cluster.save(20)
    assert cluster.grows_from(1) == 2


def test_it_grows_once_a_state_was_saved_since_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(tmp_path, monkeypatch)
    cluster.save(10)
    assert cluster.grows_from(1) is None
    cluster.save(20)
    assert cluster.grows_from(1) is None, "no room"
    cluster.free = 1
    assert cluster.grows_from(1) is None, "the last state is of long ago"
    assert cluster.grows_from(1) is None
    (cluster.states / ".000000030.pt.unfinished").touch()
    assert cluster.grows_from(1) is None, "it is not whole"
    cluster.save(30)
    assert cluster.grows_from(1) == 2
    cluster.free = 2
    assert cluster.grows_from(2) is None, "nothing was saved since it has grown"
    cluster.save(40)
    assert cluster.grows_from(2) == 4


def test_the_first_state_is_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(tmp_path, monkeypatch)
    cluster.free = 1
    assert cluster.grows_from(1) is None
    cluster.save(10)
    assert cluster.grows_from(1) == 2


def test_room_for_an_uneven_share_is_left_and_nobody_is_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(tmp_path, monkeypatch)
    cluster.free = 1
    for step in range(10, 40, 10):
        assert cluster.grows_from(2) is None
        cluster.save(step)
    cluster.free = -2
    assert cluster.grows_from(2) is None


def test_a_store_that_does_not_answer_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from warehouse import working_copy

    def away(_: Path) -> str:
        raise OSError("away")

    cluster = Cluster(tmp_path, monkeypatch)
    cluster.free = 1
    with monkeypatch.context() as patched:
        patched.setattr(working_copy, "newest", away)
        assert cluster.grows_from(1) is None
    assert cluster.grows_from(1) is None
    cluster.save(10)
    assert cluster.grows_from(1) == 2
