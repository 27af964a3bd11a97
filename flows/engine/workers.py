"""Ray actors that make shards, and Ray Train for what is trained.

A worker process outlives its shards, so a stage finds its model warm. Ray never
retries: a dead worker is replaced here, its shard fails, and the engine decides
whether to try again. Ray is started by the first shard, never before.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

from flows.engine.shards import LASTING_ERRORS, Failure, Job, make_shard, one_line, record_attempt
from flows.engine.site import Site
from flows.machine.ray_start import start_ray
from warehouse.errors import Mistake
from warehouse.ledger import CRASHED
from warehouse.stage import Resources
from warehouse.store import Artifact


class Worker:
    """What runs in a worker's process."""

    def make(self, pickled: bytes, flow_run_id: str | None, attempt: int) -> Artifact | Failure:
        """Make one shard of a pickled job."""
        from ray import cloudpickle

        return make_shard(cloudpickle.loads(pickled), flow_run_id, attempt)


class Workers:
    """As many workers as the site has room for, all alike, made when first needed.

    Threads share it: each waits for a worker that is free. Stages with other needs
    get other workers; those before them are let go.
    """

    def __init__(self, site: Site, module: ModuleType | None = None) -> None:
        self.site = site
        self._module = module  # a recipe file's own: its classes travel by value
        self._needs = Resources()
        self._idle: list[Any] = []
        self._free = threading.Semaphore(1)
        self._lock = threading.Lock()
        self._started = False
        self._ours = False  # whether Ray was started here, and not by whoever called

    def prepare(self, needs: Resources, num_jobs: int) -> int:
        """Make ready for a stage. Returns how many shards it will make at a time."""
        self._start()
        with self._lock:
            if needs != self._needs:
                self._let_go()
                self._needs = needs
        room = self._room(needs)
        if room < 1:
            raise Mistake(
                f"a worker needs {needs.cpus:g} CPUs and {needs.gpus:g} GPUs, and the cluster at "
                f"{self.site.ray_address} has no room for one; see `device` and `gpus` of the site"
            )
        size = min(num_jobs, room)
        self._free = threading.Semaphore(size)
        return size

    def make(self, job: Job, flow_run_id: str | None, attempt: int) -> Artifact | Failure:
        """Make one shard in a worker; waits for one to be free."""
        import ray
        from ray import cloudpickle
        from ray.exceptions import RayError

        begun = time.time()
        with self._free:
            worker = self._take()
            try:
                made: Artifact | Failure = ray.get(worker.make.remote(cloudpickle.dumps(job), flow_run_id, attempt))
            except RayError as error:  # killed, out of memory, or it could not unpickle its job
                ray.kill(worker)
                words = f"the worker died: {one_line(getattr(error, 'cause', None) or error)}"
                record_attempt(job, uuid4().hex, flow_run_id, attempt, begun, CRASHED, error=words)
                return Failure(job.name, words, may_pass=True)
            with self._lock:
                self._idle.append(worker)
            return made

    def close(self) -> None:
        """Let all workers go, and Ray with them where it was started here."""
        if self._started:
            import ray

            self._let_go()
            if self._ours:
                ray.shutdown()
            self._started = False

    def _start(self) -> None:
        if self._started:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")  # rather than 60: a machine may be busy
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # seconds a report waits
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as Ray will do by itself; else it warns
        import ray
        from ray import cloudpickle

        if not ray.is_initialized():
            local = self.site.ray_address == "local"
            room = {"object_store_memory": self.site.object_store_bytes, "include_dashboard": False} if local else {}
            start_ray(self.site.ray_address, **room)
            self._ours = True
        if self._module:
            cloudpickle.register_pickle_by_value(self._module)
        self._started = True

    def _room(self, needs: Resources) -> int:
        """How many workers with these needs fit, by CPUs, GPUs and the site's own word."""
        import ray

        there = ray.cluster_resources()
        limits = [self.site.workers or int(there.get("CPU", 1))]
        if needs.cpus:
            limits.append(int(there.get("CPU", 1) / needs.cpus))
        if needs.gpus:
            limits.append(int(there.get("GPU", 0) / needs.gpus))
        if not needs.cpus:  # it only launches others: as many at a time as there is room for what they launch
            limits.append(max(1, int((there.get("GPU") or there.get("CPU", 1)) / self.site.train_workers)))
        return min(limits)

    def _take(self) -> Any:
        import ray

        with self._lock:
            if self._idle:
                return self._idle.pop()
        options = {"num_cpus": self._needs.cpus, "num_gpus": self._needs.gpus, "max_restarts": 0, "max_task_retries": 0}
        return ray.remote(Worker).options(**options).remote()

    def _let_go(self) -> None:
        import ray

        for worker in self._idle:
            ray.kill(worker)
        self._idle.clear()


@dataclass(frozen=True)
class RayTrain:
    """Runs a training function in every worker of a Ray Train group, with torch.distributed set up between them."""

    num_workers: int  # at most: no more than the cluster has room for, or Ray would wait for ever
    use_gpu: bool
    storage: Path  # Ray's own notes; what is trained goes where the function puts it

    def __call__(self, function: Callable[[dict[str, Any]], None], config: dict[str, Any]) -> None:
        """Blocks until every worker has returned.

        Raises:
            Exception: a worker failed, this is why; what was saved is there for the next attempt.
        """
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
        from ray.train.torch import TorchTrainer

        room = int(ray.cluster_resources().get("GPU" if self.use_gpu else "CPU", 1))
        trainer = TorchTrainer(
            function,
            train_loop_config=config,
            scaling_config=ScalingConfig(num_workers=max(1, min(self.num_workers, room)), use_gpu=self.use_gpu),
            # A name of its own: under an old name Ray Train resumes from its own checkpoints, and ours are the truth.
            run_config=RunConfig(
                name=f"train-{uuid4().hex[:12]}",
                storage_path=str(self.storage),
                failure_config=FailureConfig(max_failures=0),
            ),
        )
        try:
            trainer.fit()
        except WorkerGroupError as error:
            raise _cause(error.worker_failures) or error from error


def _cause(failures: Mapping[int, Exception]) -> Exception | None:
    """Why workers failed: what another attempt would only meet again, before what the others made of it."""
    ranks = sorted(failures, key=lambda rank: (not isinstance(failures[rank], LASTING_ERRORS), rank))
    return failures[ranks[0]] if ranks else None
