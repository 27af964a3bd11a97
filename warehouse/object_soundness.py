"""Soundness of a warehouse on an object store: the objects that lie there against what catalogue and ledger say."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import file_digest
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from warehouse import catalogue_rows, commits, ledger
from warehouse.errors import BrokenPromise, Mistake
from warehouse.objects import Objects
from warehouse.query import DamagedCatalogue, connect
from warehouse.soundness import (
    CATALOGUE,
    CUT,
    DAMAGED,
    FILES,
    FOREIGN,
    MISSING,
    OTHERWISE,
    SAME,
    UNKNOWN,
    Finding,
    damaged_records,
    first_words,
    found,
    named_files,
)
from warehouse.store import Artifact, is_shard, place_of, read_shard
from warehouse.tables import CHECKPOINTS, SAMPLES, TABLES
from warehouse.working_copy import here, shard_file, shard_of

_AT_ONCE = 16  # requests


def look(root: Path, objects: Objects, *, quick: bool = False) -> list[Finding]:
    """All that is wrong with a warehouse, in order of names. What was made again since, and lies there, is no finding.

    Args:
        quick: look at names, sizes and records alone.
    """
    if not any(objects.list(folder) for folder in (commits.FOLDER, "ledger", "recipes")):
        raise Mistake(f"{objects.url} is not a warehouse: it has neither a ledger nor a catalogue")
    findings, known = _catalogue(root, objects)
    if known is not None:
        tables = sorted({artifact.table_name for artifact in known.values()} | {table.name for table in TABLES})
        wrong, there = _shards(root, objects, known, tables, None, quick=quick)
        if wrong:  # or made just now
            again = _catalogue(root, objects)[1] or known
            names = {finding.named_by or finding.path for finding in wrong}
            wrong, there = _shards(root, objects, again, tables, names, quick=quick)
        findings += [*wrong, *_strangers(there)]
    findings += damaged_records(root)
    return sorted(findings, key=lambda finding: (finding.path, finding.kind))


def _shards(
    root: Path,
    objects: Objects,
    known: Mapping[str, Artifact],
    tables: list[str],
    only: set[str] | None,
    *,
    quick: bool,
) -> tuple[list[Finding], dict[str, int]]:
    """What is wrong with the shards of some tables, `only` some of them, and everything that lies there."""
    paths = {artifact.path for artifact in known.values()}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        there = {name: size for some in pool.map(objects.list, tables) for name, size in some.items()}
        names = known.keys() | {name for name in there if is_shard(name)}
        asked = sorted(names if only is None else names & only)
        looked = pool.map(lambda name: list(_shard(root, objects, known, paths, there, name, quick=quick)), asked)
        return [finding for some in looked for finding in some], there


def _catalogue(root: Path, objects: Objects) -> tuple[list[Finding], dict[str, Artifact] | None]:
    """What is wrong with the commit that holds, and the shards that are known, by the names of their objects."""
    waiting = [said.artifact for said in ledger.read(ledger.waiting(root)) if isinstance(said, ledger.Record)]
    try:
        head = commits.head(objects)
        if not head:
            return [found(CATALOGUE, commits.HEAD, "nothing has been committed")], None
        with closing(connect(root)) as db:
            artifacts = list(catalogue_rows.artifacts(db).values())
        there = objects.list(head.folder)
        if missing := [file for file in commits.FILES if f"{head.folder}/{file}" not in there]:
            return [found(CATALOGUE, f"{head.folder}/{missing[0]}", "it is not there")], None
    except (duckdb.Error, Mistake, FileNotFoundError) as error:
        if isinstance(error, Mistake) and not isinstance(error, commits.Damaged | DamagedCatalogue):
            raise  # such as that access is denied
        return [found(CATALOGUE, commits.HEAD, f"the commit that it names cannot be read ({first_words(error)})")], None
    latest = {artifact.path: artifact for artifact in (*artifacts, *waiting) if artifact}
    return [], {place_of(root, artifact): artifact for artifact in latest.values()}


def _shard(
    root: Path,
    objects: Objects,
    known: Mapping[str, Artifact],
    paths: set[str],
    there: Mapping[str, int],
    name: str,
    *,
    quick: bool,
) -> Iterator[Finding]:
    """What is wrong with one shard's object."""
    if name not in known:
        if shard_of(name)[0] in paths:
            return  # an older file of a shard that was made again
        try:
            read_shard(root, name)
        except BrokenPromise as error:
            yield found(DAMAGED, name, str(error), "`valle check --mend` sets it aside; nothing reads it")
            return
        yield found(UNKNOWN, name, "it is a whole shard, and the catalogue does not know it")
        return
    artifact = known[name]
    if name not in there:
        yield found(MISSING, name, "the catalogue knows it, and it is not there")
    elif there[name] != artifact.bytes:
        yield found(CUT, name, f"it has {there[name]:,} bytes, and had {artifact.bytes:,} when it was made")
    elif not quick:
        if _sha256(root, objects, name) != artifact.sha256:
            yield found(DAMAGED, name, "its bytes are not those that were written, though as many")
            return
        said = read_shard(root, name)
        if differ := [field for field in SAME if getattr(said, field) != getattr(artifact, field)]:
            yield found(OTHERWISE, name, f"its footer and the catalogue differ in {' and '.join(differ)}")
        if artifact.table_name in (CHECKPOINTS.name, SAMPLES.name):
            yield from _files(root, objects, artifact, name, there)


def _files(root: Path, objects: Objects, artifact: Artifact, name: str, there: Mapping[str, int]) -> Iterator[Finding]:
    """The objects that a shard's rows name: speech, and weights with their sums."""
    for named, wanted in named_files(artifact, here(shard_file(root, artifact.path, artifact.sha256))):
        if named not in there:
            yield found(FILES, named, f"{name} names it, and it is not there", named_by=name)
        elif wanted and _sha256(root, objects, named) != wanted:
            yield found(FILES, named, f"its sha256 is not what {name} says of it", named_by=name)


def _sha256(root: Path, objects: Objects, name: str) -> str:
    """Of an object, which may be larger than memory."""
    with TemporaryDirectory(dir=root) as folder:
        objects.fetch(name, path := Path(folder) / "read")
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()


def _strangers(there: Mapping[str, int]) -> Iterator[Finding]:
    """Objects that lie where shards do, and are none."""
    for name in there:
        parts = name.split("/")
        if len(parts) < 3 or (len(parts) == 3 and not is_shard(name) and not parts[2].startswith(".")):
            yield found(FOREIGN, name, "it is no shard, and lies where shards do")
