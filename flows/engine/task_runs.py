"""Task runs: what Prefect sees of a stage, each a shard or a range of shards, and their retries.

A task run puts its shards into the queue and waits for them; each is one call of a worker. Prefect's retries are the
only ones; the last of them makes a shard that has crashed its worker without the rows that do it.
"""

from collections.abc import Callable
from concurrent.futures import wait
from functools import partial
from typing import Any

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE

from flows.engine.patience import Patience
from flows.engine.poison import make_without_poison
from flows.engine.shard_queue import FIRST, ShardQueue
from flows.engine.shards import Failure, Job
from flows.engine.workers import Pool
from warehouse.store import Artifact


class ShardFailed(Exception):
    """Some shards of a task run could not be made."""

    def __init__(self, failures: list[Failure], *, may_pass: bool) -> None:
        super().__init__("; ".join(f"{failure.name}: {failure.error}" for failure in failures))
        self.may_pass = may_pass


class Batch:
    """The shards of one task run, and which of them are made. A plain class: Prefect looks into dataclasses."""

    def __init__(
        self, jobs: list[Job], pool: Pool, queue: ShardQueue, patience: Patience, tell: Callable[[Artifact], None]
    ) -> None:
        self.jobs = jobs
        self.pool = pool
        self.tell = tell  # of each shard that is made
        self.queue = queue
        self.patience = patience
        self.made: dict[str, Artifact] = {}
        self.failed: dict[str, Failure] = {}  # by shard
        self.holds_back = False  # what is not begun waits until what has failed is retried

    @property
    def name(self) -> str:
        """Such as `codes/small-00017`, or `codes/small-00017..small-00034`."""
        first, last = self.jobs[0], self.jobs[-1]
        return first.name if first is last else f"{first.name}..{last.shard}"

    @property
    def failures(self) -> list[Failure]:
        """How some of them failed, in their order."""
        return [self.failed[job.shard] for job in self.jobs if job.shard in self.failed]

    @property
    def left(self) -> list[Job]:
        """Those that are not made, and could be."""
        done = self.made.keys() | {shard for shard, failure in self.failed.items() if not failure.may_pass}
        return [job for job in self.jobs if job.shard not in done]


def _worth_retrying(_task: Any, _task_run: Any, state: Any) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, ShardFailed) and error.may_pass


@task(cache_policy=NO_CACHE, persist_result=False, retry_condition_fn=_worth_retrying)
def make(batch: Batch) -> None:
    """Make the shards of a batch that are not made yet, those that failed first, unless their stage is given up."""
    flow_run_id, attempt = runtime.flow_run.id, int(runtime.task_run.run_count or 1)
    batch.holds_back = False
    works = [(_size(batch, job), partial(_try, batch, job, flow_run_id, attempt)) for job in batch.left]
    waiting = batch.queue.put(works)
    wait(waiting)
    for done in waiting:
        done.result()
    if batch.failed:
        goes_on = not (batch.patience.is_given_up or batch.pool.stopped)
        raise ShardFailed(batch.failures, may_pass=goes_on and any(failure.may_pass for failure in batch.failures))


def _size(batch: Batch, job: Job) -> float:
    """Where a shard comes in the queue: what is to be retried before all others."""
    return FIRST if job.shard in batch.failed else job.size


def _try(batch: Batch, job: Job, flow_run_id: str | None, attempt: int) -> None:
    """One attempt at a shard, once it is its turn, and unless it is better not begun."""
    pool, patience, is_last = batch.pool, batch.patience, attempt > batch.pool.site.retries
    if patience.is_given_up or pool.stopped or (batch.holds_back and job.shard not in batch.failed):
        return
    outcome = pool.make(job, flow_run_id, attempt)
    if isinstance(outcome, Failure) and outcome.crashed and is_last:
        outcome = make_without_poison(pool, job, outcome, flow_run_id, attempt + 1)
    patience.note(job.name, outcome, is_last=is_last)
    if isinstance(outcome, Failure):
        batch.failed[job.shard] = outcome
        batch.holds_back |= outcome.may_pass and not is_last and patience.looks_bad
    else:
        batch.failed.pop(job.shard, None)
        batch.made[job.shard] = outcome
        batch.tell(outcome)
