"""Fingerprints name a result by everything that determines it.

Twelve hex digits of the stage, its settings, its version and the fingerprints
of every table it takes. What only says *where* a stage works is left out.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from hashlib import sha256
from typing import Any

ANY = "*"  # the fingerprint of every shard that has none of its own

Fingerprints = Mapping[str, str]  # by shard name, or under ANY


def named_shards(stage: Any) -> tuple[str, ...]:
    """The shards that a gathering stage makes; none for a stage that follows the shards it reads."""
    if stage.gathers is True:
        return ("all",)
    return tuple(stage.gathers or ())


def settings(stage: Any, shard: str = ANY) -> dict[str, Any]:
    """The settings that name a shard's rows, by name.

    Where a stage names several shards, a setting called `<shard>_...` counts
    for that shard alone: `ar_steps` says nothing about the shard `nar`.
    """
    shards = named_shards(stage)
    others = tuple(f"{other}_" for other in shards if other != shard) if len(shards) > 1 and shard in shards else ()
    values = {f.name: getattr(stage, f.name) for f in fields(stage) if f.compare}
    values |= stage.identity() if hasattr(stage, "identity") else {}
    return {name: value for name, value in values.items() if not name.startswith(others or ("\0",))}


def describe(stage: Any, shard: str = ANY) -> str:
    """A stage as JSON: its name, its version and the settings that name its rows."""
    description = {"stage": type(stage).__name__, "version": stage.version, "settings": settings(stage, shard)}
    return json.dumps(description, sort_keys=True, default=str)


def fingerprints(stage: Any, upstream: Mapping[str, Fingerprints]) -> dict[str, str]:
    """The fingerprint of each shard that the stage names, or of all of them under `ANY`."""
    above = json.dumps({table: dict(prints) for table, prints in upstream.items()}, sort_keys=True)
    shards = named_shards(stage)
    return {shard: short_hash(describe(stage, shard) + above) for shard in (shards if len(shards) > 1 else (ANY,))}


def short_hash(text: str) -> str:
    """Twelve hex digits of a text."""
    return sha256(text.encode()).hexdigest()[:12]
