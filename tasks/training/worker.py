"""One half's training as its workers run it: what they are told, and the examples, read a Parquet shard at a time.

A worker holds no more than a few shards. The AR reads an eighth of the codes, for Parquet keeps each codebook's column
to itself.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from heapq import nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from warehouse import working_copy
from warehouse.tables import CODEBOOKS

if TYPE_CHECKING:
    from model.training.trainer import Training, Where
    from model.valle.batch import Example
    from model.valle.settings import Settings

Config = dict[str, Any]
Valid = Literal["dev", "held-out", "train"]  # what a training validates on

VALIDATIONS = "validations.json"
HELD_OUT = 16  # without dev examples, one utterance in so many is held out of train


@dataclass(frozen=True)
class ShardFiles:
    """The Parquet files of one shard of the examples."""

    examples: str
    phones: str
    codes: str


class Kept(NamedTuple):
    """An example that was not dropped."""

    utterance_id: str
    split: str
    speaker_id: str | None
    language: str | None  # ISO 639-1

    @property
    def held_out(self) -> bool:
        """Whether the hash of its id keeps it out of training, where there is nothing else to validate on."""
        return int.from_bytes(sha256(self.utterance_id.encode()).digest()[:4], "big") % HELD_OUT == 0

    @property
    def lot(self) -> int:
        """A number below 2**63 by the hash of its id: those of the least lots validate."""
        return int.from_bytes(sha256(self.utterance_id.encode()).digest()[4:12], "big") >> 1

    def validates(self, valid: Valid) -> bool:
        """Whether a training that validates on such examples may choose it."""
        return self.split == ("dev" if valid == "dev" else "train") and (valid != "held-out" or self.held_out)


@dataclass(frozen=True)
class Job:
    """One training, as its workers get it: plain words and paths."""

    settings: "Settings"
    training: "Training"
    shards: tuple[ShardFiles, ...]  # those with anything to train on
    valid_shards: tuple[ShardFiles, ...]  # those with anything that validates
    valid: Valid
    last_lot: int  # an example whose lot is greater does not validate
    folder: Path
    start: Path | None  # a checkpoint to begin from
    codec: str | None  # whose codebooks the codes' embeddings begin as
    where: "Where"
    url: str | None = None  # of the object store that the folder's root is a working copy of


def shared_out(batches: int, workers: int) -> int:
    """How many of some workers can share out the batches of a step evenly: the most that divide their number."""
    return max(number for number in range(1, workers + 1) if batches % number == 0)


def train_half(config: Config) -> None:
    """Trains what `config["job"]` says; runs alike in every worker. Leaves checkpoints and `validations.json`."""
    from model.codec import weights
    from model.training.parallel import Workers
    from model.training.trainer import train
    from model.valle.checkpoint import write_whole

    job: Job = config["job"]
    if job.url:
        working_copy.bind(job.folder.parents[2], job.url)
        working_copy.forget_unsent(job.folder / "states")  # every worker goes on from the same state
        working_copy.folder_here(job.folder)
    codebooks = CODEBOOKS[:1] if job.settings.half == "ar" else CODEBOOKS
    is_first = Workers.here().rank == 0
    with working_copy.mirrored(job.folder) if is_first else nullcontext():
        progress = train(
            job.settings,
            job.training,
            TrainShards(job.shards, codebooks, job.valid, job.settings.languages),
            list(valid_examples(job, codebooks)),
            job.folder,
            replace(job.where, device=_device(job.where.device)),
            job.start,
            weights.codebooks(job.codec) if job.codec else None,
        )
        if is_first:
            write_whole(job.folder / VALIDATIONS, json.dumps([asdict(record) for record in progress]).encode())


@dataclass(frozen=True)
class TrainShards:
    """The examples to train on, a shard at a time, each read when it is asked for."""

    shards: tuple[ShardFiles, ...]
    codebooks: tuple[str, ...]
    valid: Valid  # what is held out
    languages: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> list["Example"]:
        files = self.shards[index]
        kept = [
            row for row in kept_of(files) if row.split == "train" and not (self.valid == "held-out" and row.held_out)
        ]
        return read(files, kept, self.codebooks, self.languages)


def read(
    files: ShardFiles, kept: Sequence[Kept], codebooks: tuple[str, ...], languages: tuple[str, ...] = ()
) -> list["Example"]:
    """The phones and codes of examples of one shard, in their order.

    Raises:
        ValueError: the shard has an example without phones or codes, or in a language that is not named.
    """
    from model.valle.batch import Example

    ids = [row.utterance_id for row in kept]
    phones = _lists(files.phones, ids, ("phone_ids",))
    codes = _lists(files.codes, ids, codebooks)
    strangers = {row.language or "" for row in kept} - {*languages} if languages else ()
    if strangers:
        raise ValueError(f"checkpoints.languages lacks {min(strangers)!r}, in which {files.examples} has examples")
    return [
        Example(ids[0], np.stack(frames), row.speaker_id or "", languages.index(row.language or "") if languages else 0)
        for row, ids, frames in zip(kept, phones, codes, strict=True)
    ]


def _lists(path: str, utterance_ids: list[str], columns: tuple[str, ...]) -> list[list[NDArray[np.uint16]]]:
    """For each utterance, its lists in some columns of a Parquet file."""
    table = pq.read_table(working_copy.here(Path(path)), columns=["utterance_id", *columns])
    places = pc.index_in(pa.array(utterance_ids, pa.string()), value_set=table["utterance_id"].combine_chunks())
    taken = table.select(columns).take(places)
    if any(column.null_count for column in taken.columns):
        raise ValueError(f"{path} lacks {' or '.join(columns)} of an example: an example must be whole")
    parts = []
    for column in taken.columns:
        ends = np.cumsum(pc.list_value_length(column).to_numpy())
        parts.append(np.split(pc.list_flatten(column).to_numpy(), ends[:-1]) if len(ends) else [])
    return [list(row) for row in zip(*parts, strict=True)]


def kept_of(files: ShardFiles) -> list[Kept]:
    """The examples of a shard that were not dropped."""
    file = working_copy.here(Path(files.examples))
    kept = pq.read_table(file, columns=list(Kept._fields), filters=pc.field("dropped").is_null())
    return [Kept(*row) for row in zip(*(kept[name].to_pylist() for name in Kept._fields), strict=True)]


class Survey(NamedTuple):
    """What a shard of the examples holds."""

    num_train: int
    num_valid: dict[Valid, int]  # how many could validate, by what is validated on
    lots: dict[Valid, list[int]]  # the least of theirs, in order


def survey(files: ShardFiles, most: int) -> Survey:
    """What a shard of the examples holds, with the `most` least lots of those that could validate."""
    kept = kept_of(files)
    lots: dict[Valid, list[int]] = {}
    counts: dict[Valid, int] = {}
    for valid in get_args(Valid):
        found = [row.lot for row in kept if row.validates(valid)]
        counts[valid], lots[valid] = len(found), nsmallest(most, found)
    return Survey(sum(row.split == "train" for row in kept), counts, lots)


def valid_examples(job: Job, codebooks: tuple[str, ...]) -> Iterator["Example"]:
    """What to validate on, drawn over all shards alike."""
    for files in job.valid_shards:
        rows = [row for row in kept_of(files) if row.validates(job.valid) and row.lot <= job.last_lot]
        yield from read(files, rows, codebooks, job.settings.languages)


def _device(device: str) -> str:
    """This worker's own GPU, where the device is `cuda`."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device
