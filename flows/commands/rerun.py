"""`valle rerun`: shards of the last run again, and what hangs on them."""

from pathlib import Path

from flows.commands.options import RunOptions
from flows.commands.run import run
from flows.engine.recipe import closest
from flows.engine.site import load_site
from flows.terminal.output import say
from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake
from warehouse.plan import StagePlan
from warehouse.query import failures, select
from warehouse.working_copy import said as said_of


def rerun(
    options: RunOptions,
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
    site = load_site(options.site, root=options.root)
    catalogue = Catalogue(site.root)
    last = catalogue.last_run()
    plans = catalogue.take_up(look_at_disk=True)  # what a killed run left in the ledger counts, too
    if failed:
        chosen = [f"{name}/{key}" for name, key, _ in failures(site.root)]
    elif dropped:
        chosen = _dropped(site.root, dropped)
    else:
        chosen = _of_table(plans, table or "", shard)
    if not chosen:
        say(f"nothing has failed in {said_of(site.root)}")
        return
    said = last.options
    run(
        RunOptions(
            recipe=said["recipe"],
            site=options.site or said["site"],
            root=str(site.root),
            audio=options.audio or said["audio"],
            settings=said["settings"],
            until=said["until"],
            only=chosen,
            again=chosen,
            verbose=options.verbose,
        )
    )


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
