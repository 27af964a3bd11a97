"""Measurements: what each stage has taken where, by its settings; the view `throughput` in more detail.

Counted are the latest successful attempts at shards that still exist.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.query import select


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What shards of one table took, made by one stage with the same settings on devices of one kind."""

    table_name: str
    device: str
    settings: Mapping[str, Any]
    shards: int
    worker_seconds: float
    seconds: float | None  # of audio in their rows
    corpus_seconds: float | None  # of audio in the recordings of the same shards; null where a shard gathers all
    num_rows: int
    num_bytes: int
    paths: tuple[str, ...]  # of a few of them


def measurements(root: Path) -> list[Measurement]:
    """All of a warehouse's, the latest last.

    Raises:
        Mistake: there is no warehouse.
    """
    rows = select(root, (Path(__file__).parent / "views" / "measurements.sql").read_text()).to_pylist()
    found = []
    for row in rows:
        settings = json.loads(row.pop("stage")).get("settings", {})
        found.append(Measurement(**{**row, "settings": settings, "paths": tuple(row["paths"])}))
    return found


def corpus_hours(root: Path) -> float:
    """Hours of audio in the recordings that the last run asked for."""
    [row] = select(
        root, "select coalesce(sum(hours_in), 0) as hours from funnel where table_name = 'recordings'"
    ).to_pylist()
    return float(row["hours"])
