"""A small warehouse made by hand: real shards, ledger and catalogue, and neither Prefect nor Ray.

Shard `a` is made: one recording with an utterance that may train, a silence and one whose words are not English,
and a file that is no audio. Shard `b` stops at its codes, which have failed.
"""

import json
import shutil
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import soundfile

from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.fingerprint import ANY, short_hash
from warehouse.ledger import FAILED, MADE, Attempt, Record
from warehouse.plan import Wanted
from warehouse.store import Artifact, write_shard
from warehouse.tables import CODEBOOKS, TABLES, Table
from warehouse.working_copy import objects_of

RATE = 16_000
GOOD, SILENCE, FRENCH = "a/one#0-16050", "a/one#16050-24000", "a/one#24000-40000"
LATER = "b/one#0-40000"

Where = tuple[tuple[str, str], ...]  # conditions: reason and SQL

TAKES: dict[str, tuple[str, ...]] = {
    "recordings": (),
    "utterances": ("recordings",),
    "transcripts": ("utterances", "recordings"),
    "phones": ("transcripts",),
    "codes": ("utterances", "recordings"),
    "examples": ("utterances", "transcripts", "phones", "codes"),
}
SCHEMAS = {table.name: table for table in TABLES}


def make_warehouse(root: Path, corpus: Path, *, where: Where = (), first_code: int = 0) -> Catalogue:
    """The warehouse, published. `where` is the filter of its examples; `first_code` says which codes it has.

    It is made once in a process: a folder that holds none yet gets a copy, whose views name that folder.
    """
    for shard in ("a", "b"):
        (corpus / shard).mkdir(parents=True, exist_ok=True)
        soundfile.write(corpus / shard / "one.wav", np.zeros(40_000, np.float32), RATE)
    index = Catalogue(root)
    if objects_of(root) or index.published.exists():
        recipe = _write(root, where, first_code)
    else:
        first, recipe = _first(where, first_code)
        shutil.copytree(first.name, root, dirs_exist_ok=True)
    index.remember("small", recipe, {"audio": str(corpus)})
    index.take_up()
    return index


@cache
def _first(where: Where, first_code: int) -> tuple[TemporaryDirectory[str], list[Wanted]]:
    """A folder with such a warehouse, whose ledger is taken up, and its recipe."""
    folder = TemporaryDirectory()
    recipe = _write(Path(folder.name), where, first_code)
    Catalogue(Path(folder.name)).take_up()
    return folder, recipe


def _write(root: Path, where: Where, first_code: int) -> list[Wanted]:
    """The shards and the ledger, and the recipe that asks for them."""
    rows = _rows(first_code)
    stages = {name: json.dumps({"stage": name, "version": 1, "settings": {}}) for name in TAKES}
    stages["examples"] = json.dumps({"stage": "examples", "version": 1, "settings": {"where": where}})
    prints = {name: short_hash(stages[name]) for name in TAKES}
    sources = {shard: json.dumps({"files": {f"{shard}/one.wav": [80_044, 1]}}) for shard in ("a", "b")}
    made: dict[tuple[str, str], Artifact] = {}
    for name, takes in TAKES.items():
        for shard, mine in rows[name].items():
            read = [made[above, shard] for above in takes]
            inputs = (
                json.dumps({artifact.path: artifact.digest for artifact in read}, sort_keys=True)
                if takes
                else sources[shard]
            )
            table = pa.Table.from_pylist(mine, schema=SCHEMAS[name].schema)
            seconds = pa.chunked_array([pa.array([1.0] * len(mine))])
            made[name, shard] = write_shard(
                root, SCHEMAS[name], shard, prints[name], table, stage=stages[name], inputs=inputs, seconds=seconds
            )
            _record(root, name, shard, prints[name], made[name, shard])
    _record(root, "codes", "b", prints["codes"], None)
    hashes = {shard: short_hash(listing) for shard, listing in sources.items()}
    return [_wanted(SCHEMAS[name], TAKES[name], prints[name], stages[name], hashes) for name in TAKES]


def codes_of(first: int, frames: int) -> np.ndarray[Any, Any]:
    """Codes `[Q, T]` that differ in every place."""
    return (first + np.arange(8 * frames).reshape(8, frames)).astype(np.uint16) % 1024


def _rows(first_code: int) -> dict[str, dict[str, list[dict[str, Any]]]]:
    recording = {"sample_rate": RATE, "num_samples": 40_000, "seconds": 2.5, "sha256": "5" * 64}
    recording["audio_digest"] = "0" * 32  # both are 2.5 s of silence
    spans = {"a": [(0, 16_050), (16_050, 24_000), (24_000, 40_000)], "b": [(0, 40_000)]}
    utterances = {
        shard: [
            {
                "utterance_id": f"{shard}/one#{start}-{end}",
                "recording_id": f"{shard}/one",
                "speaker_id": shard,
                "start_sample": start,
                "end_sample": end,
                "sample_rate": RATE,
                "seconds": (end - start) / RATE,
                "split": "train",
                "dropped": "silence" if end - start < RATE / 2 else None,
            }
            for start, end in bounds
        ]
        for shard, bounds in spans.items()
    }
    words = {"text": "Good morning.", "language": "en", "judge": "a person"}
    codes = {
        id_: dict(zip(CODEBOOKS, codes_of(first_code, frames).tolist(), strict=True)) | {"num_frames": frames}
        for id_, frames in ((GOOD, 76), (FRENCH, 75))  # 16,050 samples are 75.2 frames
    }
    foreign = {"utterance_id": FRENCH, "dropped": "not_english", "detail": "fr, sure to 0.98"}
    return {
        "recordings": {
            "a": [
                {"recording_id": "a/one", "audio_path": "a/one.wav", **recording},
                {"recording_id": "a/two", "audio_path": "a/two.wav", "dropped": "unreadable", "detail": "no audio"},
            ],
            "b": [{"recording_id": "b/one", "audio_path": "b/one.wav", **recording}],
        },
        "utterances": utterances,
        "transcripts": {
            "a": [{"utterance_id": GOOD, **words}, {**words, **foreign}],
            "b": [{"utterance_id": LATER, **words}],
        },
        "phones": {"a": [{"utterance_id": GOOD, "text_spoken": "good morning", "phones": ["ɡ", "ʊ", "d"]}], "b": []},
        "codes": {"a": [{"utterance_id": id_, **said} for id_, said in codes.items()]},
        "examples": {
            "a": [
                {"utterance_id": GOOD, "split": "train", "failed": []},
                {
                    "utterance_id": FRENCH,
                    "split": "train",
                    "failed": ["not_whole"],
                    "dropped": "not_whole",
                    "detail": "transcripts: not_english",
                },
            ]
        },
    }


def _wanted(table: Table, takes: tuple[str, ...], fingerprint: str, stage: str, sources: dict[str, str]) -> Wanted:
    return Wanted(
        table=table.name,
        takes=takes,
        gathers=(),
        lasting=False,
        one_to_one=table.name in ("transcripts", "phones", "codes", "examples"),
        fingerprints={ANY: fingerprint},
        stages={ANY: stage},
        sources={} if takes else sources,
    )


def _record(root: Path, table: str, shard: str, fingerprint: str, artifact: Artifact | None) -> None:
    now = datetime.now(UTC)
    attempt = Attempt(
        run_id=uuid4().hex,
        flow_run_id=None,
        table_name=table,
        shard=shard,
        fingerprint=fingerprint,
        attempt=1,
        started_at=now.isoformat(),
        ended_at=(now + timedelta(milliseconds=1)).isoformat(),
        state=MADE if artifact else FAILED,
        error=None if artifact else "OSError: the disk is on fire",
        host="here",
        device="cpu",
        seconds=0.1,
        audio_seconds=1.0,
        peak_memory_bytes=1,
    )
    ledger.emit(root, Record(attempt, artifact))
