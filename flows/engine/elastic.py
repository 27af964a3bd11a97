"""Elastic training: a group of Ray Train's workers that grows when nodes join.

A group that grows begins anew from the last state, so it does that just after one was saved: it loses the steps of a
second or two, and has always got further than the group before it. It has as many workers as share out the batches of
a step evenly. Ray's own policy knows neither; it also hears of a node up to twenty seconds late, and counts on what
others hold.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ResizeDecision, ScalingPolicy
from ray.util.placement_group import placement_group, remove_placement_group

from tasks.training.worker import shared_out
from warehouse import working_copy

_PATIENCE, _MOMENT = 5.0, 1.0  # seconds in which Ray finds a place, where there is one: before a group, beside one


class EvenShares(ScalingPolicy):  # type: ignore[misc]
    """How many workers a group has: what its `ScalingConfig` says at most, as far as there is room."""

    def __init__(self, scaling_config: ScalingConfig, batches: int, saves: Path) -> None:
        super().__init__(scaling_config)
        self._batches, self._saves = batches, saves
        self._looked = float("-inf")
        self._last: str | None = None  # the state that there was when there came to be room for more

    def make_decision_for_non_running_worker_group(self) -> Any:
        """As many as the cluster has room for, without those that do not get it soon: others hold it, or it is gone."""
        self._maybe_send_resource_request()
        wanted = self._room(ray.cluster_resources())
        while wanted > 1 and not self._fits(wanted, _PATIENCE):
            wanted = shared_out(self._batches, wanted - 1)
        return self._resized(wanted)

    def make_decision_for_running_worker_group(self, worker_group_state: Any, worker_group_status: Any) -> Any:
        """More, once a state was saved since there is room for them. Fewer never: Ray sees by itself who is lost."""
        self._maybe_send_resource_request()
        there, now, config = worker_group_state.num_workers, time.monotonic(), self.scaling_config
        if there == config.max_workers or now - self._looked < config.elastic_resize_monitor_interval_s:
            return NoopDecision()
        self._looked = now
        wanted = self._room(ray.available_resources(), there)
        if wanted <= there:
            self._last = None
            return NoopDecision()
        try:
            newest = working_copy.newest(self._saves)
        except OSError:  # an object store that does not answer now
            return NoopDecision()
        if self._last is None:
            self._last = newest
        if newest == self._last:
            return NoopDecision()
        self._last = newest
        return self._resized(wanted) if self._fits(wanted - there, _MOMENT) else NoopDecision()

    def _room(self, resources: Mapping[str, float], there: int = 0) -> int:
        """How many workers may share out a step, with those that are there and what others have room for."""
        more = int(resources.get("GPU" if self.scaling_config.use_gpu else "CPU", 0))
        return shared_out(self._batches, max(1, min(self.scaling_config.max_workers, there + more)))

    def _fits(self, num_workers: int, seconds: float) -> bool:
        """Whether Ray finds a place for so many: parts of two devices are none, nor is a node that has just died."""
        held = placement_group([self.scaling_config._resources_per_worker_not_none] * num_workers)
        try:
            return bool(held.wait(seconds))
        finally:
            remove_placement_group(held)

    def _resized(self, num_workers: int) -> ResizeDecision:
        self._last = None
        return ResizeDecision(num_workers, self.scaling_config._resources_per_worker_not_none)

    def _get_num_workers_for_resource_request(self) -> int:
        """What an autoscaler is asked for."""
        return int(self.scaling_config.max_workers)


class ElasticTrainer(TorchTrainer):  # type: ignore[misc]
    """Ray's trainer, with a policy that is not of Ray's own two."""

    def __init__(self, *words: Any, policy: ScalingPolicy, **settings: Any) -> None:
        super().__init__(*words, **settings)
        self._policy = policy

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        return super()._initialize_and_run_controller(**{**parts, "scaling_policy": self._policy})
