"""A toy pipeline on two cores in milliseconds: utterances, their codes, and how many frames there are.

It is a recipe file, too: `tests/toy.py:toy` runs it by the command line, where
its classes travel to the workers by value. A file beside the corpus' shards
says which of them fail, and how often.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from flows.engine.recipe import Recipe
from tasks.checkpoints import Checkpoints
from warehouse import ledger
from warehouse.stage import Resources
from warehouse.store import write_atomically
from warehouse.tables import CODEBOOKS, CODES, EXAMPLES, PHONES, UTTERANCES, Table

LEARNT = Table(
    "learnt",
    grain="a training",
    schema=pa.schema({"steps": pa.int64(), "frames": pa.int64(), "path": pa.string()}),
    files=True,
    lasting=True,
)
WEIGHTS = Table(
    "weights",
    grain="a training",
    schema=pa.schema({"steps": pa.int64(), "weights": pa.string(), "path": pa.string()}),
    files=True,
    lasting=True,
)
TOTALS = Table("totals", grain="the corpus", schema=pa.schema({"frames": pa.int64()}))
KEPT = ds.field("dropped").is_null()


def wait_for(there: Callable[[], object], what: str) -> None:
    """Waits for what others do meanwhile, however busy the machine is."""
    deadline = time.monotonic() + 100
    while not there():
        if time.monotonic() > deadline:
            raise ValueError(f"waited in vain for {what}")
        time.sleep(0.02)


@dataclass(frozen=True, kw_only=True)
class ToyUtterances:
    """A shard for each text file of the corpus: a row for each of its lines, and the first one is silence."""

    makes, takes = UTTERANCES, ()
    needs, version, gathers = Resources(), 1, False
    min_letters: int = 1
    audio: Path = field(default=Path("audio"), compare=False)

    def shards(self) -> dict[str, dict[str, tuple[int, int]]]:
        return {
            path.stem: {path.name: (path.stat().st_size, path.stat().st_mtime_ns)} for path in self.audio.glob("*.txt")
        }

    def __call__(self, shard: str) -> pa.Table:
        lines = (self.audio / f"{shard}.txt").read_text().splitlines()
        if "last" in lines:
            wait_for(self._the_rest_is_through, "the examples of all others")
        if "poison" in lines:
            os._exit(9)  # what an out-of-memory kill looks like
        if "broken" in lines:
            raise OSError("the disk is on fire")
        if "wrong" in lines:
            raise ValueError("these are no utterances")
        rows = [
            {
                "utterance_id": f"{shard}#{i}",
                "recording_id": shard,
                "speaker_id": shard,
                "seconds": float(len(line)),
                "split": "train",
                "dropped": "silence" if i == 0 else None,
            }
            for i, line in enumerate(lines)
        ]
        return pa.Table.from_pylist(rows, schema=UTTERANCES.schema)

    def _the_rest_is_through(self) -> bool:
        """Whether the ledger of the warehouse beside the corpus says so."""
        root = self.audio.parent / "root"
        told = [*ledger.read([*ledger.waiting(root), *ledger.kept(root)])]
        done = [record for record in told if isinstance(record, ledger.Record) and record.artifact]
        through = {record.attempt.shard for record in done if record.attempt.table_name == "examples"}
        return len(through) == len(self.shards()) - 1


@dataclass(frozen=True, kw_only=True)
class ToyCodes:
    """Codes of as many frames as an utterance has seconds."""

    makes, takes = CODES, (UTTERANCES,)
    needs, version, gathers = Resources(), 1, False
    step: int = 1
    pause: float = field(default=0.0, compare=False)  # seconds of work
    meets: str = field(default="", compare=False)  # a folder in which each shard waits for a second one
    loses: bool = field(default=False, compare=False)  # a row, against the contract
    fails: str = field(default="", compare=False)  # the recording whose codes cannot be made
    poison: str = field(default="", compare=False)  # such as `b#1 crashes`: what happens over an utterance
    device: str = field(default="cpu", compare=False)
    breaks: str = field(default="", compare=False)  # a file that the first process leaves, whose device then is broken

    def __call__(self, utterances: ds.Dataset) -> pa.Table:
        if self.pause and "VALLE_TEST_BEGUN" in os.environ:
            Path(os.environ["VALLE_TEST_BEGUN"]).touch()
        time.sleep(self.pause)
        if self.meets:
            Path(self.meets, str(os.getpid())).touch()
            wait_for(lambda: len(os.listdir(self.meets)) > 1, "a shard that is made at the same time")
        kept = utterances.to_table(filter=KEPT).to_pylist()[int(self.loses) :]
        self._suffer([row["utterance_id"] for row in kept])
        if self.fails in [row["recording_id"] for row in kept]:
            raise ValueError("these have no codes")
        rows = [
            {
                "utterance_id": row["utterance_id"],
                "num_frames": int(row["seconds"]),
                "codebook_1": list(range(0, int(row["seconds"]) * self.step, self.step)),
                "dropped": "too_short" if row["seconds"] < 2 else None,
            }
            for row in kept
        ]
        return pa.Table.from_pylist(rows, schema=CODES.schema)

    def _suffer(self, utterance_ids: list[str]) -> None:
        """What a worker cannot bear."""
        who, _, what = self.poison.partition(" ")
        if who in utterance_ids or who == "every":
            match what:
                case "crashes":
                    os._exit(9)
                case "hangs":
                    time.sleep(3600)
                case "starves":
                    raise MemoryError("no room for 1 TiB")
        if self.breaks and not Path(self.breaks).exists():
            Path(self.breaks).touch()
            os.environ["TOY_DEVICE_IS_BROKEN"] = "1"
        if "TOY_DEVICE_IS_BROKEN" in os.environ:
            raise RuntimeError("CUDA error: device-side assert triggered")


@dataclass(frozen=True, kw_only=True)
class WideCodes(ToyCodes):
    """The same, by a worker that needs more than there is."""

    needs = Resources(cpus=64)


@dataclass(frozen=True, kw_only=True)
class GpuCodes(ToyCodes):
    """The same, by a worker that needs a GPU."""

    needs = Resources(gpus=1.0)


@dataclass(frozen=True, kw_only=True)
class ToyTotals:
    """One row about every shard."""

    makes, takes = TOTALS, (CODES,)
    needs, version, gathers = Resources(), 1, True

    def __call__(self, codes: ds.Dataset) -> pa.Table:
        frames = codes.to_table(columns=["num_frames"], filter=KEPT)["num_frames"].to_pylist()
        return pa.table({"frames": [sum(frames)]}, schema=TOTALS.schema)


@dataclass(frozen=True, kw_only=True)
class ToyTraining:
    """A step each time it is called, until it may end: while the corpus holds a file `unfinished` it does not."""

    makes, takes = LEARNT, (CODES,)
    needs, version, gathers = Resources(), 1, True
    audio: Path = field(default=Path("audio"), compare=False)

    def __call__(self, codes: ds.Dataset, *, shard: str, folder: Path) -> pa.Table:
        steps = folder / "steps.txt"
        done = [*(steps.read_text().split() if steps.exists() else []), "step"]
        steps.write_text(" ".join(done))
        if (self.audio / "unfinished").exists():
            raise ValueError(f"killed at step {len(done)}")
        frames = sum(codes.to_table(columns=["num_frames"], filter=KEPT)["num_frames"].to_pylist())
        row = {"steps": [len(done)], "frames": [frames], "path": [folder.name]}
        return pa.table(row, schema=LEARNT.schema)


@dataclass(frozen=True, kw_only=True)
class ToyWeights:
    """A training in steps, each of which depends on all before it; it goes on from the last that was saved."""

    makes, takes = WEIGHTS, (CODES,)
    needs, version, gathers = Resources(), 1, True
    steps: int = 10
    pause: float = field(default=0.0, compare=False)  # seconds of work in a step

    def __call__(self, codes: ds.Dataset, *, shard: str, folder: Path) -> pa.Table:
        state = folder / "state.json"
        done, weights = json.loads(state.read_text()) if state.exists() else (0, "")
        frames = sorted(codes.to_table(columns=["num_frames"], filter=KEPT)["num_frames"].to_pylist())
        for step in range(done, self.steps):
            time.sleep(self.pause)
            weights = sha256(f"{weights} {step} {frames}".encode()).hexdigest()
            write_atomically(state, json.dumps([step + 1, weights]).encode())
        row = {"steps": [self.steps], "weights": [weights], "path": [folder.name]}
        return pa.table(row, schema=WEIGHTS.schema)


@dataclass(frozen=True, kw_only=True)
class ToyExamples:
    """Every utterance may train."""

    makes, takes = EXAMPLES, (UTTERANCES, CODES)
    needs, version, gathers = Resources(), 1, False

    def __call__(self, utterances: ds.Dataset, _codes: ds.Dataset) -> pa.Table:
        ids = utterances.to_table(filter=KEPT)["utterance_id"].to_pylist()
        return pa.Table.from_pylist([{"utterance_id": id_, "split": "train"} for id_ in ids], schema=EXAMPLES.schema)


def _made_up(utterances: ds.Dataset, table: Table, columns: Any) -> pa.Table:
    """A row for each kept utterance, drawn by its id."""
    ids = utterances.to_table(filter=ds.field("dropped").is_null())["utterance_id"].to_pylist()
    rows = [{"utterance_id": id_, **columns(np.random.default_rng(crc32(id_.encode())))} for id_ in ids]
    return pa.Table.from_pylist(rows, schema=table.schema)


@dataclass(frozen=True, kw_only=True)
class MadeUpPhones:
    """Some five phones for each utterance."""

    makes, takes = PHONES, (UTTERANCES,)
    needs, version, gathers = Resources(), 1, False

    def __call__(self, utterances: ds.Dataset) -> pa.Table:
        return _made_up(
            utterances, PHONES, lambda draw: {"phone_ids": draw.integers(0, 40, draw.integers(3, 7)).tolist()}
        )


@dataclass(frozen=True, kw_only=True)
class MadeUpCodes:
    """Twelve frames for each utterance."""

    makes, takes = CODES, (UTTERANCES,)
    needs, version, gathers = Resources(), 1, False

    def __call__(self, utterances: ds.Dataset) -> pa.Table:
        def columns(draw: np.random.Generator) -> dict[str, Any]:
            return {"num_frames": 12, **{name: draw.integers(0, 1024, 12).tolist() for name in CODEBOOKS}}

        return _made_up(utterances, CODES, columns)


@dataclass(frozen=True, kw_only=True)
class Speakers(Checkpoints):
    """The AR of the real model, and no NAR."""

    gathers = ("ar",)  # type: ignore[assignment]


def toy() -> Recipe:
    """The whole of it."""
    return Recipe((ToyUtterances(), ToyCodes(), ToyExamples(), ToyTotals()))


def trained() -> Recipe:
    """With a training at its end."""
    return Recipe((ToyUtterances(), ToyCodes(), ToyTraining()))


def shaken() -> Recipe:
    """All kinds of stages, a training among them, with time for whatever may happen."""
    stages = (ToyUtterances(), ToyCodes(pause=0.4), ToyExamples(), ToyTotals(), ToyWeights(pause=0.3))
    return Recipe(stages)


def taught() -> Recipe:
    """With a training of the real model at its end, which takes some seconds."""
    trained = Speakers(
        size="tiny",
        codec="encodec_24khz",
        num_validations=2,
        accumulate=2,
        ar_steps=80,
        ar_warmup_steps=1,
        ar_batch_frames=120,
        save_every=4,
        tensorboard=False,
    )
    return Recipe((ToyUtterances(), MadeUpPhones(), MadeUpCodes(), ToyExamples(), trained))


def endless() -> Recipe:
    """The same rows, in an hour."""
    return Recipe((ToyUtterances(), ToyCodes(pause=3600.0), ToyExamples(), ToyTotals()))


def wide() -> Recipe:
    """With a stage for which there is no room."""
    return Recipe((ToyUtterances(), WideCodes(), ToyExamples(), ToyTotals()))


def on_gpus() -> Recipe:
    """With a stage for which there must be a GPU."""
    return Recipe((ToyUtterances(), GpuCodes(), ToyExamples(), ToyTotals()))


def write_corpus(folder: Path, **shards: str) -> Path:
    """A corpus of text files: `write_corpus(folder, a="pause one two")` gives shard `a` three lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, words in shards.items():
        (folder / f"{name}.txt").write_text("\n".join(words.split()))
    return folder
