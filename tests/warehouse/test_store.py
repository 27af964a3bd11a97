"""Shards: whole or not at all, compact, and telling where they come from."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from warehouse.errors import BrokenPromise
from warehouse.store import Artifact, clear_unfinished, list_shards, read_artifact, write_shard
from warehouse.tables import CODEBOOKS, CODES

FRAMES = 700


def codes(num_rows: int = 40, seed: int = 0) -> pa.Table:
    """Uniform codes, which take 10 bits and not less; the last row is dropped."""
    rng = np.random.default_rng(seed)
    columns: dict[str, pa.Array] = {
        "utterance_id": pa.array([f"u{i}" for i in range(num_rows)]),
        "num_frames": pa.array([FRAMES] * num_rows, pa.int32()),
        "dropped": pa.array([None] * (num_rows - 1) + ["unreadable"]),
        "detail": pa.nulls(num_rows, pa.string()),
        "si_sdr_db": pa.nulls(num_rows, pa.float32()),
        "fp32_agreement": pa.nulls(num_rows, pa.float32()),
    }
    for name in CODEBOOKS:
        drawn = [rng.integers(0, 1024, FRAMES).astype(np.uint16) for _ in range(num_rows)]
        columns[name] = pa.array(drawn, pa.list_(pa.uint16()))
    return pa.table(columns).select(CODES.schema.names).cast(CODES.schema)


def write(root: Path, rows: pa.Table, shard: str = "s") -> Artifact:
    seconds = pc.divide(rows["num_frames"].cast(pa.float64()), 75.0)
    return write_shard(root, CODES, shard, "f" * 12, rows, stage="{}", inputs="{}", seconds=seconds)


def test_a_shard_says_where_it_comes_from(tmp_path: Path) -> None:
    artifact = write(tmp_path, codes())
    assert read_artifact(tmp_path, tmp_path / artifact.path) == artifact
    assert (artifact.num_rows, artifact.num_dropped) == (40, 1)
    assert artifact.seconds == pytest.approx(40 * FRAMES / 75)
    assert json.loads(artifact.dropped) == {"unreadable": {"rows": 1, "seconds": pytest.approx(FRAMES / 75)}}


def test_what_is_read_back_is_what_was_written(tmp_path: Path) -> None:
    rows = codes()
    assert pq.read_table(tmp_path / write(tmp_path, rows).path).equals(rows)


def test_a_code_takes_ten_bits(tmp_path: Path) -> None:
    artifact = write(tmp_path, codes(num_rows=400))
    assert 10.0 < artifact.bytes * 8 / (400 * FRAMES * 8) < 10.6
    column = pq.read_metadata(tmp_path / artifact.path).row_group(0).column(2)
    assert column.path_in_schema == "codebook_1.list.element"
    assert "RLE_DICTIONARY" in column.encodings


def test_equal_rows_have_equal_digests_and_others_have_others(tmp_path: Path) -> None:
    first, again, other = write(tmp_path, codes()), write(tmp_path, codes(), "t"), write(tmp_path, codes(seed=1), "u")
    assert first.digest == again.digest != other.digest


def test_other_columns_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BrokenPromise, match=r"codes/s lacks \['num_frames: int32'\]"):
        write_shard(tmp_path, CODES, "s", "f", codes().drop_columns("num_frames"), stage="{}", inputs="{}")
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_writer_that_dies_leaves_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", die)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path, codes())
    assert list_shards(tmp_path, ["codes"]) == {}
    assert not list(tmp_path.rglob("*.tmp"))


def test_old_leftovers_are_cleared_and_young_ones_left(tmp_path: Path) -> None:
    import os

    folder = (tmp_path / write(tmp_path, codes()).path).parent
    old, young = folder / ".a.parquet.1.tmp", folder / ".b.parquet.2.tmp"
    for path in (old, young):
        path.touch()
    os.utime(old, (0, 0))
    clear_unfinished(tmp_path, ["codes"])
    assert not old.exists()
    assert young.exists()


def test_a_strange_or_damaged_file_is_no_shard(tmp_path: Path) -> None:
    artifact = write(tmp_path, codes())
    path = tmp_path / artifact.path
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BrokenPromise, match="not a shard"):
        read_artifact(tmp_path, path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(BrokenPromise, match="not a shard"):
        read_artifact(tmp_path, path)


def test_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    artifact = write(tmp_path, codes())
    assert list_shards(tmp_path, ["codes"]) == {artifact.path: artifact.bytes}
    assert replace(artifact, bytes=0) != artifact
