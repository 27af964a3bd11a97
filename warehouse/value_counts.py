"""Value counts: how often each phone and each code stands in the kept rows of a shard, counted when it is written.

They are kept in the shard's footer and in its record, as JSON, compressed: 24 kB for the codes of eight hours.
`warehouse.value_sums` adds them up.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import compress, decompress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from warehouse.tables import TABLES, Table

NONE = ""  # of a table that counts nothing

COUNTED = {table.name: table for table in TABLES if table.counted}


def count_values(table: Table, rows: pa.Table) -> str:
    """The value counts of a shard's kept rows.

    Words are counted with the rows that they stand in, `{column: {word: [times, rows]}}`; numbers, of which there are
    a thousand times as many, are not, `{column: [times of 0, times of 1, …]}`.
    """
    if not table.counted:
        return NONE
    kept = rows.select([*table.counted, "dropped"])
    kept = kept.filter(pc.is_null(kept["dropped"]))
    return pack({name: _count(kept[name]) for name in table.counted})


def count_shard(table_name: str, file: Path) -> str:
    """The value counts of a shard that was written before they were kept, read from its rows.

    Raises:
        OSError, pa.ArrowException, KeyError: the shard cannot be read, or has other columns than ours.
    """
    table = COUNTED[table_name]
    return count_values(table, pq.read_table(file, columns=[*table.counted, "dropped"]))


def pack(counts: Mapping[str, Any]) -> str:
    """Counts by column, in few bytes. Lists of numbers go in binary, each byte's place by itself: most hold zeros."""
    said = {
        name: b64encode(np.asarray(count, "<u4").view(np.uint8).reshape(-1, 4).T.tobytes()).decode()
        if isinstance(count, list)
        else count
        for name, count in counts.items()
    }
    return b64encode(compress(json.dumps(said, separators=(",", ":")).encode())).decode()


def unpack(packed: str) -> dict[str, Any]:
    """What `count_values` has counted, by column: words as they were, numbers as an array."""
    said: dict[str, Any] = json.loads(decompress(b64decode(packed)))
    return {name: _numbers(count) if isinstance(count, str) else count for name, count in said.items()}


def _numbers(count: str) -> NDArray[np.uint32]:
    planes = np.frombuffer(b64decode(count), np.uint8).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view("<u4").reshape(-1)


def _count(column: pa.ChunkedArray) -> Any:
    lists = column.combine_chunks()
    lists = pa.concat_arrays(lists.chunks) if isinstance(lists, pa.ChunkedArray) else lists
    values = lists.flatten()
    if pa.types.is_integer(values.type):
        return np.bincount(values.drop_null().to_numpy(zero_copy_only=False)).tolist()
    stand = pa.table({"row": pc.list_parent_indices(lists), "value": values}).filter(pc.is_valid(values))
    once = stand.group_by(["row", "value"]).aggregate([([], "count_all")])
    counted = once.group_by("value").aggregate([("count_all", "sum"), ([], "count_all")]).sort_by("value")
    return {
        value: [times, num_rows]
        for value, times, num_rows in zip(*(counted[name].to_pylist() for name in _SUMMED), strict=True)
    }


_SUMMED = ("value", "count_all_sum", "count_all")
