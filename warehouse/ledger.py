"""The ledger: one small record for everything that was tried.

Workers write records and never open DuckDB. A record is a JSON file of its own
until a catalogue takes it up; then it is a line of a `.jsonl` file, for good.
A record taken up twice counts once, by its `run_id`.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from warehouse.store import Artifact, write_atomically

MADE, FAILED, CRASHED = "made", "failed", "crashed"  # how an attempt can end


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt to make one shard."""

    run_id: str
    flow_run_id: str | None  # Prefect's
    table_name: str
    shard: str
    fingerprint: str
    attempt: int  # 1, 2, … within its flow run
    started_at: str  # ISO 8601, UTC
    ended_at: str
    state: str
    error: str | None  # one line
    host: str
    device: str
    seconds: float  # wall clock
    audio_seconds: float | None
    peak_memory_bytes: int  # of the worker's process


@dataclass(frozen=True)
class Record:
    """An attempt and, where it succeeded, what it made."""

    attempt: Attempt
    artifact: Artifact | None


def folder(root: Path) -> Path:
    """Where a warehouse's records lie."""
    return root / "ledger"


def emit(root: Path, record: Record) -> None:
    """Leave a record. Takes about 2 ms and no lock."""
    write_atomically(folder(root) / f"{record.attempt.run_id}.json", _line(record).encode())


def waiting(root: Path) -> list[Path]:
    """Records that no catalogue has taken up yet."""
    return sorted(path for path in folder(root).glob("*.json") if not path.name.startswith("."))


def read(paths: list[Path]) -> Iterator[Record]:
    """The records in files of either kind, each record once."""
    seen: set[str] = set()
    for path in paths:
        for line in path.read_text().splitlines():
            record = _parse(json.loads(line))
            if record.attempt.run_id not in seen:
                seen.add(record.attempt.run_id)
                yield record


def keep(root: Path, records: list[Record], taken: list[Path]) -> None:
    """Move records from files of their own into one `.jsonl`, where they stay."""
    if records:
        first = min(record.attempt.started_at for record in records).translate(str.maketrans("", "", ":-."))[:15]
        lines = "".join(_line(record) for record in records)
        write_atomically(folder(root) / f"{first}-{uuid4().hex[:8]}.jsonl", lines.encode())
    for path in taken:
        path.unlink(missing_ok=True)


def kept(root: Path) -> list[Path]:
    """Files of records that a catalogue has taken up."""
    return sorted(folder(root).glob("*.jsonl"))


def _line(record: Record) -> str:
    return json.dumps(asdict(record)) + "\n"


def _parse(line: dict[str, dict[str, object]]) -> Record:
    artifact = line["artifact"]
    return Record(Attempt(**line["attempt"]), Artifact(**artifact) if artifact else None)  # type: ignore[arg-type]
