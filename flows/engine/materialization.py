"""Materialization: bring a warehouse up to date with a recipe.

It makes what is not current, each stage in a lane (`flows.engine.lane`), each shard once what
it reads is there. A Prefect task run is a shard, or a range of shards where there are many
(`flows.engine.task_runs`), and workers take single shards of all of them
(`flows.engine.shard_queue`). What is done is the catalogue's to know, not Prefect's cache.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.dataset as ds
from prefect import runtime

from flows.engine.lineage import Lineage
from flows.engine.prefect_pages import Pages
from flows.engine.recipe import Recipe
from flows.engine.run import EVERYTHING, Run, Selection, Tally
from flows.engine.shards import Failure
from flows.engine.site import Site
from flows.engine.workers import Workers
from flows.machine.signals import heed_again
from flows.machine.standard_streams import hush_leaks_of_a_run
from flows.terminal.output import say
from tasks.provenance.certificate import load as load_certificate
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.errors import WorkFailed
from warehouse.ledger import MADE
from warehouse.plan import Shards
from warehouse.query import select
from warehouse.stage import Stage
from warehouse.working_copy import here, shard_file

PUBLISH_EVERY = 2.0  # seconds, at the soonest


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
        WorkFailed: some shards could not be made; the others are there. Or the controls of a table are broken.
    """
    heed_again()
    hush_leaks_of_a_run()
    if site.certificate or site.certificate_key:
        load_certificate(site.certificate, site.certificate_key)  # said now, rather than when there is speech to sign
    catalogue = Catalogue(site.root)
    (site.root / "logs").mkdir(parents=True, exist_ok=True)
    tables = recipe.until(until)
    recipe = recipe.place(site.places)
    stages = [stage for stage in recipe.stages if stage.makes.name in tables]
    for stage in recipe.stages:
        if provide := getattr(stage, "provide", None):
            provide()
    listings = recipe.listings()
    wanted = catalogue.excused(recipe.wanted(listings))
    catalogue.remember(recipe.name, wanted, dict(options or {}))
    catalogue.take_up(look_at_disk=True)
    pages, lineage = Pages(recipe.name, site.root), Lineage(recipe.name, site.root)
    pages.tag(tables)
    selection = replace(selection, again=_not_made_yet(selection.again, site.root))
    run = Run(wanted, listings, site, catalogue.artifacts(), selection, Workers(site, module), pages, lineage)
    try:
        with _publishing(catalogue), _logging(site.root):
            run.check_room(stages)
            run.make_tables(stages)
    finally:
        run.workers.close()
        lineage.close()
        if (excused := list(run.wanted.values())) != wanted:
            catalogue.remember(recipe.name, excused, dict(options or {}))
        catalogue.take_up()
        pages.tables()
    _check(stages, run)
    if run.tally.failures:
        others = f" ({len(run.tally.excused)} more are tolerated)" if run.tally.excused else ""
        what_now = "the rest is kept, and `valle rerun --failed` takes up what failed"
        named = [_named(run.tally.failures) + others, *run.tally.given_up.values(), what_now]
        raise WorkFailed("; ".join([*named, *run.tally.broken]))
    if run.tally.broken:
        raise WorkFailed("; ".join(run.tally.broken))
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


def _check(stages: Sequence[Stage], run: Run) -> None:
    """Ask each stage whose table is whole what is wrong with it."""
    for stage in stages:
        plan = run.plans.get(stage.makes.name)
        if plan and plan.current and not plan.pending and (controls := getattr(stage, "controls", None)):
            files = [shard_file(run.site.root, one.path, one.sha256) for one in plan.current.values()]
            paths = [str(here(file)) for file in files]
            found = list(controls(ds.dataset(paths, schema=stage.makes.schema, format="parquet")))
            if found:
                what = (
                    f"{stage.makes.name} is made, and not to be believed: its controls are broken: {'; '.join(found)}"
                )
                run.tally.broken.append(what)


def _named(failures: list[Failure]) -> str:
    number = len(failures)
    return f"{number} shard{'s' * (number > 1)} failed, the first {failures[0].name}: {failures[0].error}"


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
