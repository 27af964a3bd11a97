"""Ray Train, for what is trained: its workers over all nodes, how many they are, and why they failed."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from flows.engine.shards import LASTING_ERRORS
from tasks.training.worker import shared_out

_LOOKS_APART = 1.0  # seconds between looks at whether a group may grow


@dataclass(frozen=True)
class RayTrain:
    """Runs a training function in every worker of a Ray Train group, with torch.distributed set up between them."""

    num_workers: int  # at most: no more than the cluster has room for, or Ray would wait for ever
    use_gpu: bool
    storage: Path  # Ray's own notes; what is trained goes where the function puts it
    grows: bool = False  # whether nodes may join, whose workers then train as well

    def __call__(
        self, function: Callable[[dict[str, Any]], None], config: dict[str, Any], batches: int, saves: Path
    ) -> None:
        """Blocks until every worker has returned; as many work as can share out the batches of a step evenly.

        Ray counts a node for some seconds after it has died, and would wait for its workers for ever. So whoever has
        waited in vain counts again.

        Args:
            function: what every worker runs, from the beginning or from what was saved last.
            config: what it is told.
            batches: of a step.
            saves: the folder where a file appears with each state that is saved.

        Raises:
            Exception: a worker failed, this is why; what was saved is there for the next attempt.
        """
        from ray.train import ControllerError, WorkerGroupError
        from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # between two looks at the workers
        while True:
            try:
                self._trainer(function, config, batches, saves).fit()
                return
            except ControllerError as error:
                if not isinstance(error.controller_failure, WorkerGroupStartupTimeoutError):
                    raise
            except WorkerGroupError as error:
                raise _cause(error.worker_failures) or error from error

    def _trainer(
        self, function: Callable[[dict[str, Any]], None], config: dict[str, Any], batches: int, saves: Path
    ) -> Any:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        # A name of its own: under an old name Ray Train resumes from its own checkpoints, and ours are the truth.
        run = RunConfig(
            name=f"train-{uuid4().hex[:12]}",
            storage_path=str(self.storage),
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
        )
        most = shared_out(batches, self.num_workers)
        if self.grows and most > 1:
            from flows.engine.elastic import ElasticTrainer, EvenShares

            scaling = ScalingConfig(
                num_workers=(1, most), use_gpu=self.use_gpu, elastic_resize_monitor_interval_s=_LOOKS_APART
            )
            policy = EvenShares(scaling, batches, saves)
            return ElasticTrainer(
                function, train_loop_config=config, scaling_config=scaling, run_config=run, policy=policy
            )
        room = int(ray.cluster_resources().get("GPU" if self.use_gpu else "CPU", 1))
        scaling = ScalingConfig(
            num_workers=shared_out(batches, max(1, min(self.num_workers, room))), use_gpu=self.use_gpu
        )
        return TorchTrainer(function, train_loop_config=config, scaling_config=scaling, run_config=run)


def _cause(failures: Mapping[int, Exception]) -> Exception | None:
    """Why workers failed: what another attempt would only meet again, before what the others made of it."""
    ranks = sorted(failures, key=lambda rank: (not isinstance(failures[rank], LASTING_ERRORS), rank))
    return failures[ranks[0]] if ranks else None
