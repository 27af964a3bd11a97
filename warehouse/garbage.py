"""What nothing rests on any more: shards of settings that no recipe asks for, and the folders of files beside them.

Kept is whatever a recipe's last run asks for, the newest training of each half and every training that some sample
came from, all that these were made from, and a training that is not whole while a recipe asks for it. Nothing else in
the warehouse ever removes a training.

At an object store nothing is written over, so what has been made again lies beside what it was before, until it is
freed here; and the commits before go with it, for they may name it.
"""

import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake
from warehouse.objects import Objects
from warehouse.plan import Wanted
from warehouse.store import ABANDONED, Artifact, place_of
from warehouse.tables import CHECKPOINTS, SAMPLES, TABLES
from warehouse.working_copy import here, object_name, objects_of, shard_file, shard_of

UNWANTED, OLDER, UNFINISHED = "of settings that no recipe asks for", "an older training", "a training that never ended"
REPLACED = "made again since"
_AT_ONCE = 16  # requests


@dataclass(frozen=True)
class Garbage:
    """A file or folder that nothing rests on."""

    path: str  # relative to the root
    bytes: int  # of it and all below it; a link to what is kept counts as well
    why: str


class _Entry(NamedTuple):
    """A shard's file, or a folder of files, as it lies there."""

    bytes: int
    written: float  # seconds since 1970


def garbage(root: Path) -> list[Garbage]:
    """All of it, in order of paths.

    Raises:
        Mistake: nothing has run there, or what a run has left is damaged.
    """
    index = Catalogue(root)
    index.last_run()
    wanted = {(stage.table, stage.fingerprint(shard)) for stage, shard in _asked(index.recipes())}
    tables = {table for table, _ in wanted} | {table for table, _, _ in index.published_artifacts()}
    lying = _lying(root, tables | {table.name for table in TABLES})
    waiting = [said.artifact for said in ledger.read(ledger.waiting(root)) if isinstance(said, ledger.Record)]
    artifacts = list(index.artifacts().values())  # read last, so that what is made meanwhile is not listed or is known
    known = _Known(root, artifacts, waiting, wanted)
    found = [Garbage(path, entry.bytes, why) for path, entry in lying.items() if (why := known.why(path, entry))]
    read = known.read_by_trainings(lying.keys() - {one.path for one in found})
    return sorted((one for one in found if one.path not in read), key=lambda one: one.path)


def free(root: Path, found: Iterable[Garbage]) -> None:
    """Removes it, and lets the catalogue forget it. Rows go before the files that they speak of."""
    paths = [one.path for one in found]
    for these in ([path for path in paths if _is_rows(path)], [path for path in paths if not _is_rows(path)]):
        if objects := objects_of(root):
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(objects.delete, [_objects(objects, path) for path in these]))
        else:
            for path in these:
                _remove(root / path)
    Catalogue(root).take_up(look_at_disk=True, forget_before=True)


class _Known:
    """What is known of a warehouse, and so of whether anything rests on what lies there."""

    def __init__(
        self, root: Path, artifacts: list[Artifact], waiting: Iterable[Artifact | None], wanted: set[tuple[str, str]]
    ) -> None:
        self.root = root
        self._by_path = {artifact.path: artifact for artifact in artifacts}
        self._wanted = wanted
        self._kept = _with_what_they_are_from(_roots(artifacts, wanted), self._by_path)
        self._places = {place_of(root, artifact) for artifact in (*artifacts, *waiting) if artifact}
        self._spoken_by = set(self._weights_of_samples())

    def why(self, path: str, entry: _Entry) -> str | None:
        """Why nothing rests on what lies at a path; nothing where something does."""
        table, fingerprint, _ = path.split("/")
        asked = (table, fingerprint) in self._wanted
        if _is_rows(path):
            return self._why_rows(path, entry)
        if table == CHECKPOINTS.name:
            return self._why_training(path, asked=asked)
        return self._why_files(path, entry, asked=asked)

    def _why_rows(self, path: str, entry: _Entry) -> str | None:
        shard = shard_of(path)[0] if objects_of(self.root) else path
        if path in self._places or not objects_of(self.root):
            return None if shard in self._kept else UNWANTED
        if time.time() - entry.written < ABANDONED:  # its record may be on its way
            return None
        return REPLACED if shard in self._by_path else UNWANTED

    def _why_files(self, path: str, entry: _Entry, *, asked: bool) -> str | None:
        """Of a folder of files beside a shard's rows."""
        rows = self._rows_of(path)
        if not rows:
            return None if asked else UNWANTED  # made just now, perhaps
        if rows.path not in self._kept:
            return UNWANTED
        is_new = time.time() - entry.written < ABANDONED
        return None if not objects_of(self.root) or is_new or path in self._folders(rows) else REPLACED

    def _why_training(self, path: str, *, asked: bool) -> str | None:
        rows = self._rows_of(path)
        if self._digests(path) & self._spoken_by:
            return None
        if rows and path in self._folders(rows):
            return None if rows.path in self._kept else UNWANTED
        if rows and "settings.json" in self._settings(path):
            return OLDER
        return None if asked else UNFINISHED

    def read_by_trainings(self, paths: Iterable[str]) -> set[str]:
        """Shards that trainings in some of these folders read, where they have no links to them."""
        found: set[str] = set()
        for folder in (PurePosixPath(path) for path in paths if not _is_rows(path) and objects_of(self.root)):
            with suppress(FileNotFoundError):
                said = json.loads(here(self.root / folder.with_name(f".{folder.name}.data.json")).read_bytes())
                for name in (name for names in said.values() for name in names):
                    _, digest, shard = name.split("/", 2)
                    found.add(object_name(shard, digest))
        return found

    def _rows_of(self, path: str) -> Artifact | None:
        """The rows that speak of the files in a folder, where they are known."""
        return self._by_path.get(f"{path}.parquet") or self._by_path.get(f"{path.partition('~')[0]}.parquet")

    def _read(self, artifact: Artifact, columns: list[str]) -> list[dict[str, Any]]:
        """What a shard's rows say in those of these columns that it has.

        Raises:
            Mistake: they are damaged, so nobody knows what rests on what.
        """
        try:
            file = pq.ParquetFile(here(shard_file(self.root, artifact.path, artifact.sha256)))
            rows = file.read([name for name in columns if name in file.schema_arrow.names])
        except pa.ArrowException as error:
            raise Mistake(f"{artifact.path} is damaged; `valle check --mend` first") from error
        return list(rows.to_pylist())

    def _folders(self, artifact: Artifact) -> set[str]:
        """The folders in which a shard's rows say that their files lie."""
        named = (path for row in self._read(artifact, ["path", "audio_path"]) for path in row.values())
        return {"/".join(PurePosixPath(path).parts[:3]) for path in named if path}

    def _weights_of_samples(self) -> Iterator[str]:
        """The first digits of the digests of all weights that a sample came from."""
        for artifact in self._by_path.values():
            if artifact.table_name == SAMPLES.name:
                for row in self._read(artifact, ["checkpoint_id"]):
                    yield from (half.rpartition("-")[2] for half in (row["checkpoint_id"] or "").split("+"))

    def _settings(self, training: str) -> dict[str, Path]:
        """The settings of the last and the best weights in a training's folder, by their paths in it."""
        if objects := objects_of(self.root):
            names = [name.removeprefix(f"{training}/") for name in objects.list(training)]
        else:
            folder = self.root / training
            names = [path.relative_to(folder).as_posix() for path in folder.rglob("settings.json")]
        return {
            name: self.root / training / name for name in names if re.fullmatch(r"(best-[^/]*/)?settings\.json", name)
        }

    def _digests(self, training: str) -> set[str]:
        """The first digits of the digests of the weights in a training's folder."""
        found = set()
        for settings in self._settings(training).values():
            with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
                found.add(str(json.loads(here(settings).read_text("utf-8"))["sha256"])[:12])
        return found


def _lying(root: Path, tables: Iterable[str]) -> dict[str, _Entry]:
    """Every shard's file and every folder of files of some tables, by its path."""
    found: dict[str, _Entry] = {}
    for table in sorted(tables):
        if not (objects := objects_of(root)):
            for file in (root / table).glob("*/*"):
                found[file.relative_to(root).as_posix()] = _Entry(_bytes(file), file.stat().st_mtime)
            continue
        for name, (size, written) in objects.stats(table).items():
            path = "/".join(name.split("/")[:3])
            before = found.get(path, _Entry(0, 0.0))
            found[path] = _Entry(before.bytes + size, max(before.written, written / 1e9))
    return {path: entry for path, entry in found.items() if path.count("/") == 2 and "/." not in path}


def _is_rows(path: str) -> bool:
    """Whether what lies at a path is a shard's file, and no folder of files beside one."""
    return path.endswith(".parquet")


def _objects(objects: Objects, path: str) -> list[str]:
    """The objects that a path of `_lying` stands for, with the notes on a folder."""
    if _is_rows(path):
        return [path]
    folder, _, name = path.rpartition("/")
    notes = [note for note in objects.list(folder) if fnmatchcase(note, f"{escape(folder)}/.{escape(name)}.*.json")]
    return [*objects.list(path), *notes]


def _remove(path: Path) -> None:
    """A shard's file, or a folder of files with the notes on it."""
    if path.is_dir():
        for note in path.parent.glob(f".{escape(path.name)}.*.json"):
            note.unlink()
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    with suppress(OSError):  # it holds more
        path.parent.rmdir()


def _asked(recipes: Iterable[list[Wanted]]) -> Iterator[tuple[Wanted, str]]:
    """Each stage of some recipes with each of the shards that have fingerprints of their own."""
    for recipe in recipes:
        for stage in recipe:
            yield from ((stage, shard) for shard in stage.fingerprints)


def _roots(artifacts: Iterable[Artifact], wanted: set[tuple[str, str]]) -> list[Artifact]:
    """What is kept for its own sake."""
    newest: dict[str, Artifact] = {}
    found = []
    for artifact in sorted(artifacts, key=lambda artifact: artifact.made_at):
        if (artifact.table_name, artifact.fingerprint) in wanted or artifact.table_name == SAMPLES.name:
            found.append(artifact)
        if artifact.table_name == CHECKPOINTS.name:
            newest[artifact.shard] = artifact
    return [*found, *newest.values()]


def _with_what_they_are_from(roots: list[Artifact], by_path: Mapping[str, Artifact]) -> set[str]:
    """The paths of some shards and of all that they were made from."""
    kept: set[str] = set()
    waiting = list(roots)
    while waiting:
        artifact = waiting.pop()
        if artifact.path not in kept:
            kept.add(artifact.path)
            waiting += [by_path[path] for path in json.loads(artifact.inputs) if path in by_path]
    return kept


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
