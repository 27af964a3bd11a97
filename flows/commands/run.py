"""What the commands do: plan, run and rerun a recipe on a site. The words are `flows.cli`'s."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.engine.recipe import Recipe, closest
from flows.engine.site import Site, environment, load_site
from flows.terminal.output import say
from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake
from warehouse.plan import WAITS, StagePlan, plan, stale_settings
from warehouse.query import select


@dataclass(frozen=True, kw_only=True)
class Request:
    """The words that say what to make, and where."""

    recipe: str = "demo"
    site: str | None = None
    root: str | None = None
    audio: str | None = None
    until: str | None = None
    settings: Sequence[str] = ()
    only: Sequence[str] | None = None
    again: Sequence[str] = ()
    verbose: bool = False

    def where(self) -> Site:
        """The site."""
        return load_site(self.site, root=self.root, audio=self.audio)

    def what(self) -> Recipe:
        """The recipe, with its settings put in.

        Raises:
            Mistake: a word is wrong.
        """
        from flows.recipes import load_recipe

        return load_recipe(self.recipe)[0].set(self.settings)


def run(request: Request) -> None:
    """Make what is missing. With nothing to make, Prefect and Ray are not even started."""
    from flows.recipes import words

    site = request.where()
    recipe = request.what().place({"audio": site.corpus})
    tables = recipe.until(request.until)
    for stage in recipe.stages:
        if provide := getattr(stage, "provide", None):
            provide()
    catalogue = Catalogue(site.root)
    said = words(request.recipe, request.site, request.settings, site.corpus, request.until)
    catalogue.remember(recipe.name, catalogue.excused(recipe.wanted()), said)
    plans = [stage for stage in catalogue.take_up(look_at_disk=True) if stage.wanted.table in tables]
    if not request.again and not any(stage.pending for stage in plans):
        made = sum(len(stage.current) for stage in plans)
        say(f"nothing to make: all {made} shards of {recipe.name} are current in {site.root}")
        return
    _quiet(site.root, request.verbose)
    with _said_by_the_environment(site):
        _flow(request)


def download(request: Request, name: str, *, dest: str | None, leave_free_gib: float, **how: Any) -> None:
    """Bring an archive of a corpus. Where it is there already, Prefect is not even started."""
    from flows.downloads.request import GIB, Wish, is_there

    site = request.where()
    folder = Path(dest or site.corpus).absolute()
    if is_there(Wish(name=name, dest=folder, leave_free=int(leave_free_gib * GIB), **how), site.root):
        return
    _quiet(site.root, request.verbose)
    from flows.pipeline import download as flow

    with _said_by_the_environment(site):
        flow(name, request.site or "", str(folder), leave_free_gib=leave_free_gib, **how)


def what_would_run(request: Request) -> list[dict[str, Any]]:
    """Every pending shard of a recipe, and why; lasting shards whose data has grown, too. Changes nothing."""
    site = request.where()
    recipe = request.what().place({"audio": site.corpus})
    tables = recipe.until(request.until)
    artifacts = Catalogue(site.root).artifacts()
    wanted = Catalogue(site.root).excused(recipe.wanted())
    plans = [stage for stage in plan(wanted, artifacts) if stage.wanted.table in tables]
    latest = {(table, shard): artifact for (table, shard, _), artifact in artifacts.items()}  # newest last
    stale = stale_settings(wanted, artifacts, latest)
    failed = _failures(site.root) if Catalogue(site.root).published.exists() else {}
    rows = []
    for stage in plans:
        table = stage.wanted.table
        for shard, pending in stage.pending.items():
            name = (table, shard, stage.wanted.fingerprint(shard))
            why, reason = pending.why, pending.reason
            if name in failed:
                why, reason = "failed", failed[name]
            elif name not in artifacts and (table, shard) in stale:
                why, reason = "stale", stale[table, shard]
            rows.append({"table": table, "shard": shard, "why": why, "reason": reason})
        rows += [
            {"table": table, "shard": shard, "why": "current", "reason": "newer data"}
            for shard in sorted(stage.newer_data)
        ]
    return rows


def rerun(
    request: Request,
    *,
    failed: bool = False,
    table: str | None = None,
    shard: str | None = None,
    dropped: str | None = None,
) -> None:
    """Make shards of the last run again, and what hangs on them.

    Raises:
        Mistake: nothing has run there, or there is no such table, shard or reason.
    """
    site = load_site(request.site, root=request.root)
    catalogue = Catalogue(site.root)
    last = catalogue.last_run()
    plans = catalogue.take_up(look_at_disk=True)  # what a killed run left in the ledger counts, too
    if failed:
        chosen = [f"{name}/{key}" for name, key, _ in _failures(site.root)]
    elif dropped:
        chosen = _dropped(site.root, dropped)
    else:
        chosen = _of_table(plans, table or "", shard)
    if not chosen:
        say(f"nothing has failed in {site.root}")
        return
    options = last.options
    run(
        Request(
            recipe=options["recipe"],
            site=request.site or options["site"],
            root=str(site.root),
            audio=request.audio or options["audio"],
            settings=options["settings"],
            until=options["until"],
            only=chosen,
            again=chosen,
            verbose=request.verbose,
        )
    )


def _failures(root: Path) -> dict[tuple[str, str, str], str]:
    rows = select(root, "select table_name, shard, fingerprint, error from failures").to_pylist()
    return {(row["table_name"], row["shard"], row["fingerprint"]): row["error"] for row in rows}


def _dropped(root: Path, reason: str) -> list[str]:
    rows = select(
        root,
        "select table_name, shard, refusals.reason from refusals join wanted using (table_name, shard, fingerprint)",
    ).to_pylist()
    reasons = {row["reason"] for row in rows}
    if reason not in reasons:
        raise Mistake(f"no row was dropped for {reason!r}{closest(reason, sorted(reasons))}")
    return [f"{row['table_name']}/{row['shard']}" for row in rows if row["reason"] == reason]


def _of_table(plans: list[StagePlan], table: str, shard: str | None) -> list[str]:
    shards = {plan.wanted.table: plan.shards for plan in plans}
    if table not in shards:
        raise Mistake(f"the last run makes no table {table!r}{closest(table, shards)}")
    if shard and shard not in shards[table]:
        raise Mistake(f"{table} has no shard {shard!r}{closest(shard, shards[table][:8])}")
    return [f"{table}/{name}" for name in ([shard] if shard else shards[table])]


@contextmanager
def _said_by_the_environment(site: Site) -> Iterator[None]:
    """Flows are given plain names; the folders of the command line reach them by the environment."""
    before = dict(os.environ)
    os.environ.update(environment(site))
    try:
        yield
    finally:
        for name in environment(site):
            os.environ.pop(name)
        os.environ.update({name: value for name, value in before.items() if name in environment(site)})


def _flow(request: Request) -> None:
    """Run the flow, here, and tell Prefect's server of it where there is one."""
    # Prefect's own server is a child of this process. A Ctrl-C at the terminal must not reach it, or the flow could not
    # report its end: the server is born with the signal blocked, and `materialize` opens this process to it again.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    from flows.pipeline import pipeline

    try:
        pipeline(
            recipe=request.recipe,
            site=request.site or "",
            until=request.until,
            settings=list(request.settings),
            only=None if request.only is None else list(request.only),
            again=list(request.again),
        )
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        raise Mistake(f"{error}: start Prefect's server, or unset PREFECT_API_URL to do without") from error
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _quiet(root: Path, verbose: bool) -> None:
    """Prefect calls nobody, and says on the console only what a person asked for; the rest goes to a file."""
    for name, value in {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_FLOW_RUNS_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_TASK_RUNS_LEVEL": "INFO" if verbose else "CRITICAL",
    }.items():
        os.environ.setdefault(name, value)
    if verbose:
        say(f"logs lie in {root / 'logs'}")


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What would run, a line for each table and reason."""
    counts: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        general = "waits for what it reads" if row["why"] == WAITS else row["reason"]
        counts.setdefault((row["table"], row["why"], general), []).append(row["shard"])
    return [
        {"table": table, "shards": len(shards), "first": shards[0], "why": why, "reason": reason}
        for (table, why, reason), shards in counts.items()
    ]
