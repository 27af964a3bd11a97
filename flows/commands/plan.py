"""`valle plan`: every shard that `run` would make, and why."""

from typing import Any

from flows.commands.consent import hanging
from flows.commands.options import RunOptions
from flows.engine.trainings import say_schedules
from warehouse.catalogue import Catalogue
from warehouse.plan import WAITS, plan, stale_settings
from warehouse.query import failures


def what_would_run(options: RunOptions) -> list[dict[str, Any]]:
    """Every pending shard of a recipe, and why. Changes nothing.

    Lasting shards whose data has grown are named, too, and what hangs on a voice whose consent was withdrawn.
    """
    site = options.where()
    recipe = options.what().place({"audio": site.corpus})
    tables = recipe.until(options.until)
    artifacts = Catalogue(site.root).artifacts()
    wanted = Catalogue(site.root).excused(recipe.wanted())
    plans = [stage for stage in plan(wanted, artifacts) if stage.wanted.table in tables]
    latest = {(table, shard): artifact for (table, shard, _), artifact in artifacts.items()}  # newest last
    stale = stale_settings(wanted, artifacts, latest)
    failed = failures(site.root) if Catalogue(site.root).published.exists() else {}
    makers = {stage.makes.name: stage for stage in recipe.stages}
    rows = []
    for stage in plans:
        table = stage.wanted.table
        say_schedules(makers[table], stage.pending, site.train_workers)
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
    return rows + [row for row in hanging(site.root) if row["table"] in tables]


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
