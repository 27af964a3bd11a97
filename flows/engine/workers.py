"""Ray actors that make shards.

A worker process outlives its shards, so a stage finds its model warm. Ray never
retries: a dead worker is replaced here, its shard fails, and the engine decides
whether to try again. Ray is started by the first shard, never before.
`ray.util.ActorPool` hands out a task that does nothing in 0.9 ms where this takes 1.0; it replaces no
worker, knows no limits of time, and has no room to give from one stage to the next.
"""

import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from types import ModuleType
from typing import Any
from uuid import uuid4

from flows.engine.placement import has_gpu, room
from flows.engine.shards import Failure, Job, make_shard, one_line, record_attempt, rehearse
from flows.engine.site import Site, device_here
from flows.machine.ray_start import start_ray
from warehouse.errors import Mistake
from warehouse.ledger import CRASHED, FAILED
from warehouse.stage import Resources
from warehouse.store import Artifact

_GONE = "this machine's Ray is gone: its node was killed, perhaps for want of memory; run again, which starts another"
_PATIENCE, _GRACE = 5.0, 30.0  # seconds in which a process may start, and does, where there is room for it


class Worker:
    """What runs in a worker's process."""

    def ready(self) -> None:
        """Nothing; it returns once the process is there."""

    def make(self, pickled: bytes, flow_run_id: str | None, attempt: int) -> Artifact | Failure:
        """Make one shard of a pickled job."""
        from ray import cloudpickle

        return make_shard(cloudpickle.loads(pickled), flow_run_id, attempt)

    def rehearse(self, pickled: bytes) -> str | None:
        """Call the stage of a pickled job, and write nothing."""
        from ray import cloudpickle

        return rehearse(cloudpickle.loads(pickled))


class _Lost(Exception):
    """A worker did not come back with what it was asked for. It crashed, or it raised before it could begin."""

    def __init__(self, words: str, *, crashed: bool) -> None:
        super().__init__(words)
        self.crashed = crashed


class NoRoom(Exception):
    """There is not a single worker to be had."""


class Workers:
    """The cluster of a run, and the workers that it has there, made when first needed.

    A stage has a `Pool` of them. What is idle goes from a pool to the next with the same needs, or gives its room to
    one with others. A worker that failed for no lasting reason may be what is broken, with its device or its memory,
    so the next attempt gets a fresh process.
    """

    def __init__(self, site: Site, module: ModuleType | None = None) -> None:
        self.site = site
        self._module = module  # a recipe file's own: its classes travel by value
        self.changed = threading.Condition()  # guards all below, and tells of a worker that got free
        self.idle: defaultdict[Resources, list[Any]] = defaultdict(list)
        self.there: Counter[Resources] = Counter()  # workers, by their needs
        self.asked_for: Counter[Resources] = Counter()  # pools that may still need a worker, by its needs
        self.num_busy = 0
        self._started = False
        self._ours = False  # whether Ray was started here, and not by whoever called
        self.stopped = False  # whether the run is being interrupted, so that nothing more is begun

    @property
    def device(self) -> str:
        """The device that workers have: the site's, or where that is `auto`, `cuda` if a node of the cluster has one.

        A local cluster is this machine, whose torch has to know CUDA as well.
        """
        if self.site.device != "auto":
            return self.site.device
        if self.site.ray_address == "local" and device_here(self.site) == "cpu":
            return "cpu"
        self._start()
        import ray

        return "cuda" if has_gpu(ray.nodes()) else "cpu"

    def check_room(self, table: str, needs: Resources, beside: Resources | None = None) -> int:
        """How many workers with these needs there is room for, with room left for some of other needs `beside` them.

        Raises:
            Mistake: there is none for a single one.
        """
        self._start()
        import ray

        there = max(room(ray.nodes(), needs, self.site.train_workers, beside), self._to_come)
        if there < 1:
            raise Mistake(
                f"a worker of {table} needs {needs.cpus:g} CPUs and {needs.gpus:g} GPUs, and the cluster at "
                f"{self.site.ray_address} has no room for one; see `device` and `gpus` of the site, and whether its "
                "nodes are there"
            )
        return there

    def pool(self, table: str, needs: Resources, num_jobs: int, beside: Resources | None = None) -> "Pool":
        """The workers of a stage, as many at a time as there is room for and it has shards."""
        there = self.check_room(table, needs, beside)
        most = min(there, self.site.workers or there)
        return Pool(self, needs, most=most, size=max(1, min(num_jobs, most)))

    @property
    def _to_come(self) -> int:
        """How many workers a cluster may come to have room for: one that waits has it start machines."""
        return 0 if self.site.ray_address == "local" else self.site.grows_to or 0

    def close(self) -> None:
        """Let all workers go, and Ray with them where it was started here."""
        if self._started:
            import ray

            self.let_go(list(self.idle))
            if self._ours:
                ray.shutdown()
            self._started = False

    def let_go(self, kinds: Iterable[Resources]) -> None:
        """End the idle workers with these needs."""
        import ray

        with self.changed:
            for needs in kinds:
                idle = self.idle[needs]
                self.there[needs] -= len(idle)
                for worker in idle:
                    ray.kill(worker)
                idle.clear()

    def _start(self) -> None:
        if self._started:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")  # rather than 60: a machine may be busy
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


class Pool:
    """The workers of one stage, all alike. Threads share it: each waits for a worker that is free."""

    def __init__(self, workers: Workers, needs: Resources, most: int, size: int) -> None:
        self.size = size  # shards that are made at a time
        self.needs = needs
        self._workers = workers
        self._most = most  # workers of these needs, over all pools
        self._no_room: str | None = None  # what a thread of this stage has waited for in vain
        self._is_open = True
        workers.asked_for[needs] += 1

    @property
    def site(self) -> Site:
        """The run's."""
        return self._workers.site

    @property
    def stopped(self) -> bool:
        """Whether the run is being interrupted."""
        return self._workers.stopped

    def close(self) -> None:
        """Others may have its workers' room, if they need it; a shard that is tried again still gets one."""
        if self._is_open:
            self._workers.asked_for[self.needs] -= 1
        self._is_open = False

    def make(self, job: Job, flow_run_id: str | None, attempt: int) -> Artifact | Failure:
        """Make one shard in a worker; waits for one to be free."""
        begun = time.time()
        limit = (
            None if job.stage.makes.files else self.site.shard_timeout_seconds
        )  # a training has all the time it needs
        try:
            made: Artifact | Failure = self._ask("make", job, flow_run_id, attempt, limit=limit)
        except _Lost as lost:
            record_attempt(job, uuid4().hex, flow_run_id, attempt, begun, CRASHED, error=str(lost))
            return Failure(job.name, str(lost), may_pass=True, crashed=lost.crashed)
        except NoRoom as reason:
            record_attempt(job, uuid4().hex, flow_run_id, attempt, begun, FAILED, error=str(reason))
            return Failure(job.name, str(reason), may_pass=False)
        return made

    def rehearse(self, job: Job, limit: float) -> str | None:
        """What calling a job's stage does to a worker within so many seconds; None where it survives."""
        try:
            starved: str | None = self._ask("rehearse", job, limit=limit)
        except _Lost as lost:
            return str(lost) if lost.crashed else None
        return starved

    def _ask(self, what: str, job: Job, *words: Any, limit: float | None) -> Any:
        """The answer of a worker; one that has not come back with a whole one is not asked again."""
        import ray
        from ray import cloudpickle
        from ray.exceptions import RayError, RayTaskError

        pickled = cloudpickle.dumps(job)
        worker = self._take()
        sound = False
        try:
            answer = ray.get(getattr(worker, what).remote(pickled, *words), timeout=limit)
            sound = not isinstance(answer, str) and not (isinstance(answer, Failure) and answer.may_pass)
        except RayError as error:  # killed, out of memory, stuck, or it could not unpickle its job
            raise _Lost(f"the worker {_end(error, limit)}", crashed=not isinstance(error, RayTaskError)) from error
        finally:
            self._give_back(worker, sound)
        return answer

    def _take(self) -> Any:
        """A worker that is idle, else a new one, where there may be one more."""
        workers, needs = self._workers, self.needs
        with workers.changed:
            while not workers.idle[needs] and workers.there[needs] >= self._most:
                self._go_on()
                workers.changed.wait(1.0)
            self._go_on()
            if workers.idle[needs]:
                workers.num_busy += 1
                return workers.idle[needs].pop()
            workers.there[needs] += 1  # from here on it counts
        try:
            worker = self._new()
        except BaseException:
            with workers.changed:
                workers.there[needs] -= 1
                workers.changed.notify_all()
            raise
        with workers.changed:
            workers.num_busy += 1
        return worker

    def _go_on(self) -> None:
        if self.stopped:
            raise NoRoom("the run is being interrupted")

    def _new(self) -> Any:
        """A new worker once its process is there; or one that gets idle while the cluster makes no room for it.

        Raises:
            NoRoom: there was no room for so long, and there is no other worker.
        """
        import ray

        workers, needs, site = self._workers, self.needs, self.site
        workers.let_go([other for other in list(workers.idle) if other != needs and not workers.asked_for[other]])
        options = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "max_restarts": 0, "max_task_retries": 0}
        worker: Any = ray.remote(Worker).options(**options).remote()
        ready, begun, waits = worker.ready.remote(), time.monotonic(), site.worker_wait_seconds
        while not ray.wait([ready], timeout=min(1.0, waits))[0]:
            waited = time.monotonic() - begun
            if waited > _PATIENCE:  # nobody keeps room with nothing to do
                workers.let_go([other for other in list(workers.idle) if other != needs])
                if site.ray_address == "local" and not any(node["Alive"] for node in ray.nodes()):
                    self._no_room = _GONE
            with workers.changed:
                idle = workers.idle[needs]
                other = idle.pop() if idle and waited > min(_GRACE, waits) else None
                if waited > waits and not other and not workers.num_busy and not self._no_room:
                    self._no_room = (
                        f"the cluster at {site.ray_address} had no room for a worker of {needs.cpus:g} CPUs and "
                        f"{needs.gpus:g} GPUs within {waits:g} s; something else holds it, perhaps another run: try "
                        "again when that is done, or raise `worker_wait_seconds` of the site"
                    )
                if other:
                    workers.there[needs] -= 1
            if other or self._no_room:
                ray.kill(worker)
            if other:
                return other
            if self._no_room:
                raise NoRoom(self._no_room)
        return worker

    def _give_back(self, worker: Any, sound: bool) -> None:
        """Keep a worker for the next shard, unless it is unsound, or its room is for a pool with other needs."""
        import ray

        workers, needs = self._workers, self.needs
        with workers.changed:
            workers.num_busy -= 1
            asked_for = +workers.asked_for
            kept = sound and (needs in asked_for or not asked_for)
            if kept:
                workers.idle[needs].append(worker)
            else:
                workers.there[needs] -= 1
            workers.changed.notify_all()
        if not kept:
            ray.kill(worker)


def _end(error: Exception, limit: float | None) -> str:
    """How a worker ended, as the end of a sentence."""
    from ray.exceptions import GetTimeoutError, OutOfMemoryError

    if isinstance(error, GetTimeoutError):
        return f"was stuck for more than {limit:g} s, and was killed"
    words = one_line(getattr(error, "cause", None) or error)
    if isinstance(error, OutOfMemoryError):
        return f"took more memory than there is, and was killed: {words}"
    return f"died: {words.partition('Worker exit detail: ')[2] or words}"
