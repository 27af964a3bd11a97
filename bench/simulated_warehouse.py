"""A made-up warehouse of LibriLight's size: 7,439 speakers, 14 million utterances, all made but for the speech in them.

What is real: the corpus's folders and files (empty ones that claim a size), a Parquet file for each shard of each
table from `recordings` to `examples` with a row for each utterance, the ledger, the catalogue. What is made up: the
rows. Each shard is eight hours of one reader and differs from the others by the reader's name; its columns of codes are
null, for they would take 160 GB, and its counts of codes are drawn at random.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.made_up import attempt
from flows.engine.recipe import Listings, Recipe
from flows.recipes import load_recipe
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.ledger import Record
from warehouse.plan import StagePlan, Wanted, inputs_of, plan_stage
from warehouse.store import Artifact, place_of, shard_path
from warehouse.tables import CODEBOOK_SIZE, CODEBOOKS, TABLES, Table, Tally
from warehouse.value_counts import count_values, pack
from warehouse.working_copy import objects_of

SETTING = "recordings.subset=large"  # all three archives

NUM_SHARDS = 7_439  # speakers of LibriLight, Kahn et al. 2020, table 1
RECORDINGS = 30  # of a speaker: 219,041 in all there, 223,170 here; each is a .flac and a .json
FLAC_BYTES = 16_300_000  # 16 minutes at LibriLight's mean of 16.8 kB a second
RECORDS_PER_FILE = 100  # of the ledger: what is taken up at a time
ROWS: Mapping[
    str, tuple[int, dict[str, int]]
] = {  # of a shard: kept, and dropped by reason; each adds up with those above
    "recordings": (30, {"too_short": 1}),
    "utterances": (1_882, {"silence": 310}),
    "transcripts": (1_840, {"not_english": 12, "low_confidence": 30}),
    "phones": (1_838, {"no_words": 2}),
    "codes": (1_882, {}),
    "examples": (1_838, {"not_whole": 44}),
}
SECONDS_OF_A_ROW = {"recordings": 970.0}  # else 15
READER = "@@@@@"  # of rows that are nobody's yet; a speaker's name is as long
NAMING = {"utterance_id", "recording_id", "speaker_id", "book_id", "audio_digest"}  # columns that have it in them
TEXT = "and the lighthouse keeper opened a window to see whether the boats were coming home before the storm " * 2
PHONES = [*"ænd ðə laɪthaʊs kiːpɚ oʊpənd ɐ wɪndoʊ tə siː wɛðɚ ðə boʊts wɜː kʌmɪŋ hoʊm bɪfoːɹ ðə stoːɹm "] * 2
HALF_SECONDS = [0, 0] + [50] * 37 + [32]  # 1,882 utterances of 1 to 20 s


def fabricate(root: Path, audio: Path, num_shards: int, seconds: Callable[[str], float] = lambda _: 60.0) -> None:
    """A warehouse in which all is made from `recordings` to `examples`; `seconds` is what a shard of a table took."""
    fabricate_corpus(audio, num_shards)
    recipe = load_recipe("librilight")[0].set([SETTING]).place({"audio": audio})
    listings = recipe.listings()
    wanted = recipe.wanted(listings)
    records = []
    for artifact in _artifacts(root, recipe, wanted, listings):
        device = "cuda" if artifact.table_name in ("transcripts", "codes") else "cpu"
        held = {"device": device, "seconds": seconds(artifact.table_name), "peak_memory_bytes": 4_000_000_000}
        records.append(Record(attempt(artifact, **held), artifact))
    for i in range(0, len(records), RECORDS_PER_FILE):
        ledger.keep(root, records[i : i + RECORDS_PER_FILE], [])
    said = {"recipe": "librilight", "site": None, "settings": [SETTING], "audio": str(audio), "until": "examples"}
    Catalogue(root).remember(recipe.name, wanted, said)


def fabricate_corpus(audio: Path, num_shards: int) -> None:
    """LibriLight's folders, with files that claim a size and hold nothing."""
    for number in range(num_shards):
        subset = ("small", "medium", *["large"] * 8)[number % 10]
        for book in range(2):
            folder = audio / subset / f"{number:05d}" / f"book_{book}_64kb"
            folder.mkdir(parents=True)
            for chapter in range(RECORDINGS // 2):
                name = f"{folder}/chapter_{chapter:02d}_reader_64kb"
                for path, size in ((f"{name}.flac", FLAC_BYTES), (f"{name}.json", 1)):
                    file = os.open(path, os.O_WRONLY | os.O_CREAT)
                    os.ftruncate(file, size)
                    os.close(file)


def _artifacts(root: Path, recipe: Recipe, asked: list[Wanted], listings: Listings) -> Iterator[Artifact]:
    """One for each shard of each table, its file written."""
    plans: dict[str, StagePlan] = {}
    known: dict[tuple[str, str, str], Artifact] = {}
    for stage, wanted in zip(recipe.stages, asked, strict=True):
        if (table := stage.makes).name not in ROWS:
            break
        for shard in plan_stage(wanted, plans, known).shards:
            inputs = listings[table.name][shard] if not wanted.takes else inputs_of(wanted, shard, plans)
            artifact = _shard(root, table, shard, wanted.fingerprint(shard), wanted.stage(shard), inputs)
            known[table.name, shard, artifact.fingerprint] = artifact
            yield artifact
        plans[table.name] = plan_stage(wanted, plans, known)


def _shard(root: Path, table: Table, shard: str, fingerprint: str, stage: str, inputs: str) -> Artifact:
    """A shard of rows that differ from those of others by their reader alone."""
    kept, dropped = ROWS[table.name]
    seconds = SECONDS_OF_A_ROW.get(table.name, 15.0)
    path = shard_path(root, table.name, fingerprint, shard)
    said: dict[str, Any] = {
        "table_name": table.name,
        "shard": shard,
        "fingerprint": fingerprint,
        "path": path.relative_to(root).as_posix(),
        "num_rows": kept + sum(dropped.values()),
        "num_dropped": sum(dropped.values()),
        "seconds": seconds * (kept + sum(dropped.values())),
        "dropped": json.dumps({reason: {"rows": n, "seconds": n * seconds} for reason, n in dropped.items()}),
        "digest": sha256(f"{table.name}/{shard}".encode()).hexdigest()[:16],
        "stage": stage,
        "inputs": inputs,
        "made_at": datetime.now(UTC).isoformat(),
        "tally": json.dumps({tally.name: list(_tally(tally, shard, table.name, seconds)) for tally in table.tallies}),
        "counts": _counts(table, shard),
    }
    whole = _file(table, shard, json.dumps(asdict(Artifact(**said, bytes=0))))
    artifact = Artifact(**said, bytes=len(whole), sha256=sha256(whole).hexdigest())
    if objects := objects_of(root):
        objects.put(place_of(root, artifact), whole)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(whole)
    return artifact


def _speaker(shard: str) -> str:
    return shard.rsplit("-", 1)[-1]


def _split(shard: str) -> str:
    return ("dev", "test", *["train"] * 48)[int(_speaker(shard)) % 50]


def _tally(tally: Tally, shard: str, table: str, seconds: float) -> Iterator[dict[str, Any]]:
    """What `warehouse.tallies` would count of one reader's shard."""
    kept, dropped = ROWS[table]
    values: dict[str, Any] = {"speaker_id": _speaker(shard), "split": _split(shard)}
    groups = (
        [values | {"book_id": f"{_speaker(shard)}-{book}"} for book in range(2)] if "book_id" in tally.by else [values]
    )
    if "failed" in tally.by:
        groups, kept = [{"failed": [reason], "dropped": reason} for reason in dropped], sum(dropped.values())
    for group in groups:
        rows = kept // len(groups)
        count = {"of": {name: group[name] for name in tally.by}, "rows": rows, "seconds": rows * seconds}
        if "speaker_id" in tally.by and "split" in tally.by:
            count |= {"distinct": {"recording_id": RECORDINGS}, "half_seconds": HALF_SECONDS}
        if tally.means:
            count["means"] = {name: {"rows": 0, "mean": None} for name in tally.means}  # none was checked
        yield count


def _counts(table: Table, shard: str) -> str:
    """What `warehouse.value_counts` would count of it."""
    return (
        _counts_of_codes(int(_speaker(shard)) % 16) if table.name == "codes" else count_values(table, _rows(table.name))
    )


@cache
def _counts_of_codes(seed: int) -> str:
    """Codes of eight hours, some of them a hundred times as frequent as others."""
    draw = np.random.default_rng(seed)
    shares = draw.dirichlet(np.full(CODEBOOK_SIZE, 0.5), len(CODEBOOKS))
    counts = [draw.multinomial(ROWS["codes"][0] * 15 * 75, share).tolist() for share in shares]
    return pack(dict(zip(CODEBOOKS, counts, strict=True)))


@cache
def _rows(table: str, split: str = "train") -> pa.Table:
    """One shard's rows, of a reader without a name yet."""
    [schema] = [one.schema for one in TABLES if one.name == table]
    kept, dropped = ROWS[table]
    reasons = [None] * kept + [reason for reason, number in dropped.items() for _ in range(number)]
    rows = []
    for i, reason in enumerate(reasons):
        recording = f"{READER}/book_{i % 2}/chapter_{i % RECORDINGS:02d}"
        row: dict[str, Any] = {"utterance_id": f"{READER}/{i:04d}", "speaker_id": READER, "split": split}
        row |= {"recording_id": recording, "book_id": f"{READER}-{i % 2}", "audio_digest": f"{READER}{i:027d}"}
        row |= {"seconds": SECONDS_OF_A_ROW.get(table, 15.0), "text": TEXT, "phones": PHONES, "num_frames": 1_125}
        row |= {"dropped": reason, "failed": [reason] if reason else []}
        rows.append({name: row[name] for name in schema.names if name in row})
    return pa.Table.from_pylist(rows, schema=schema)


def _file(table: Table, shard: str, footer: str) -> bytes:
    """A shard's file: one is written, and the others differ from it in the reader's name and in as many letters."""
    held = "0" * (1 << len(footer).bit_length())
    whole = _template(table, _split(shard), held).replace(READER.encode(), _speaker(shard).encode())
    return whole.replace(held.encode(), footer.ljust(len(held)).encode())


@cache
def _template(table: Table, split: str, footer: str) -> bytes:
    file = BytesIO()
    with pq.ParquetWriter(file, table.schema, compression=_compression(table), use_dictionary=True) as writer:
        writer.write_table(_rows(table.name, split))
        writer.add_key_value_metadata({"artifact": footer})
    return file.getvalue()


def _compression(table: Table) -> dict[str, str]:
    """By leaf, which has a longer name where a column is a list. Where a reader is named nothing is compressed."""
    file = BytesIO()
    pq.write_table(table.schema.empty_table(), file)
    schema = pq.ParquetFile(file).schema
    leaves = [schema.column(i).path for i in range(len(schema.names))]
    return {leaf: "NONE" if leaf in NAMING else "ZSTD" for leaf in leaves}
