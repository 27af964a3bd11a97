"""The ledger: one small record for everything that was tried.

Workers write records and never open DuckDB. A record is a JSON file of its own
until a catalogue takes it up; then it is a line of a `.jsonl` file, for good.
A record taken up twice counts once, by its id.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from warehouse.copies import keep as keep_here
from warehouse.store import Artifact, write_atomically
from warehouse.working_copy import objects_of, send

_REQUESTS = 16  # to an object store, at a time
_T = TypeVar("_T")

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

    @property
    def record_id(self) -> str:
        """What it counts once by."""
        return self.attempt.run_id

    @property
    def written_at(self) -> str:
        """ISO 8601, UTC."""
        return self.attempt.ended_at


@dataclass(frozen=True, kw_only=True)
class ArchiveRecord:
    """How far an archive of a corpus had come at a moment. The latest of its name and folder is what counts."""

    record_id: str
    name: str  # a known name, or the URL
    dest: str  # the folder it is extracted to, absolute
    url: str
    streamed: bool  # its members were used before the sum of the whole could hold
    expected_md5: str | None
    content_length: int | None  # bytes, as the server announces
    etag: str | None
    bytes_done: int
    md5: str | None  # of what has come, once all of it has
    verified: str | None  # published-md5, given-md5, or self-hashed where nobody has said what the sum should be
    state: str  # downloading, verified, extracted, failed, wrong_sum or damaged
    error: str | None  # one sentence
    num_members: int  # files extracted
    num_refused: int
    refused: str  # JSON: reason -> {"members", "first"}
    started_at: str  # ISO 8601, UTC
    written_at: str
    finished_at: str | None


@dataclass(frozen=True, kw_only=True)
class ConsentRecord:
    """Somebody's word that the owner of a voice agrees to its use, or does so no more. The latest counts."""

    record_id: str
    voice: str  # audio:<digest of what decodes>, or speaker:<corpus>/<speaker_id>
    prompt: str  # the file or the utterance that it was said of first
    said_by: str  # the user of the machine
    host: str
    written_at: str  # ISO 8601, UTC
    withdrawn: bool = False


@dataclass(frozen=True, kw_only=True)
class RatingsRecord:
    """What one listener has answered in one blind test of pairs of samples."""

    record_id: str  # of the test, drawn by the page
    version: str  # fingerprint of the samples
    listener: str  # who, by their own word; may be empty
    seed: int  # of the order that the pairs came in
    pairs: tuple[tuple[str, str, str | None], ...]  # sample heard as A, sample heard as B, preferred: a, b or null
    host: str
    written_at: str  # ISO 8601, UTC


@dataclass(frozen=True, kw_only=True)
class ScoredRecord:
    """What judges say of another system's speech: rows as those of `scores`."""

    record_id: str
    system: str
    evaluation_set: str
    rows: tuple[dict[str, Any], ...]
    host: str
    written_at: str  # ISO 8601, UTC


Entry = Record | ArchiveRecord | ConsentRecord | RatingsRecord | ScoredRecord


def folder(root: Path) -> Path:
    """Where a warehouse's records lie."""
    return root / "ledger"


def emit(root: Path, record: Entry) -> None:
    """Leave a record. Takes about 2 ms and no lock."""
    _write(folder(root) / f"{record.record_id}.json", _line(record))


def waiting(root: Path) -> list[Path]:
    """Records that no catalogue has taken up yet."""
    return _listed(root, ".json")


def read(paths: list[Path]) -> Iterator[Entry]:
    """The records in files of either kind, each record once. A line that a full disk has torn says nothing."""
    seen: set[str] = set()
    for text in _at_once(_text_if_there, paths):
        for record in map(_parse, text.splitlines()):
            if record and record.record_id not in seen:
                seen.add(record.record_id)
                yield record


def archive(root: Path, name: str, dest: str) -> ArchiveRecord | None:
    """The latest record of an archive, whether a catalogue has taken it up or not."""
    found = [said for said in _find(root, _ARCHIVE) if isinstance(said, ArchiveRecord)]
    ours = [said for said in found if (said.name, said.dest) == (name, dest)]
    return max(ours, key=lambda said: said.written_at, default=None)


def consent(root: Path, voice: str) -> ConsentRecord | None:
    """The word of consent that holds, the first since it was withdrawn last; null where none does.

    It counts whether a catalogue has taken it up or not.
    """
    holds: ConsentRecord | None = None
    for said in _consents(root, voice):
        holds = None if said.withdrawn else holds or said
    return holds


def withdrawal(root: Path, voice: str) -> ConsentRecord | None:
    """The word by which consent was withdrawn, where nobody has given it again since."""
    said = _consents(root, voice)
    return said[-1] if said and said[-1].withdrawn else None


def _consents(root: Path, voice: str) -> list[ConsentRecord]:
    """All words on the use of a voice, the latest last."""
    found = [said for said in _find(root, _CONSENT) if isinstance(said, ConsentRecord) and said.voice == voice]
    return sorted(found, key=lambda said: said.written_at)


def ratings(root: Path, test: str) -> RatingsRecord | None:
    """The answers of a listening test, whether a catalogue has taken them up or not."""
    found = (said for said in _find(root, _RATINGS) if isinstance(said, RatingsRecord) and said.record_id == test)
    return next(found, None)


def keep(root: Path, records: Sequence[Entry], taken: list[Path]) -> None:
    """Move records from files of their own into one `.jsonl`, where they stay. What cannot be read is put aside."""
    if records:
        first = min(record.written_at for record in records).translate(str.maketrans("", "", ":-."))[:15]
        lines = "".join(_line(record) for record in records)
        _write(folder(root) / f"{first}-{uuid4().hex[:8]}.jsonl", lines)
    for _ in _at_once(_settle, taken):
        pass


def kept(root: Path) -> list[Path]:
    """Files of records that a catalogue has taken up."""
    return _listed(root, ".jsonl")


def damaged_lines(path: Path) -> int:
    """How many lines of one of its files cannot be read."""
    return sum(record is None for record in _records(path))


def put_damaged_lines_aside(path: Path) -> None:
    """Keep the sound lines of a file, and put the others into one beside it that nobody reads."""
    lines = _text(path).splitlines(keepends=True)
    sound = [_parse(line) is not None for line in lines]
    aside = "".join(line for line, is_sound in zip(lines, sound, strict=True) if not is_sound)
    for there, text in (
        (path.with_suffix(".damaged"), aside),
        (path, "".join(line for line, is_sound in zip(lines, sound, strict=True) if is_sound)),
    ):
        write_atomically(there, text.encode())
        send(there)


def _listed(root: Path, suffix: str) -> list[Path]:
    """The ledger's files of one kind, by name. A run asks every few seconds, with thousands of them in the folder."""
    objects = objects_of(root)
    try:
        there = [name.rpartition("/")[2] for name in objects.list("ledger")] if objects else os.listdir(folder(root))
    except FileNotFoundError:
        return []
    names = [name for name in there if name.endswith(suffix) and not name.startswith(".")]
    return [folder(root) / name for name in sorted(names)]


def _settle(path: Path) -> None:
    """Remove a record's own file, now that it is a line of another; what cannot be read is put aside."""
    with suppress(FileNotFoundError):
        is_sound = None not in _records(path)
        if objects := objects_of(path.parents[1]):
            if not is_sound:
                _write(path.with_suffix(".damaged"), _text(path))
            objects.delete([_name(path)])
        elif is_sound:
            path.unlink()
        else:
            path.rename(path.with_suffix(".damaged"))


def _at_once(look: Callable[[Path], _T], paths: Sequence[Path]) -> Iterator[_T]:
    """What looking at each file gives, in their order; at an object store many at a time, for each is a request."""
    if not paths or not objects_of(paths[0].parents[1]):
        yield from map(look, paths)
        return
    with ThreadPoolExecutor(_REQUESTS) as pool:
        yield from pool.map(look, paths)


def _text_if_there(path: Path) -> str:
    """What a file says; nothing where somebody else has taken it up meanwhile, who will have committed what it says."""
    try:
        return _text(path)
    except FileNotFoundError:
        return ""


def _name(path: Path) -> str:
    """The object that one of the ledger's files is."""
    return f"{path.parent.name}/{path.name}"


def _write(path: Path, text: str) -> None:
    """One of the ledger's files, created once."""
    if objects := objects_of(path.parents[1]):
        if not objects.create(_name(path), text.encode()):
            raise FileExistsError(f"{objects.url}/{_name(path)} is there, and says something else")
    else:
        write_atomically(path, text.encode())


def _text(path: Path) -> str:
    """What one of the ledger's files says. Of an object store's, what stays as it is is fetched once."""
    if (objects := objects_of(path.parents[1])) and not path.exists():
        data = objects.get(_name(path))
        if path.suffix == ".jsonl":
            keep_here(path, data)
        return data.decode("utf-8", errors="replace")
    return path.read_text(encoding="utf-8", errors="replace")


_ARCHIVE, _CONSENT, _RATINGS = '{"archive": ', '{"consent": ', '{"ratings": '  # how a line of each begins


def _find(root: Path, beginning: str) -> list[Entry]:
    """Every record whose line begins so, wherever it lies."""
    found: list[Entry] = []
    for listed in (waiting, kept):  # in this order: what is taken up meanwhile is found among what is kept
        for path in listed(root):
            with suppress(FileNotFoundError):
                found += [record for record in _records(path, beginning) if record]
    return found


def _line(record: Entry) -> str:
    said = asdict(record)
    if isinstance(record, ArchiveRecord):
        said = {"archive": said}
    elif isinstance(record, ConsentRecord):
        said = {"consent": said}
    elif isinstance(record, RatingsRecord):
        said = {"ratings": said}
    elif isinstance(record, ScoredRecord):
        said = {"scored": said}
    return json.dumps(said) + "\n"


def _records(path: Path, beginning: str = "") -> Iterator[Entry | None]:
    """What the lines of a file say that begin so; None for each that is damaged."""
    for line in _text(path).splitlines():
        if line.startswith(beginning):
            yield _parse(line)


def _parse(line: str) -> Entry | None:
    try:
        said = json.loads(line)
        if "archive" in said:
            return ArchiveRecord(**said["archive"])
        if "consent" in said:
            return ConsentRecord(**said["consent"])
        if "ratings" in said:
            told = said["ratings"]
            return RatingsRecord(**told | {"pairs": tuple((a, b, preferred) for a, b, preferred in told["pairs"])})
        if "scored" in said:
            return ScoredRecord(**said["scored"] | {"rows": tuple(said["scored"]["rows"])})
        artifact = said["artifact"]
        return Record(Attempt(**said["attempt"]), Artifact(**artifact) if artifact else None)
    except (ValueError, KeyError, TypeError):
        return None
