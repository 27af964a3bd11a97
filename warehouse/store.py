"""Parquet shards on disk: whole or not at all, with their provenance inside.

A shard is written to a temporary file, checked, flushed to the disk and moved
into place in one rename, so a file that has its name is complete. Its footer
says how it was made; its digest is over the data pages alone, so equal rows
have equal digests whenever and wherever they were made.
"""

import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse import working_copy
from warehouse.errors import BrokenPromise
from warehouse.tables import Table
from warehouse.tallies import NONE, tally_rows
from warehouse.value_counts import count_values

_PROVENANCE = b"artifact"  # the footer's key
_DIGITS = 16  # hex digits of a digest
ABANDONED = 3600.0  # seconds after which nobody is still writing a temporary file


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One shard, as the catalogue knows it."""

    table_name: str
    shard: str
    fingerprint: str
    path: str  # relative to the root
    num_rows: int  # kept and dropped
    num_dropped: int
    seconds: float | None  # of audio in all its rows; null where rows are not speech
    dropped: str  # JSON: reason -> {"rows", "seconds"}
    bytes: int
    digest: str  # of the rows
    stage: str  # JSON: name, version and settings
    inputs: str  # JSON: what was read; see `warehouse.plan`
    made_at: str  # ISO 8601, UTC
    tally: str = NONE  # JSON: what is counted of its rows; see `warehouse.tallies`
    counts: str = ""  # how often each phone or code stands in it; see `warehouse.value_counts`. Not in the catalogue
    sha256: str = field(default="", compare=False)  # of the file; its own footer cannot say it


def shard_path(root: Path, table: str, fingerprint: str, shard: str) -> Path:
    """Where a shard lies, or would lie."""
    return root / table / fingerprint / f"{shard}.parquet"


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write a file so that it appears whole or not at all, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_shard(
    root: Path,
    table: Table,
    shard: str,
    fingerprint: str,
    rows: pa.Table,
    *,
    stage: str,
    inputs: str,
    seconds: pa.ChunkedArray | None = None,
) -> Artifact:
    """Write one shard.

    Args:
        seconds: of audio in each row, where the rows are speech.

    Raises:
        BrokenPromise: the rows have other columns than their table.
    """
    check_schema(table, shard, rows)
    refusals = count_dropped(rows, seconds)
    path = shard_path(root, table.name, fingerprint, shard)
    file = BytesIO()
    with pq.ParquetWriter(file, rows.schema, compression="zstd", use_dictionary=True) as writer:
        # use_dictionary must be True: naming a list column `codebook_1` silently does nothing (its leaf is
        # `codebook_1.list.element`), and a code would take 32 bits instead of 10.
        writer.write_table(rows.combine_chunks())
        with file.getbuffer() as pages:
            hashed, num_hashed = sha256(pages), len(pages)
        artifact = Artifact(
            table_name=table.name,
            shard=shard,
            fingerprint=fingerprint,
            path=path.relative_to(root).as_posix(),
            num_rows=rows.num_rows,
            num_dropped=sum(int(refusal["rows"]) for refusal in refusals.values()),
            seconds=None if seconds is None else float(pc.sum(seconds).as_py() or 0.0),
            dropped=json.dumps(refusals, sort_keys=True),
            bytes=0,
            digest=hashed.hexdigest()[:_DIGITS],
            stage=stage,
            inputs=inputs,
            made_at=datetime.now(UTC).isoformat(),
            tally=tally_rows(table, rows, seconds),
            counts=count_values(table, rows),
        )
        writer.add_key_value_metadata({_PROVENANCE: json.dumps(asdict(artifact))})
    with file.getbuffer() as whole:
        num_rows = pq.read_metadata(pa.BufferReader(whole)).num_rows
        if num_rows != rows.num_rows:
            raise BrokenPromise(f"{table.name}/{shard}: {rows.num_rows} rows became {num_rows} in the file")
        hashed.update(whole[num_hashed:])  # the footer
        artifact = replace(artifact, bytes=whole.nbytes, sha256=hashed.hexdigest())
        _put(root, path, artifact, whole)
        return artifact


def _put(root: Path, path: Path, artifact: Artifact, whole: memoryview) -> None:
    """The file of a shard to where it stays."""
    objects = working_copy.objects_of(root)
    if not objects:
        write_atomically(path, whole)
        return
    data = bytes(whole)
    name = working_copy.object_name(artifact.path, artifact.sha256)
    if not objects.create(name, data):
        raise BrokenPromise(f"{objects.url}/{name} is there, and is not what its name says")
    working_copy.keep_shard(root, artifact.path, artifact.sha256, data)


def place_of(root: Path, artifact: Artifact) -> str:
    """The name of a shard's file, relative to the root or to the URL that it is a working copy of."""
    if working_copy.objects_of(root):
        return working_copy.object_name(artifact.path, artifact.sha256)
    return artifact.path


def read_shard(root: Path, place: str) -> Artifact:
    """What the footer of a file says, by the name that `list_shards` gives.

    Raises:
        BrokenPromise: the file is no shard of ours.
    """
    if not working_copy.objects_of(root):
        return read_artifact(root, root / place)
    path, digest = working_copy.shard_of(place)
    file = working_copy.shard_file(root, path, digest)
    for _ in range(2):
        try:
            found = sha256(working_copy.here(file).read_bytes()).hexdigest()
        except FileNotFoundError as error:
            raise BrokenPromise(f"{place} is not a shard of a warehouse: {error}") from error
        if digest and found.startswith(digest):
            return replace(read_artifact(root, file), path=path, sha256=found)
        file.unlink()  # a power cut may have emptied what lay here; what is there decides
    raise BrokenPromise(f"{place} is not what its name says")


def read_artifact(root: Path, path: Path) -> Artifact:
    """What a shard's footer says of it.

    Raises:
        BrokenPromise: the file is no shard of ours.
    """
    try:
        written = json.loads((pq.read_metadata(path).metadata or {})[_PROVENANCE])
        return Artifact(**{**written, "bytes": path.stat().st_size, "path": path.relative_to(root).as_posix()})
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise BrokenPromise(f"{path} is not a shard of a warehouse: {error}") from error


def digest_of_pages(whole: bytes) -> str:
    """The digest of a shard's rows, from the bytes of its file: all but the footer, which says how long it is."""
    length = int.from_bytes(whole[-8:-4], "little") + 8
    return sha256(whole[:-length]).hexdigest()[:_DIGITS]


def list_shards(root: Path, tables: Iterable[str]) -> dict[str, int]:
    """Every shard's file: its path relative to the root, or the name of its object, and its bytes."""
    if objects := working_copy.objects_of(root):
        with ThreadPoolExecutor(8) as pool:
            listed = pool.map(objects.list, tables)
        return {name: size for some in listed for name, size in some.items() if is_shard(name)}
    found: dict[str, int] = {}
    for table in tables:
        for folder in _folders(root / table):
            for entry in os.scandir(folder):
                if entry.name.endswith(".parquet") and not entry.name.startswith("."):
                    found[f"{table}/{folder.name}/{entry.name}"] = entry.stat().st_size
    return found


def is_shard(name: str) -> bool:
    """Whether an object is a shard's file: of a table and a fingerprint, and no file beside rows."""
    return name.endswith(".parquet") and name.count("/") == 2 and "@" in name


def clear_unfinished(root: Path, tables: Iterable[str]) -> None:
    """Remove the temporary files that killed writers left behind an hour ago or more."""
    long_ago = time.time() - ABANDONED
    for table in tables:
        for folder in _folders(root / table):
            for path in folder.glob(".*.tmp"):
                with suppress(FileNotFoundError):  # its writer was alive after all
                    if path.stat().st_mtime < long_ago:
                        path.unlink()


def check_schema(table: Table, shard: str, rows: pa.Table) -> None:
    """Raises BrokenPromise where rows have other columns than their table."""
    if rows.schema != table.schema:
        theirs = {f"{f.name}: {f.type}" for f in rows.schema}
        ours = {f"{f.name}: {f.type}" for f in table.schema}
        missing, extra = sorted(ours - theirs), sorted(theirs - ours)
        wrong = f"lacks {missing}, has {extra} too" if missing or extra else "has its columns in another order"
        raise BrokenPromise(f"{table.name}/{shard} {wrong}")


def count_dropped(rows: pa.Table, seconds: pa.ChunkedArray | None) -> dict[str, dict[str, float]]:
    """Rows and seconds of audio by the reason that refused them."""
    if "dropped" not in rows.column_names:
        return {}
    seconds = pa.chunked_array([pa.nulls(rows.num_rows, pa.float64())]) if seconds is None else seconds
    refused = pa.table({"dropped": rows["dropped"], "seconds": seconds}).filter(pc.is_valid(rows["dropped"]))
    counts = refused.group_by("dropped").aggregate([("dropped", "count"), ("seconds", "sum")]).to_pylist()
    return {row["dropped"]: {"rows": row["dropped_count"], "seconds": row["seconds_sum"] or 0.0} for row in counts}


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the rename itself must survive a power cut
    finally:
        os.close(descriptor)
