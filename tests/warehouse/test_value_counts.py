"""Value counts: kept rows alone, words with their rows, and any number however often it stands there."""

import numpy as np
import pyarrow as pa

from warehouse.tables import CODEBOOKS, CODES, PHONES, RECORDINGS
from warehouse.value_counts import NONE, count_values, pack, unpack


def test_words_are_counted_with_the_rows_that_they_stand_in() -> None:
    rows = pa.Table.from_pylist(
        [
            {"phones": ["a", "b", "a"]},
            {"phones": ["a", None]},
            {"phones": []},
            {"phones": None},
            {"phones": ["c"], "dropped": "no_words"},
        ],
        schema=PHONES.schema,
    )
    assert unpack(count_values(PHONES, rows)) == {"phones": {"a": [3, 2], "b": [1, 1]}}


def test_numbers_are_counted_by_their_places() -> None:
    rows = pa.Table.from_pylist(
        [{"codebook_1": [3, 3, 0]}, {"codebook_1": [3]}, {"codebook_1": [9], "dropped": "unreadable"}],
        schema=CODES.schema,
    )
    counts = unpack(count_values(CODES, rows))
    assert counts.keys() == set(CODEBOOKS)
    assert counts["codebook_1"].tolist() == [1, 0, 0, 3]
    assert counts["codebook_2"].tolist() == []


def test_large_counts_survive() -> None:
    assert unpack(pack({"x": [0, 70_000, 2**31]}))["x"].tolist() == [0, 70_000, 2**31]
    counted = unpack(pack({"x": np.arange(1024).tolist()}))["x"]
    assert counted.tolist() == list(range(1024))


def test_a_slice_of_rows_counts_only_what_is_in_it() -> None:
    rows = pa.Table.from_pylist([{"phones": ["a"]}, {"phones": ["b"]}], schema=PHONES.schema)
    assert unpack(count_values(PHONES, rows.slice(1))) == {"phones": {"b": [1, 1]}}


def test_a_table_without_such_columns_counts_nothing() -> None:
    assert count_values(RECORDINGS, RECORDINGS.schema.empty_table()) == NONE
