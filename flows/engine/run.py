"""One run of the engine: which shard is made when.

Each stage is made in a lane (`flows.engine.lane`), each shard once what it reads is there. What a run knows is known by
the thread that runs it alone; lanes tell it what has happened.
"""

import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from flows.engine.lane import Bar, Lane
from flows.engine.lineage import Lineage
from flows.engine.prefect_pages import Pages
from flows.engine.ray_train import RayTrain
from flows.engine.recipe import Listings, placed
from flows.engine.shards import Failure, Job
from flows.engine.site import Site
from flows.engine.trainings import newest, say_schedules
from flows.engine.workers import Workers
from flows.terminal.output import say
from flows.terminal.progress_bars import Progress
from warehouse import corpus_copy
from warehouse.plan import WAITS, Shards, StagePlan, Wanted, plan, plan_stage, reads
from warehouse.stage import Resources, Stage
from warehouse.store import Artifact, shard_path
from warehouse.working_copy import objects_of, shard_file

LOOKS_APART = 10  # times as long as a look at what can be begun takes


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
    broken: list[str] = field(default_factory=list)  # controls, of tables that are whole


def on_device(stage: Stage, site: Site, device: str) -> Stage:
    """A stage that works on a device: the one of the workers, which is known when there is work for them."""
    nodes_may_join = site.ray_address != "local"
    launch = RayTrain(site.train_workers, device == "cuda", site.root / "logs" / "train", grows=nodes_may_join)
    return placed(stage, {"device": device, "launch": launch})


class Run:
    """What a run is to make, what it makes, and what has become of it."""

    def __init__(
        self,
        wanted: list[Wanted],
        listings: Listings,
        site: Site,
        artifacts: dict[tuple[str, str, str], Artifact],
        selection: Selection,
        workers: Workers,
        pages: Pages,
        lineage: Lineage,
    ) -> None:
        self.site, self.selection, self.workers = site, selection, workers
        self.pages, self.lineage = pages, lineage
        self.wanted = {stage.table: stage for stage in wanted}
        self.listings = listings
        self.artifacts = artifacts
        self.plans: dict[str, StagePlan] = {}
        self._before = plan(wanted, artifacts, selection.again)
        self.allowed = self._with_what_they_wait_for(set(selection.only or ()))
        self.touched: set[tuple[str, str]] = set()  # made in this run
        self.tally = Tally()
        self.lanes: list[Lane] = []  # in the order of their stages
        self.news: SimpleQueue[tuple[Lane, Any]] = SimpleQueue()
        self.bars: dict[str, Progress] = {}  # by table
        self._look_took = 0.0  # seconds, since news was heard the last time
        objects = objects_of(site.root)
        self._url = objects.url if objects else None
        there = corpus_copy.objects_of(site.corpus)
        self._corpus = (site.corpus, there.url) if there else None

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

    def make_tables(self, stages: Sequence[Stage]) -> None:
        """Make what is not current of all tables, and wait for it."""
        waiting = deque(stages)
        try:
            while True:
                self._begin_what_can_be(waiting)
                if not self.lanes:
                    return
                self._hear()
        except BaseException:
            self.workers.stopped = True  # before a lane waits for what is in hand
            for lane in self.lanes:
                lane.close()
                self.bars[lane.table].end()
            raise

    def _begin_what_can_be(self, waiting: deque[Stage]) -> None:
        """Put shards into lanes, open lanes and close them, until there is something to wait for, or nothing left."""
        lanes = self.lanes
        while waiting or lanes:
            if lanes and (len(lanes) > 1 or (waiting and self._fits(waiting[0]))):
                for lane in lanes:
                    self._put(lane)
            if lanes and lanes[0].is_drained:  # it is the first, so nothing more will be put there
                lanes[0].pool.close()
            if lanes and lanes[0].is_done:
                self._close(lanes.pop(0))
                if lanes:
                    self._put(lanes[0])
            elif not waiting or not self._fits(waiting[0]) or not self._open(waiting[0], list(waiting)[1:]):
                return
            else:
                waiting.popleft()

    def _fits(self, stage: Stage) -> bool:
        """Whether a lane for a stage takes no room from what could be begun in the lanes that there are.

        It may lie beside lanes with nothing left to begin, and beside those that need no GPU if it needs one. What
        launches workers of its own is alone.
        """
        if not self.lanes:
            return True
        needs = self._needs(on_device(stage, self.site, self.workers.device))
        if not all(kind.cpus for kind in (needs, *(lane.pool.needs for lane in self.lanes))):
            return False
        alike = [n for n, lane in enumerate(self.lanes, 1) if bool(lane.pool.needs.gpus) == bool(needs.gpus)]
        return all(lane.is_drained for lane in self.lanes[: max(alike, default=0)])

    def _open(self, stage: Stage, later: Sequence[Stage]) -> bool:
        """Open a lane for a stage; not while it could begin nothing, beside others. One without work needs none."""
        table = stage.makes.name
        plan, jobs, num_expected = self._look(stage)
        if self.lanes and not jobs:
            return False
        look = partial(_how_far, stage, jobs) if hasattr(stage, "how_far") else None
        self.bars[table] = Progress(table, self.wanted[table].version, len(plan.current), look)
        if not jobs:
            self._settle(table, [])
            return True
        self.lineage.begin(plan)
        stage = on_device(stage, self.site, self.workers.device)
        needs = self._needs(stage)
        pool = self.workers.pool(table, needs, num_expected, None if needs.gpus else self._needs_of_gpus(later))
        bars: list[Bar] = [self.bars[table], self.pages.bar(table, num_expected)]
        self.lanes.append(Lane(stage, pool, num_expected, bars, self.news))
        self._put(self.lanes[-1], jobs)
        return True

    def _needs_of_gpus(self, later: Sequence[Stage]) -> Resources | None:
        """What a worker needs of the first stage to come that takes GPUs, if it will have something to make."""
        to_make = {before.wanted.table for before in self._before if before.pending}
        for stage in later:
            needs = self._needs(on_device(stage, self.site, self.workers.device))
            if not needs.cpus:
                return None
            if needs.gpus and stage.makes.name in to_make:
                return needs
        return None

    def _put(self, lane: Lane, jobs: list[Job] | None = None) -> None:
        """Begin what can be of a lane's stage and is not begun; what there is else is looked up."""
        if jobs is None:
            _, jobs, _ = self._look(lane.stage)
        jobs = [
            replace(job, stage=lane.stage, device=getattr(lane.stage, "device", "cpu"))
            for job in jobs
            if job.shard not in lane.begun
        ]
        if jobs and (lane is self.lanes[0] or lane.is_worth(len(jobs))):
            say_schedules(lane.stage, [job.shard for job in jobs], self.site.train_workers)
            lane.put(jobs)

    def _hear(self) -> None:
        """Wait for news of the lanes, and take in what there is; where looking at it takes long, more of it at once."""
        begun, pause = time.monotonic(), LOOKS_APART * self._look_took
        self._look_took = 0.0
        wait: float | None = None
        while wait is None or wait >= 0:
            try:
                lane, news = self.news.get(timeout=wait) if wait is None or wait > 0 else self.news.get_nowait()
            except Empty:
                break
            if artifact := lane.hear(news):
                self.artifacts[artifact.table_name, artifact.shard, artifact.fingerprint] = artifact
                self.touched.add((artifact.table_name, artifact.shard))
            wait = max(0.0, pause - (time.monotonic() - begun))

    def _close(self, lane: Lane) -> None:
        """Take leave of a lane where all is done that could be begun."""
        lane.close()
        self.tally.made[lane.table] = len(lane.made)
        if why := lane.given_up:
            self.tally.given_up[lane.table] = why
        self._settle(lane.table, lane.failures)
        plan = self.plans[lane.table]
        above = [self.plans[table] for table in plan.wanted.takes if table in self.plans]
        self.lineage.end(plan, above, len(lane.made), [f"{one.name}: {one.error}" for one in lane.failures])

    def _settle(self, table: str, failures: list[Failure]) -> None:
        """Say what has become of a table, and let the tables below go on without what failed and is excused."""
        plan = self._plan(table)  # again, with what is made now; what could not be made stays pending
        self.bars.pop(table).end(len(plan.current) - self.tally.made.get(table, 0))
        if table in self.tally.given_up:
            say(self.tally.given_up[table])
        self._excuse(table, failures)

    def _look(self, stage: Stage) -> tuple[StagePlan, list[Job], int]:
        """A stage's plan as things stand, its shards that can be made now, and how many there may be in the end."""
        begun = time.monotonic()
        plan = self._plan(stage.makes.name)
        jobs, num_expected = self._jobs(stage, plan)
        self._look_took += time.monotonic() - begun
        return plan, jobs, num_expected

    def _plan(self, table: str) -> StagePlan:
        again = self.selection.again - self.touched
        self.plans[table] = plan_stage(self.wanted[table], self.plans, self.artifacts, again)
        return self.plans[table]

    def _jobs(self, stage: Stage, plan: StagePlan) -> tuple[list[Job], int]:
        """The shards of a stage that can be made now, and how many there may be in the end."""
        listings = self.listings.get(plan.wanted.table, {})
        jobs, num_expected = [], 0
        for pending in plan.pending.values():
            read = [(above, names) for above, names in reads(plan.wanted, pending.shard, self.plans)]
            if not self._is_allowed(plan.wanted.table, pending.shard, read):
                continue
            num_expected += 1
            if pending.inputs is None:
                continue
            jobs.append(
                Job(
                    root=self.site.root,
                    url=self._url,
                    corpus=self._corpus,
                    stage=stage,
                    shard=pending.shard,
                    fingerprint=plan.wanted.fingerprint(pending.shard),
                    description=plan.wanted.stage(pending.shard),
                    inputs=listings.get(pending.shard, pending.inputs),
                    reads=tuple(tuple(self._file(above.current[name]) for name in names) for above, names in read),
                    again=(plan.wanted.table, pending.shard) in self.selection.again,
                    size=_size(listings.get(pending.shard), read),
                )
            )
        return jobs, num_expected

    def _file(self, artifact: Artifact) -> Path:
        return shard_file(self.site.root, artifact.path, artifact.sha256)

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
