"""One attempt at one shard: read what it needs, call the stage, check the promise, write, leave a record."""

import fcntl
import resource
import socket
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs

from flows.engine import leaving_out, trainings
from flows.engine.recipe import is_one_to_one
from warehouse import corpus_copy, working_copy
from warehouse.errors import BrokenPromise, Mistake
from warehouse.leases import lease
from warehouse.ledger import CRASHED, FAILED, MADE, Attempt, Record, emit
from warehouse.stage import Stage
from warehouse.store import Artifact, check_schema, shard_path, write_atomically, write_shard

# What the next attempt would only meet again. Everything else (files, network, memory, a dead worker) may pass.
LASTING_ERRORS = (Mistake, BrokenPromise, ValueError, TypeError, LookupError, ArithmeticError, AssertionError)


LONGEST_ERROR = 400  # characters


@dataclass(frozen=True, kw_only=True)
class Job:
    """One shard to make."""

    root: Path
    stage: Stage
    shard: str
    fingerprint: str
    description: str  # the stage as JSON
    inputs: str  # what it is made from, as JSON
    reads: tuple[tuple[Path, ...], ...]  # for each table taken, the shards of it
    again: bool  # asked for by name: what lies there is no reason to stop
    device: str = "cpu"
    size: float = 0.0  # of what it is made from, by which the longest of a stage's shards are begun first
    poison: Mapping[str, str] = field(default_factory=dict)  # rows or files that are left out, and what they do
    url: str | None = None  # of the object store that the root is a working copy of
    corpus: tuple[Path, str] | None = None  # the corpus copy of a URL, and that URL

    @property
    def name(self) -> str:
        """Such as `codes/small-00017`."""
        return f"{self.stage.makes.name}/{self.shard}"

    def bind(self) -> None:
        """Lets this process reach the object stores that the warehouse or the corpus lies on."""
        if self.url:
            working_copy.bind(self.root, self.url)
        if self.corpus:
            corpus_copy.bind(*self.corpus)

    @property
    def items(self) -> list[str]:
        """The rows or files that it can be made without; see `flows.engine.leaving_out`."""
        return leaving_out.items(self.stage, self.shard, _datasets(self)[0] if self.reads else None)


@dataclass(frozen=True)
class Failure:
    """How an attempt failed."""

    name: str  # of the shard
    error: str  # one line
    may_pass: bool  # whether another attempt could go better
    crashed: bool = False  # its worker died, hung or had no memory left, so a row may be poison

    @property
    def shard(self) -> str:
        """The shard without its table."""
        return self.name.partition("/")[2]


def make_shard(job: Job, flow_run_id: str | None, attempt: int) -> Artifact | Failure:
    """Make one shard, and leave a record of the attempt whether it succeeds or not."""
    begun = time.time()
    run_id = uuid4().hex
    try:
        job.bind()
        artifact = _make(job)
        record_attempt(job, run_id, flow_run_id, attempt, begun, MADE, artifact=artifact)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        lasting, starved = isinstance(error, LASTING_ERRORS), isinstance(error, MemoryError)
        failure = Failure(job.name, one_line(error), may_pass=not lasting, crashed=starved)
        with suppress(OSError):  # a full disk, perhaps, which is why it failed
            write_atomically(job.root / "logs" / f"{run_id}.txt", traceback.format_exc().encode())
        record_attempt(job, run_id, flow_run_id, attempt, begun, FAILED, error=failure.error)
        return failure
    return artifact


def rehearse(job: Job) -> str | None:
    """Call the stage, and write nothing: does this process survive it? Returns how it ran out of memory, if it did."""
    try:
        job.bind()
        _rows(job, _datasets(job))
    except MemoryError as error:
        return one_line(error)
    except Exception:  # it makes itself heard when the shard is made
        return None
    return None


def record_attempt(
    job: Job,
    run_id: str,
    flow_run_id: str | None,
    attempt: int,
    begun: float,
    state: str,
    *,
    error: str | None = None,
    artifact: Artifact | None = None,
) -> None:
    """Leave the ledger's record of one attempt.

    Raises:
        OSError: it could not be left, of a shard that is made. Of one that failed the run itself tells.
    """
    ended = time.time()
    said = Attempt(
        run_id=run_id,
        flow_run_id=flow_run_id,
        table_name=job.stage.makes.name,
        shard=job.shard,
        fingerprint=job.fingerprint,
        attempt=attempt,
        started_at=datetime.fromtimestamp(begun, UTC).isoformat(),
        ended_at=datetime.fromtimestamp(ended, UTC).isoformat(),
        state=state,
        error=error,
        host=socket.gethostname(),
        device=job.device,
        seconds=ended - begun,
        audio_seconds=artifact.seconds if artifact else None,
        peak_memory_bytes=0 if state == CRASHED else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
    try:
        emit(job.root, Record(said, artifact))
    except OSError:
        if state == MADE:
            raise


def one_line(error: BaseException) -> str:
    """An error as one line, with its kind; a long one is cut, and whole in its traceback under `logs`."""
    words = " ".join(str(error).split())
    words = words if len(words) <= LONGEST_ERROR else f"{words[:LONGEST_ERROR]} …"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _make(job: Job) -> Artifact:
    if not job.stage.makes.files:
        return _write(job)
    with _alone(job):
        if not job.stage.makes.lasting:
            return _write(job, shard=job.shard, folder=_folder(job))
        path = shard_path(job.root, job.stage.makes.name, job.fingerprint, job.shard)
        tables = [taken.name for taken in job.stage.takes]
        folder, inputs, reads = trainings.begin(
            path, dict(zip(tables, job.reads, strict=True)), job.inputs, again=job.again
        )
        artifact = _write(replace(job, inputs=inputs, reads=reads), shard=job.shard, folder=folder)
        trainings.end(path, folder)
        return artifact


def _write(job: Job, **where: Any) -> Artifact:
    reads = [] if getattr(job.stage, "fetches", False) else [path for paths in job.reads for path in paths]
    with working_copy.all_here(reads):
        return _write_of(job, _datasets(job), **where)


def _write_of(job: Job, datasets: list[ds.Dataset], **where: Any) -> Artifact:
    sends = "folder" in where and not getattr(job.stage, "fetches", False)
    with working_copy.mirrored(where["folder"]) if sends else nullcontext():  # before rows say that files are whole
        rows = _rows(job, datasets, **where)
    if job.poison and datasets:
        check_schema(job.stage.makes, job.shard, rows)
        rows = leaving_out.with_dropped(rows, job.stage, datasets[0], job.poison)
    if is_one_to_one(job.stage):
        _check_one_to_one(job, rows, datasets[0])
    return write_shard(
        job.root,
        job.stage.makes,
        job.shard,
        job.fingerprint,
        rows,
        stage=job.description,
        inputs=job.inputs,
        seconds=_seconds(job.stage, rows, datasets),
    )


def _rows(job: Job, datasets: Sequence[ds.Dataset], **where: Any) -> pa.Table:
    """What the stage makes; of a source with its poison told of, of another without it."""
    if not job.stage.takes:
        return job.stage(job.shard, **where, **({"without": job.poison} if job.poison else {}))
    if not job.poison:
        return job.stage(*datasets, **where)
    return job.stage(leaving_out.without(datasets[0], job.stage, job.poison), *datasets[1:], **where)


def _datasets(job: Job) -> list[ds.Dataset]:
    taken = zip(job.stage.takes, job.reads, strict=True)
    if job.url and getattr(job.stage, "fetches", False):
        form, disk = ds.ParquetFileFormat(), pa.fs.LocalFileSystem()
        return [
            ds.FileSystemDataset.from_paths([str(path) for path in paths], table.schema, form, disk)
            for table, paths in taken
        ]
    return [
        ds.dataset([str(working_copy.here(path)) for path in paths], schema=table.schema, format="parquet")
        for table, paths in taken
    ]


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """Nobody else works in this shard's folder meanwhile; a worker that is left of a killed run is waited for."""
    path = shard_path(job.root, job.stage.makes.name, job.fingerprint, job.shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    if objects := working_copy.objects_of(job.root):
        with lease(objects, f"{path.parent.relative_to(job.root).as_posix()}/.{job.shard}.lease"):
            yield
        return
    with path.with_name(f".{job.shard}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, however that ends
        yield


def _folder(job: Job) -> Path:
    """The shard's folder for files. What was begun there from other inputs, or is to be made again, is cleared."""
    path = shard_path(job.root, job.stage.makes.name, job.fingerprint, job.shard)
    if job.url:
        return _folder_there(job, path)
    folder, begun_from = path.with_suffix(""), path.with_name(f".{job.shard}.inputs.json")
    if (path.exists() and job.again) or not begun_from.exists() or begun_from.read_text() != job.inputs:
        begun_from.unlink(missing_ok=True)  # first of all: a folder half cleared is never taken for one begun
        path.unlink(missing_ok=True)  # then the rows, which say that the files are whole
        rmtree(folder, ignore_errors=True)
        write_atomically(begun_from, job.inputs.encode())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _folder_there(job: Job, path: Path) -> Path:
    """As `_folder`, at an object store: what other machines have fetched must stay what it is called.

    So only what is made from the same as the first time, by nobody's wish to make it again, goes into the same folder.
    """
    begun_from = path.with_name(f".{job.shard}.inputs.json")
    working_copy.notes_here(path)
    name = job.shard
    if not begun_from.exists():
        write_atomically(begun_from, job.inputs.encode())
        working_copy.send(begun_from)
    elif job.again or begun_from.read_text() != job.inputs:
        made_from = job.inputs + (uuid4().hex if job.again else "")
        name = f"{job.shard}~{sha256(made_from.encode()).hexdigest()[:8]}"
    folder = path.with_name(name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _check_one_to_one(job: Job, rows: pa.Table, first: ds.Dataset) -> None:
    """Every kept row of the first table taken has one row, in whatever order."""
    [key] = job.stage.makes.key
    kept = first.to_table(columns=[key], filter=ds.field("dropped").is_null())[key]
    if kept.sort().combine_chunks() != rows[key].sort().combine_chunks():
        lost = pc.sum(pc.invert(pc.is_in(kept, value_set=rows[key].combine_chunks()))).as_py() or 0
        raise BrokenPromise(
            f"{job.name} gave {rows.num_rows} rows for {len(kept)} kept rows of {job.stage.takes[0].name} ({lost} lost)"
        )


def _seconds(stage: Stage, rows: pa.Table, datasets: Sequence[ds.Dataset]) -> pa.ChunkedArray | None:
    """Seconds of audio of each row: its own, or those of the row of its key in a table that the stage takes."""
    if "seconds" in rows.column_names:
        return rows["seconds"]
    for table, dataset in zip(stage.takes, datasets, strict=True):
        if table.key == stage.makes.key and len(table.key) == 1 and "seconds" in table.schema.names:
            known: Any = dataset.to_table(columns=[table.key[0], "seconds"])
            return known["seconds"].take(
                pc.index_in(rows[table.key[0]], value_set=known[table.key[0]].combine_chunks())
            )
    return None
