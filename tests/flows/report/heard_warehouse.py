"""A small warehouse with samples by two systems and their scores, and recordings that are noise."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile

from tests.small_warehouse import GOOD, RATE, make_warehouse
from warehouse.catalogue import Catalogue
from warehouse.fingerprint import ANY, short_hash
from warehouse.plan import Wanted
from warehouse.store import write_shard
from warehouse.tables import CHECKPOINTS, SAMPLES, SCORES, Table

TEXT = 'Good <b>morning</b>, "you" & </script><!--figure funnel 000000000000--> all.'  # as rude as a text can be
SYSTEMS = ("ground-truth", "valle")


def make(root: Path) -> Catalogue:
    """The warehouse, published; its corpus lies in `audio` under the root."""
    index = make_warehouse(root, root / "audio")
    for shard in ("a", "b"):
        soundfile.write(root / "audio" / shard / "one.wav", noise(2.5), RATE)
    made = [_write(root, CHECKPOINTS, _checkpoints()), *_evaluation(root)]
    last = index.last_run()
    index.remember("small", [*last.stages, *made], last.options)
    index.take_up(look_at_disk=True)
    return index


def sample(system: str) -> str:
    """The id of the sample by a system."""
    return f"{system}/{GOOD}/0"


def version(root: Path) -> str:
    """The fingerprint of the samples."""
    return next((root / "samples").glob("*/all.parquet")).parent.name


def noise(seconds: float) -> np.ndarray[Any, Any]:
    """`[num_samples]` at 16 kHz, the same each time."""
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE))).astype(np.float32)


def _evaluation(root: Path) -> tuple[Wanted, Wanted]:
    samples = [
        {"sample_id": sample(system), "system": system, "utterance_id": GOOD, "text": TEXT, "seed": 0, "seconds": 1.0}
        | {"audio_path": f"speech/{system}.flac"}
        for system in SYSTEMS
    ]
    (root / "speech").mkdir()
    for row in samples:
        soundfile.write(root / str(row["audio_path"]), noise(1.0), RATE)
    scores: list[dict[str, Any]] = [
        {"sample_id": row["sample_id"], "system": row["system"], "metric": metric, "value": 0.5, "judge": "a person"}
        | ({"errors": 1, "words": 2} if metric == "wer" else {})
        for row in samples
        for metric in ("wer", "speaker_similarity")
    ]
    return _write(root, SAMPLES, samples), _write(root, SCORES, scores)


def _checkpoints() -> list[dict[str, Any]]:
    return [
        {"checkpoint_id": f"{half}-{step}", "half": half, "step": step, "is_best": step == 10, "alarms": alarms}
        | {"train_loss": 3.0 - step / 10, "valid_loss": 3.5 - step / 10, "valid_loss_shuffled": 4.0}
        for half in ("ar", "nar")
        for step, alarms in ((0, []), (10, ["loss_spike"]))
    ]


def _write(root: Path, table: Table, rows: list[dict[str, Any]]) -> Wanted:
    """One shard, `all`, of a table that asks for nothing."""
    stage = json.dumps({"stage": table.name, "version": 1, "settings": {}})
    listing = json.dumps({"files": {}})
    fingerprint = short_hash(stage)
    seconds = pa.chunked_array([pa.array([1.0] * len(rows))])
    write_shard(
        root,
        replace(table, files=False),
        "all",
        fingerprint,
        pa.Table.from_pylist(rows, schema=table.schema),
        stage=stage,
        inputs=listing,
        seconds=seconds,
    )
    return Wanted(
        table=table.name,
        takes=(),
        gathers=(),
        lasting=False,
        one_to_one=False,
        fingerprints={ANY: fingerprint},
        stages={ANY: stage},
        sources={"all": short_hash(listing)},
    )
