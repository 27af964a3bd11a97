"""Soundness: what lies in a warehouse against what catalogue and ledger say of it.

Each file is read through once: its sha256 is that of its record, and where a record is older than such sums, the
digest of its pages and its rows are. A shard that is made while this looks is no finding: what seems wrong is looked
at again with what has been recorded since. Nothing is changed here; `warehouse.mending` does that.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse import catalogue_rows, ledger
from warehouse.catalogue import Catalogue
from warehouse.errors import BrokenPromise, Mistake
from warehouse.query import connect
from warehouse.store import ABANDONED, Artifact, digest_of_pages, list_shards, read_artifact
from warehouse.tables import CHECKPOINTS, SAMPLES, TABLES

MISSING, CUT, DAMAGED, FOREIGN, MISPLACED = "missing", "cut off", "damaged", "foreign", "misplaced"
UNKNOWN, OTHERWISE, HALF, UNREADABLE = "unknown", "otherwise", "half-written", "unreadable"
CATALOGUE, LEDGER, RECIPE, FILES = "catalogue", "ledger", "recipe", "files"

REMADE = "the next `valle run` makes it again"
REMEDIES = {
    MISSING: f"`valle check --mend` lets the catalogue forget it, and {REMADE}",
    CUT: f"`valle check --mend` sets it aside, and {REMADE}",
    DAMAGED: f"`valle check --mend` sets it aside, and {REMADE}",
    FOREIGN: "nothing reads it; move it elsewhere, or let it lie",
    MISPLACED: f"`valle check --mend` sets it aside, and {REMADE} where it should be",
    UNKNOWN: "`valle check --mend` takes it into the catalogue",
    OTHERWISE: "`valle check --mend` makes the catalogue anew, from shards and ledger",
    HALF: "`valle check --mend` removes it; nobody reads it",
    UNREADABLE: "give back the right to read it, or look after the disk; then check again",
    CATALOGUE: "`valle check --mend` makes it anew, from shards and ledger",
    LEDGER: "`valle check --mend` keeps its sound lines and puts the others beside it",
    RECIPE: "`valle check --mend` sets it aside; run its recipe again, which writes it anew",
    FILES: f"`valle check --mend` sets aside the rows that name it, and {REMADE}",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be."""

    kind: str
    path: str  # relative to the root
    what: str  # in words
    todo: str
    named_by: str = ""  # the shard whose rows name it, of a file beside rows
    mended: bool = False

    @property
    def line(self) -> str:
        """For people."""
        return f"{self.kind}: {self.path}: {self.what}; {'mended' if self.mended else self.todo}"


def found(kind: str, path: str, what: str, todo: str = "", named_by: str = "") -> Finding:
    """A finding, with what is to be done about its kind unless said otherwise."""
    return Finding(kind=kind, path=path, what=what, todo=todo or REMEDIES[kind], named_by=named_by)


def look(root: Path, *, quick: bool = False) -> list[Finding]:
    """All that is wrong with a warehouse, in order of paths.

    Args:
        quick: look at names, sizes and records alone.

    Raises:
        Mistake: there is no warehouse.
    """
    if not (root / "ledger").is_dir() and not (root / "catalogue.duckdb").exists():
        raise Mistake(
            f"{root} is not a warehouse: it has neither a ledger nor a catalogue; `valle run --root` makes one"
        )
    findings, known = _catalogue(root)
    if known is not None:
        wrong = _shards(root, known, None, quick=quick)
        if wrong:  # or made just now
            again = _catalogue(root)[1] or known
            wrong = _shards(root, again, {finding.named_by or finding.path for finding in wrong}, quick=quick)
        findings += wrong
    findings += [*damaged_records(root), *_strangers(root, known or {})]
    return sorted(findings, key=lambda finding: (finding.path, finding.kind))


def _catalogue(root: Path) -> tuple[list[Finding], dict[str, Artifact] | None]:
    """What is wrong with the catalogue itself, and the shards that are known by path: in it, or waiting to be."""
    said = {}
    for record in ledger.read(ledger.waiting(root)):
        if isinstance(record, ledger.Record) and record.artifact:
            said[record.artifact.path] = record.artifact
    name = Catalogue(root).published.name
    if trouble := Catalogue(root).trouble():
        return [found(CATALOGUE, f".{name}", f"it cannot be used ({_shortened(trouble)})")], said or None
    if not (root / name).exists():
        return [found(CATALOGUE, name, "there is none")], None
    try:
        with closing(connect(root)) as db:
            artifacts = catalogue_rows.artifacts(db)
    except (duckdb.Error, Mistake) as error:
        return [found(CATALOGUE, name, f"it cannot be read ({first_words(error)})")], None
    return [], {artifact.path: artifact for artifact in artifacts.values()} | said


def _shards(root: Path, known: Mapping[str, Artifact], only: set[str] | None, *, quick: bool) -> list[Finding]:
    """Shards that are known and shards that lie there, against each other; `only` some paths."""
    there = list_shards(root, _tables(root, known))
    paths = sorted((known.keys() | there.keys()) if only is None else only & (known.keys() | there.keys()))

    def one(path: str) -> list[Finding]:
        if path not in there:
            return [found(MISSING, path, "the catalogue knows it, and it is not there")]
        try:
            if path not in known:
                return _unknown(root, path)
            return list(_known(root, known[path], there[path], quick=quick))
        except PermissionError:
            return [found(UNREADABLE, path, "it cannot be read")]
        except OSError as error:
            return [found(UNREADABLE, path, f"it cannot be read ({error.strerror or error})")]

    with ThreadPoolExecutor(min(16, (os.cpu_count() or 1) + 2)) as pool:
        return [finding for findings in pool.map(one, paths) for finding in findings]


def _unknown(root: Path, path: str) -> list[Finding]:
    """A Parquet file that the catalogue does not know."""
    (root / path).open("rb").close()  # says so where it cannot be read
    try:
        said = read_artifact(root, root / path)
    except BrokenPromise:
        aside = "`valle check --mend` sets it aside; nothing can read it as rows"
        return [found(FOREIGN, path, "it is a Parquet file by its name, and no shard of a warehouse", aside)]
    if wrong := _misplaced(path, said):
        return [wrong]
    if digest_of_pages((root / path).read_bytes()) != said.digest:
        return [found(DAMAGED, path, "its rows are not those that its footer speaks of")]
    return [found(UNKNOWN, path, "it is a whole shard, and the catalogue does not know it")]


def _known(root: Path, artifact: Artifact, size: int, *, quick: bool) -> Iterator[Finding]:
    path = artifact.path
    if _is_anothers(root, artifact, size, quick=quick):
        return
    if size != artifact.bytes:
        yield found(CUT, path, f"it has {size:,} bytes, and had {artifact.bytes:,} when it was made")
        return
    if quick:
        return
    whole = (root / path).read_bytes()
    if artifact.sha256:
        if hashlib.sha256(whole).hexdigest() != artifact.sha256:
            yield found(DAMAGED, path, "its bytes are not those that were written, though as many")
            return
    elif digest_of_pages(whole) != artifact.digest:
        yield found(DAMAGED, path, "its rows are not those that were written, though as many bytes")
        return
    try:
        said = read_artifact(root, root / path)
        rows = pq.read_table(pa.BufferReader(whole), columns=_few(whole))
    except (BrokenPromise, pa.ArrowException, OSError, ValueError) as error:
        yield found(DAMAGED, path, f"it cannot be read as Parquet ({first_words(error)})")
        return
    if wrong := _misplaced(path, said):
        yield wrong
    elif differ := [name for name in SAME if getattr(said, name) != getattr(artifact, name)]:
        yield found(OTHERWISE, path, f"its footer and the catalogue differ in {' and '.join(differ)}")
    elif (counted := _counted(rows)) != (artifact.num_rows, artifact.num_dropped):
        yield found(
            OTHERWISE, path, f"it has {counted[0]} rows, {counted[1]} dropped, and the catalogue says otherwise"
        )
    if artifact.table_name in (CHECKPOINTS.name, SAMPLES.name):
        yield from _files(root, artifact)


def _is_anothers(root: Path, artifact: Artifact, size: int, *, quick: bool) -> bool:
    """Whether a shard is whole and has the rows that are known, as another attempt has made them.

    A worker that was given up may go on, and be killed before it leaves its record.
    """
    if size == artifact.bytes and (quick or not artifact.sha256):
        return False
    whole = (root / artifact.path).read_bytes()
    if size == artifact.bytes and hashlib.sha256(whole).hexdigest() == artifact.sha256:
        return False
    try:
        said = read_artifact(root, root / artifact.path)
        made = [datetime.fromisoformat(one.made_at).replace(tzinfo=None) for one in (said, artifact)]
    except (BrokenPromise, ValueError):
        return False
    same = all(getattr(said, name) == getattr(artifact, name) for name in SAME)
    return made[0] != made[1] and same and digest_of_pages(whole) == said.digest


SAME = ("table_name", "shard", "fingerprint", "num_rows", "num_dropped", "digest", "stage", "inputs")


def _few(whole: bytes) -> list[str]:
    """The column that is counted by, or any."""
    names = pq.read_schema(pa.BufferReader(whole)).names
    return ["dropped"] if "dropped" in names else names[:1]


def _counted(rows: pa.Table) -> tuple[int, int]:
    dropped = pc.count(rows["dropped"]).as_py() if "dropped" in rows.column_names else 0
    return rows.num_rows, dropped


def _misplaced(path: str, said: Artifact) -> Finding | None:
    """A shard whose footer says that it is another."""
    own = f"{said.table_name}/{said.fingerprint}/{said.shard}.parquet"
    return None if own == path else found(MISPLACED, path, f"its footer says that it is {own}")


def _files(root: Path, artifact: Artifact) -> Iterator[Finding]:
    """The files that a shard's rows name: speech, and weights with their sums."""
    for named, wanted in named_files(artifact, root / artifact.path):
        if not (root / named).is_file():
            yield found(FILES, named, f"{artifact.path} names it, and it is not there", named_by=artifact.path)
        elif wanted and _sha256(root / named) != wanted:
            what = f"its sha256 is not what {artifact.path} says of it"
            yield found(FILES, named, what, named_by=artifact.path)


def named_files(artifact: Artifact, path: Path) -> dict[tuple[str, str | None], None]:
    """The files that the rows of samples or trainings name, each once, with the sha256 that they say of it.

    Args:
        path: where the shard lies.
    """
    is_weights = artifact.table_name == CHECKPOINTS.name
    columns = ["path", "sha256"] if is_weights else ["audio_path", "prompt_path", "prompt_decoded_path"]
    present = set(pq.read_schema(path).names)  # older samples kept no prompts
    rows = pq.read_table(path, columns=[name for name in columns if name in present])
    if is_weights:
        sums = [(f"{row['path']}/weights.safetensors", row["sha256"]) for row in rows.to_pylist() if row["path"]]
    else:
        sums = [(named, None) for column in rows.columns for named in column.to_pylist() if named]
    return dict.fromkeys(sums)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged_records(root: Path) -> Iterator[Finding]:
    """Records of the ledger, and of what recipes asked for, that cannot be read."""
    for path in [*ledger.waiting(root), *ledger.kept(root)]:
        try:
            if lines := ledger.damaged_lines(path):
                what = f"{lines} of its lines cannot be read, and with them what became of as many attempts"
                yield found(LEDGER, path.relative_to(root).as_posix(), what)
        except FileNotFoundError:
            continue  # taken up meanwhile
        except OSError:
            yield found(UNREADABLE, path.relative_to(root).as_posix(), "it cannot be read")
    for path in Catalogue(root).damaged_recipes():
        yield found(
            RECIPE, path.relative_to(root).as_posix(), "what a recipe asked for when it last ran cannot be read"
        )


def _strangers(root: Path, known: Mapping[str, Artifact]) -> Iterator[Finding]:
    """What is no shard, and what a killed writer has left, an hour ago or more."""
    long_ago = time.time() - ABANDONED
    for table in _tables(root, known):
        for path in sorted((root / table).glob("*")):
            if not path.is_dir():
                yield _stranger(root, path)
            for file in sorted(path.iterdir()) if path.is_dir() else ():
                if not file.name.startswith(".") and file.suffix != ".parquet" and not file.is_dir():
                    yield _stranger(root, file)
    for pattern in ("*/*/.*.tmp", ".*.tmp", "ledger/.*.tmp", "recipes/.*.tmp", "logs/.*.tmp", ".publishing-*"):
        for path in sorted(root.glob(pattern)):
            with suppress(OSError):
                if path.stat().st_mtime < long_ago:
                    yield found(HALF, path.relative_to(root).as_posix(), "its writer was killed before it was whole")


def _stranger(root: Path, path: Path) -> Finding:
    return found(FOREIGN, path.relative_to(root).as_posix(), "it is no shard, and lies where shards do")


def _tables(root: Path, known: Mapping[str, Artifact]) -> list[str]:
    """Folders of tables: of ours, and of those that shards are known of."""
    names: Iterable[str] = {table.name for table in TABLES} | {path.split("/")[0] for path in known}
    return sorted(name for name in names if (root / name).is_dir())


def first_words(error: Exception) -> str:
    """What an error says first, and no more than fits a line."""
    return _shortened(" ".join(str(error).split("\n\n")[0].split()))


def _shortened(words: str) -> str:
    return words if len(words) <= 160 else f"{words[:160]} …"
