"""Task runs: what Prefect sees of a stage, each a shard or a range of shards, and their retries.

Inside one, each shard is one call of a worker. Prefect's retries are the only ones; the last of them makes a shard
that has crashed its worker without the rows that do it.
"""

from typing import Any

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE

from flows.engine.patience import Patience
from flows.engine.poison import make_without_poison
from flows.engine.shards import Failure, Job
from flows.engine.workers import Workers
from warehouse.store import Artifact


class ShardFailed(Exception):
    """Some shards of a task run could not be made."""

    def __init__(self, failures: list[Failure], *, may_pass: bool) -> None:
        super().__init__("; ".join(f"{failure.name}: {failure.error}" for failure in failures))
        self.may_pass = may_pass


class Batch:
    """The shards of one task run, and which of them are made. A plain class: Prefect looks into dataclasses."""

    def __init__(self, jobs: list[Job], workers: Workers, patience: Patience) -> None:
        self.jobs = jobs
        self.workers = workers
        self.patience = patience
        self.made: dict[str, Artifact] = {}
        self.failures: list[Failure] = []

    @property
    def name(self) -> str:
        """Such as `codes/small-00017`, or `codes/small-00017..small-00034`."""
        first, last = self.jobs[0], self.jobs[-1]
        return first.name if first is last else f"{first.name}..{last.shard}"


def _worth_retrying(_task: Any, _task_run: Any, state: Any) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, ShardFailed) and error.may_pass


@task(cache_policy=NO_CACHE, persist_result=False, retry_condition_fn=_worth_retrying)
def make(batch: Batch) -> None:
    """Make the shards of a batch that are not made yet, one after the other, unless their stage is given up."""
    patience, attempt = batch.patience, int(runtime.task_run.run_count or 1)
    is_last = attempt > batch.workers.site.retries
    failed = {failure.name: failure for failure in batch.failures}
    for job in batch.jobs:
        before = failed.get(job.name)
        if job.shard in batch.made or (before and not before.may_pass):
            continue
        if patience.is_given_up or batch.workers.stopped:
            break
        outcome = batch.workers.make(job, runtime.flow_run.id, attempt)
        if isinstance(outcome, Failure) and outcome.crashed and is_last:
            outcome = make_without_poison(batch.workers, job, outcome, runtime.flow_run.id, attempt + 1)
        patience.note(job.name, outcome, is_last=is_last)
        failed.pop(job.name, None)
        if isinstance(outcome, Failure):
            failed[job.name] = outcome
        else:
            batch.made[job.shard] = outcome
        batch.failures = list(failed.values())
        if isinstance(outcome, Failure) and outcome.may_pass and not is_last and patience.looks_bad:
            break
    if batch.failures:
        goes_on = not (patience.is_given_up or batch.workers.stopped)
        raise ShardFailed(batch.failures, may_pass=goes_on and any(failure.may_pass for failure in batch.failures))
