"""Materialization: bring a warehouse up to date with a recipe.

Stage by stage, it makes what is not current. A Prefect task run is a shard, or
a range of shards where there are many (`flows.engine.task_runs`), and workers take
single shards of all of them (`flows.engine.shard_queue`). What is done is the
catalogue's to know, not Prefect's cache.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from prefect import runtime
from prefect.futures import as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.engine.patience import Patience
from flows.engine.prefect_pages import Bar, Pages
from flows.engine.recipe import Listings, Recipe, placed
from flows.engine.shard_queue import ShardQueue
from flows.engine.shards import Failure, Job
from flows.engine.site import Site
from flows.engine.task_runs import Batch, make
from flows.engine.trainings import newest, say_schedules
from flows.engine.workers import RayTrain, Workers
from flows.machine.signals import heed_again
from flows.machine.standard_streams import hush_leaks_of_a_run
from flows.terminal.output import say
from flows.terminal.progress_bars import Progress
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.errors import WorkFailed
from warehouse.ledger import MADE
from warehouse.plan import WAITS, Shards, StagePlan, Wanted, plan, plan_stage, reads
from warehouse.query import select
from warehouse.stage import Resources, Stage
from warehouse.store import Artifact, shard_path

MOST_TASKS = 200  # of one stage; more shards than that share task runs
PUBLISH_EVERY = 2.0  # seconds, at the soonest


@dataclass(frozen=True)
class Selection:
    """What a run is limited to. Nothing said: everything that is not current."""

    only: Shards | None = None  # these, and what hangs on them
    again: Shards = frozenset()  # these even though they are current


EVERYTHING = Selection()


@dataclass
class Tally:
    """What a run did."""

    made: dict[str, int] = field(default_factory=dict)  # table -> shards
    failures: list[Failure] = field(default_factory=list)
    excused: list[Failure] = field(default_factory=list)  # failures that the site tolerates
    given_up: dict[str, str] = field(default_factory=dict)  # table -> why most of its shards fail


def materialize(
    recipe: Recipe,
    site: Site,
    *,
    until: str | None = None,
    selection: Selection = EVERYTHING,
    options: Mapping[str, Any] | None = None,
    module: ModuleType | None = None,
) -> Tally:
    """Make every shard of the recipe that the warehouse does not have. Called inside a Prefect flow.

    Raises:
        Mistake: the recipe makes no table called `until`, or names weights or a corpus that is not there.
        WorkFailed: some shards could not be made; the others are there.
    """
    heed_again()
    hush_leaks_of_a_run()
    catalogue = Catalogue(site.root)
    (site.root / "logs").mkdir(parents=True, exist_ok=True)
    tables = recipe.until(until)
    recipe = recipe.place({"audio": site.corpus, "root": site.root})
    for stage in recipe.stages:
        if provide := getattr(stage, "provide", None):
            provide()
    listings = recipe.listings()
    wanted = catalogue.excused(recipe.wanted(listings))
    catalogue.remember(recipe.name, wanted, dict(options or {}))
    catalogue.take_up(look_at_disk=True)
    pages = Pages(recipe.name, site.root)
    pages.tag(tables)
    selection = replace(selection, again=_not_made_yet(selection.again, site.root))
    run = _Run(wanted, listings, site, catalogue.artifacts(), selection, Workers(site, module), pages)
    try:
        with _publishing(catalogue), _logging(site.root):
            run.check_room(recipe.stages[: len(tables)])
            for stage in recipe.stages[: len(tables)]:
                run.make_table(stage)
    finally:
        run.workers.close()
        if (excused := list(run.wanted.values())) != wanted:
            catalogue.remember(recipe.name, excused, dict(options or {}))
        catalogue.take_up()
        pages.tables()
    if run.tally.failures:
        others = f" ({len(run.tally.excused)} more are tolerated)" if run.tally.excused else ""
        what_now = "the rest is kept, and `valle rerun --failed` takes up what failed"
        raise WorkFailed("; ".join([_named(run.tally.failures) + others, *run.tally.given_up.values(), what_now]))
    if run.tally.excused:
        say(f"{_named(run.tally.excused)}; the site tolerates that, and `valle rerun --failed` takes up what failed")
    return run.tally


def _not_made_yet(again: Shards, root: Path) -> Shards:
    """Of the shards to make again, those that this flow run has not made yet: Prefect may retry a run."""
    if not again or (runtime.flow_run.run_count or 1) < 2:
        return again
    query = (
        f"select distinct table_name, shard from runs where flow_run_id = '{runtime.flow_run.id}' and state = '{MADE}'"
    )
    return again - {(row["table_name"], row["shard"]) for row in select(root, query).to_pylist()}


def _named(failures: list[Failure]) -> str:
    number = len(failures)
    return f"{number} shard{'s' * (number > 1)} failed, the first {failures[0].name}: {failures[0].error}"


def on_device(stage: Stage, site: Site, device: str) -> Stage:
    """A stage that works on a device: the one of the workers, which is known when there is work for them."""
    launch = RayTrain(site.train_workers, device == "cuda", site.root / "logs" / "train")
    return placed(stage, {"device": device, "launch": launch})


class _Run:
    """One run of the engine: what is known so far, stage after stage."""

    def __init__(
        self,
        wanted: list[Wanted],
        listings: Listings,
        site: Site,
        artifacts: dict[tuple[str, str, str], Artifact],
        selection: Selection,
        workers: Workers,
        pages: Pages,
    ) -> None:
        self.site, self.selection, self.workers, self.pages = site, selection, workers, pages
        self.wanted = {stage.table: stage for stage in wanted}
        self.listings = listings
        self.artifacts = artifacts
        self.plans: dict[str, StagePlan] = {}
        self._before = plan(wanted, artifacts, selection.again)
        self.allowed = self._with_what_they_wait_for(set(selection.only or ()))
        self.touched: set[tuple[str, str]] = set()  # made in this run
        self.tally = Tally()

    def _with_what_they_wait_for(self, selected: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """The selected shards, and whatever is pending above them, without which they could not be made."""
        stages = list(self.wanted.values())
        plans = {stage.wanted.table: stage for stage in self._before}
        for stage in reversed(stages):
            for shard in [name for table, name in selected if table == stage.table]:
                if shard in plans[stage.table].pending:
                    for above, names in reads(stage, shard, plans):
                        selected |= {(above.wanted.table, name) for name in names if name in above.pending}
        return selected

    def check_room(self, stages: Sequence[Stage]) -> None:
        """See to it before anything is made that there is room for a worker of every stage with something to make."""
        to_make = {before.wanted.table for before in self._before if before.pending}
        for stage in stages if self.selection.only is None else ():
            if stage.makes.name in to_make:
                held = self._needs(on_device(stage, self.site, self.workers.device))
                self.workers.check_room(stage.makes.name, held)

    def make_table(self, stage: Stage) -> None:
        """Make what is not current of one table, and wait for it."""
        table = stage.makes.name
        plan = self._plan(table)
        jobs = self._jobs(stage, plan)
        failures: list[Failure] = []
        say_schedules(stage, [job.shard for job in jobs], self.site.train_workers)
        look = partial(_how_far, stage, jobs) if hasattr(stage, "how_far") else None
        version, made = self.wanted[table].version, len(plan.current)
        with Progress(table, version, made=made, to_make=len(jobs), look=look) as progress:
            if jobs:
                failures = self._make(table, jobs, [progress, self.pages.bar(table, len(jobs))])
                self._plan(table)  # again, with what is made now; what could not be made stays pending
        if table in self.tally.given_up:
            say(self.tally.given_up[table])
        self._excuse(table, failures)

    def _plan(self, table: str) -> StagePlan:
        again = self.selection.again - self.touched
        self.plans[table] = plan_stage(self.wanted[table], self.plans, self.artifacts, again)
        return self.plans[table]

    def _jobs(self, stage: Stage, plan: StagePlan) -> list[Job]:
        listings = self.listings.get(plan.wanted.table, {})
        jobs = []
        for pending in plan.pending.values():
            read = [(above, names) for above, names in reads(plan.wanted, pending.shard, self.plans)]
            if not self._is_allowed(plan.wanted.table, pending.shard, read) or pending.inputs is None:
                continue
            jobs.append(
                Job(
                    root=self.site.root,
                    stage=stage,
                    shard=pending.shard,
                    fingerprint=plan.wanted.fingerprint(pending.shard),
                    description=plan.wanted.stage(pending.shard),
                    inputs=listings.get(pending.shard, pending.inputs),
                    reads=tuple(tuple(self.site.root / above.current[n].path for n in names) for above, names in read),
                    again=(plan.wanted.table, pending.shard) in self.selection.again,
                    size=_size(listings.get(pending.shard), read),
                )
            )
        return jobs

    def _is_allowed(self, table: str, shard: str, read: list[tuple[StagePlan, list[str]]]) -> bool:
        """Whether the run is limited to other shards: these are selected, and what hangs on them."""
        if self.selection.only is None:
            return True
        hangs = any((above.wanted.table, name) in self.allowed for above, names in read for name in names)
        if hangs:
            self.allowed.add((table, shard))
        return (table, shard) in self.allowed

    def _excuse(self, table: str, failures: list[Failure]) -> None:
        """What failed is excused where it is no greater share than the site tolerates, and so is what waits for it."""
        plan = self.plans[table]
        lost = {failure.shard for failure in failures} | set(plan.wanted.excused)
        failed = [shard for shard, pending in plan.pending.items() if shard in lost and pending.why != WAITS]
        if table in self.tally.given_up or len(failed) > self.site.max_failed_share * len(plan.shards):
            failed = []
        waiting = [
            shard for shard, pending in plan.pending.items() if pending.why == WAITS and self._excused(plan, shard)
        ]
        self.wanted[table] = replace(plan.wanted, excused=(*failed, *waiting))
        self._plan(table)
        for failure in failures:
            (self.tally.excused if failure.shard in failed else self.tally.failures).append(failure)

    def _excused(self, plan: StagePlan, shard: str) -> bool:
        """Whether all that a shard waits for is excused."""
        return all(
            name in above.wanted.excused
            for above, names in reads(plan.wanted, shard, self.plans)
            for name in names
            if name in above.pending
        )

    def _make(self, table: str, jobs: list[Job], bars: Sequence[Progress | Bar]) -> list[Failure]:
        """Makes shards, and returns how some of them failed."""
        stage = on_device(jobs[0].stage, self.site, self.workers.device)
        jobs = [replace(job, stage=stage, device=getattr(stage, "device", "cpu")) for job in jobs]
        at_a_time = self.workers.prepare(table, self._needs(jobs[0].stage), len(jobs))
        each = -(-len(jobs) // MOST_TASKS)
        patience = Patience(table, len(jobs))
        # Twice as many task runs as workers: one whose last shard is in hand leaves no worker without another's.
        runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=2 * at_a_time)
        with ShardQueue(at_a_time) as queue, runner:
            batches = [Batch(jobs[i : i + each], self.workers, queue, patience) for i in range(0, len(jobs), each)]
            futures: dict[Any, Batch] = {runner.submit(self._task(batch), {"batch": batch}): batch for batch in batches}
            try:
                for future in as_completed(list(futures)):
                    self._hear(future, futures[future], bars)
            except BaseException:
                self.workers.stopped = True  # before the runner waits for what is in hand
                raise
        if why := patience.says():
            self.tally.given_up[table] = why
        self.tally.made[table] = sum(len(batch.made) for batch in batches)
        return [failure for batch in batches for failure in batch.failures]

    def _hear(self, future: Any, batch: Batch, bars: Sequence[Progress | Bar]) -> None:
        """Take in how a task run has ended."""
        future.wait()
        if not future.state.is_completed() and not batch.failed:  # Prefect's own trouble, or ours
            batch.failed[batch.jobs[0].shard] = Failure(batch.name, str(future.state.message), may_pass=False)
        for artifact in batch.made.values():
            self.artifacts[artifact.table_name, artifact.shard, artifact.fingerprint] = artifact
            self.touched.add((artifact.table_name, artifact.shard))
        for bar in bars:
            bar.advance(len(batch.made), len(batch.failures))

    def _task(self, batch: Batch) -> Any:
        return make.with_options(
            name=batch.jobs[0].stage.makes.name,
            task_run_name=batch.name,
            retries=self.site.retries,
            retry_delay_seconds=self.site.retry_delay_seconds,
        )

    def _needs(self, stage: Stage) -> Resources:
        if getattr(stage, "device", "cpu") != "cuda":
            return Resources(cpus=stage.needs.cpus)
        return Resources(cpus=stage.needs.cpus, gpus=self.site.gpus.get(stage.makes.name, stage.needs.gpus))


def _size(listing: str | None, read: list[tuple[StagePlan, list[str]]]) -> float:
    """How much there is to do for a shard, beside others of its stage: bytes of its files, or seconds that it reads."""
    if listing is not None:
        return float(sum(size for size, _ in json.loads(listing)["files"].values()))
    above, names = read[0]
    return sum(above.current[name].seconds or above.current[name].bytes for name in names)


def _how_far(stage: Any, jobs: list[Job]) -> Iterator[str]:
    """A line for each shard that has something to say of itself."""
    for job in jobs:
        path = shard_path(job.root, stage.makes.name, job.fingerprint, job.shard)
        if words := stage.how_far(path.with_name(newest(path) or job.shard)):
            yield f"{job.name}: {words}"


@contextmanager
def _publishing(catalogue: Catalogue) -> Iterator[None]:
    """Take up the ledger now and then while shards are made, the less often the longer it takes."""
    stopped = threading.Event()

    def keep_up() -> None:
        pause = PUBLISH_EVERY
        while not stopped.wait(pause):
            if ledger.waiting(catalogue.root):
                begun = time.monotonic()
                try:
                    catalogue.take_up()
                except Exception:  # the run ends with the same call, and that one is heard
                    logging.getLogger("prefect").exception("the catalogue could not be published")
                pause = max(PUBLISH_EVERY, 10 * (time.monotonic() - begun))

    thread = threading.Thread(target=keep_up, name="publishing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


class _Log(logging.FileHandler):
    """A file that may lie on a full disk, of which the run itself tells, once."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass


@contextmanager
def _logging(root: Path) -> Iterator[None]:
    """What Prefect says goes to a file of the warehouse, too."""
    handler = _Log(root / "logs" / "valle.log")
    words = "%(asctime)s %(levelname)s %(flow_run_name)s %(task_run_name)s: %(message)s"
    handler.setFormatter(logging.Formatter(words, defaults={"flow_run_name": "-", "task_run_name": "-"}))
    logger = logging.getLogger("prefect")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        with suppress(OSError):
            handler.close()
