"""Leaving out: a shard made without some of its rows or files, whose rows then only tell why."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from flows.engine.recipe import is_one_to_one
from warehouse.faults import POISON
from warehouse.stage import Stage


def can_be_halved(stage: Stage) -> bool:
    """Whether a stage's shard can be made on a part of its rows or files."""
    if stage.makes.files or stage.gathers:
        return False
    return is_one_to_one(stage) or hasattr(stage, "poisoned" if stage.takes else "items")


def items(stage: Any, shard: str, first: ds.Dataset | None) -> list[str]:
    """What can be tried apart: a source's files, else the keys of the kept rows of the first table taken."""
    if first is None:
        return list(stage.items(shard))
    [key] = stage.takes[0].key
    names: list[str] = first.to_table(columns=[key], filter=ds.field("dropped").is_null())[key].to_pylist()
    return names


def without(first: ds.Dataset, stage: Stage, poison: Mapping[str, str]) -> ds.Dataset:
    """The first table taken, less the poison."""
    [key] = stage.takes[0].key
    rows = first.to_table()
    return ds.dataset(rows.filter(pc.invert(pc.is_in(rows[key], value_set=pa.array(list(poison), pa.string())))))


def with_dropped(rows: pa.Table, stage: Any, first: ds.Dataset, poison: Mapping[str, str]) -> pa.Table:
    """The rows that a stage has made without the poison, and the rows that tell of it; one to one, in their order."""
    [key] = stage.takes[0].key
    dropped = [
        row | {"dropped": POISON, "detail": poison[taken[key]]}
        for taken in first.to_table(filter=pc.field(key).isin(list(poison))).to_pylist()
        for row in (stage.poisoned(taken) if hasattr(stage, "poisoned") else [{key: taken[key]}])
    ]
    whole = pa.concat_tables([rows, pa.Table.from_pylist(dropped, schema=stage.makes.schema)])
    if not is_one_to_one(stage):
        return whole
    order = pa.array(items(stage, "", first))
    return whole.take(pc.index_in(order, value_set=whole[key].combine_chunks()))
