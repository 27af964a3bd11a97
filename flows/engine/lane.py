"""A lane: one stage while it is made, from its first shard that can be begun to its last.

Several lie beside each other. A shard is put into its lane once what it reads is made, whatever else is still to be
made above; so no GPU waits for the last CPU shard, and no worker for the longest shard of a stage.
"""

from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any, Protocol

from prefect.task_runners import ThreadPoolTaskRunner

from flows.engine.patience import Patience
from flows.engine.shard_queue import ShardQueue
from flows.engine.shards import Failure, Job
from flows.engine.task_runs import Batch, make
from flows.engine.workers import Pool
from warehouse.stage import Stage
from warehouse.store import Artifact

MOST_TASKS = 200  # of one stage; more shards than that share task runs


class Bar(Protocol):
    """What is told how far a lane is."""

    def expect(self, shards: int) -> None: ...

    def advance(self, made: int, failed: int) -> None: ...


class Lane:
    """The shards of a stage that are being made, and what they have come to.

    All but the making happens in the thread that has opened it. That thread reads what happens from `news`: an artifact
    for each shard that is made, and a task run's future when it ends.
    """

    def __init__(
        self,
        stage: Stage,
        pool: Pool,
        num_expected: int,
        bars: Sequence[Bar],
        news: "SimpleQueue[tuple[Lane, Any]]",
    ) -> None:
        self.table = stage.makes.name
        self.stage, self.pool, self.bars = stage, pool, bars
        self.begun: set[str] = set()  # shards that were put here
        self.made: dict[str, Artifact] = {}
        self._news = news
        self._each = -(-num_expected // MOST_TASKS)
        self._patience = Patience(self.table)
        self._batches: dict[Any, Batch] = {}  # by the future of its task run
        self._in_hand = 0  # task runs
        self._queue = ShardQueue(pool.size)
        # Twice as many task runs as workers: one whose last shard is in hand leaves no worker without another's.
        self._runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=2 * pool.size).__enter__()
        for bar in bars:
            bar.expect(num_expected)

    @property
    def is_drained(self) -> bool:
        """Whether everything that was put here is in hand or done."""
        return not self._queue.num_waiting

    def is_worth(self, num_jobs: int) -> bool:
        """Whether it is time for task runs of so many shards, when more may come.

        They are as large as they are to be, or there is nothing else to begin, and not too many were small already.
        """
        return num_jobs >= self._each or (self.is_drained and len(self._batches) < MOST_TASKS)

    @property
    def is_done(self) -> bool:
        """Whether everything that was put here is done."""
        return not self._in_hand

    @property
    def failures(self) -> list[Failure]:
        """How some shards failed for good; complete when the lane is done."""
        found = [failure for batch in self._batches.values() for failure in batch.failures]
        return sorted(found, key=lambda failure: failure.name)

    @property
    def given_up(self) -> str | None:
        """Why the stage was given up, in words; None where it was not."""
        return self._patience.says(len(self.begun))

    def put(self, jobs: list[Job]) -> None:
        """Have shards made that can be begun."""
        site = self.pool.site
        for i in range(0, len(jobs), self._each):
            batch = Batch(jobs[i : i + self._each], self.pool, self._queue, self._patience, self._tell)
            task = make.with_options(
                name=self.table,
                task_run_name=batch.name,
                retries=site.retries,
                retry_delay_seconds=site.retry_delay_seconds,
            )
            self._in_hand += 1
            self.begun |= {job.shard for job in batch.jobs}
            future = self._runner.submit(task, {"batch": batch})
            self._batches[future] = batch
            future.add_done_callback(self._tell)

    def hear(self, news: Any) -> Artifact | None:
        """Take in a piece of news of this lane; the artifact, where it is one."""
        if isinstance(news, Artifact):
            self.made[news.shard] = news
            self._advance(1, 0)
            return news
        batch = self._batches[news]
        self._in_hand -= 1
        news.wait()  # it has ended, and now it says how
        if not news.state.is_completed() and not batch.failed:  # Prefect's own trouble, or ours
            batch.failed[batch.jobs[0].shard] = Failure(batch.name, str(news.state.message), may_pass=False)
        self._advance(0, len(batch.failures))
        return None

    def close(self) -> None:
        """Wait for what is in hand; nothing can be put here afterwards."""
        self._runner.__exit__(None, None, None)
        self._queue.__exit__(None, None, None)
        self.pool.close()
        for bar in self.bars:
            bar.expect(len(self.begun))

    def _tell(self, what: Any) -> None:
        self._news.put((self, what))

    def _advance(self, made: int, failed: int) -> None:
        for bar in self.bars:
            bar.advance(made, failed)
