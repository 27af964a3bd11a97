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
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake
from warehouse.objects import Objects
from warehouse.plan import Wanted
from warehouse.store import ABANDONED, Artifact, place_of
from warehouse.tables import CHECKPOINTS, SAMPLES
from warehouse.working_copy import here, object_name, objects_of, shard_file, shard_of

UNWANTED, OLDER, UNFINISHED = "of settings that no recipe asks for", "an older training", "a training that never ended"
REPLACED = "made again since"
_NOTES = ("inputs", "data", "done")  # on a folder, beside it
_CLOCK = "catalogue/.clock"
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
    if objects_of(root):
        index.take_up()  # what waits is known then, too
    tables = {table for table, _, _ in index.artifacts()} | {one.table for one, _ in _asked(index.recipes())}
    lying, notes = _lying(root, tables | {CHECKPOINTS.name})
    if CHECKPOINTS.name not in tables:  # weights may lie there that nobody's recipe made
        begun = {_folder_of_note(note) for note in notes}
        lying = {path: entry for path, entry in lying.items() if _table(path) != CHECKPOINTS.name or path in begun}
    artifacts = list(index.artifacts().values())
    # Last of all what is asked for, so that what a run makes that has begun meanwhile is not listed, or is asked for.
    known = _Known(root, artifacts, {(one.table, one.fingerprint(shard)) for one, shard in _asked(index.recipes())})
    found = {path: why for path, entry in lying.items() if (why := known.why(path, entry))}
    read = known.read_by_trainings(note for note in notes if _folder_of_note(note) not in found)
    return [Garbage(path, _bytes(root, path, lying), why) for path, why in sorted(found.items()) if path not in read]


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

    def __init__(self, root: Path, artifacts: list[Artifact], wanted: set[tuple[str, str]]) -> None:
        self.root = root
        self._is_there = objects_of(root) is not None  # on an object store
        self._now = _now(root)
        self._by_path = {artifact.path: artifact for artifact in artifacts}
        self._wanted = wanted
        self._kept = _with_what_they_are_from(_roots(artifacts, wanted), self._by_path)
        self._places = {place_of(root, artifact) for artifact in artifacts}
        self._spoken_by = set(self._weights_of_samples())

    def why(self, path: str, entry: _Entry) -> str | None:
        """Why nothing rests on what lies at a path; nothing where something does."""
        table, fingerprint, _ = path.split("/")
        asked = (table, fingerprint) in self._wanted
        if self._is_there and self._now - entry.written < ABANDONED:
            return None  # its record may be on its way, or its rows
        if _is_rows(path):
            return self._why_rows(path)
        if table == CHECKPOINTS.name:
            return self._why_training(path, asked=asked)
        return self._why_files(path, asked=asked)

    def _why_rows(self, path: str) -> str | None:
        shard = shard_of(path)[0] if self._is_there else path
        if self._is_there and path not in self._places and shard in self._by_path:
            return REPLACED
        return None if shard in self._kept else UNWANTED

    def _why_files(self, path: str, *, asked: bool) -> str | None:
        """Of a folder of files beside a shard's rows."""
        rows = self._rows_of(path)
        if not rows:
            return None if asked else UNWANTED  # made just now, perhaps
        if rows.path not in self._kept:
            return UNWANTED
        if not self._is_there or rows.table_name != SAMPLES.name:
            return None
        named = self._folders(rows)
        return REPLACED if named and path not in named else None

    def _why_training(self, path: str, *, asked: bool) -> str | None:
        rows = self._rows_of(path)
        if self._digests(path) & self._spoken_by:
            return None
        if rows and path in self._folders(rows):
            return None if rows.path in self._kept else UNWANTED
        if rows and "settings.json" in self._settings(path):
            return OLDER
        return None if asked else UNFINISHED

    def read_by_trainings(self, notes: Iterable[str]) -> set[str]:
        """Shards that trainings read by these notes of theirs, where they have no links to them."""
        found: set[str] = set()
        for note in notes:
            for name in (name for names in json.loads(here(self.root / note).read_bytes()).values() for name in names):
                _, digest, shard = name.split("/", 2)
                found.add(object_name(shard, digest))
        return found

    def _rows_of(self, path: str) -> Artifact | None:
        """The rows that speak of the files in a folder, where they are known."""
        return self._by_path.get(f"{path}.parquet") or self._by_path.get(f"{path.rpartition('~')[0]}.parquet")

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
        columns = ["path", "audio_path", "prompt_path", "prompt_decoded_path"]
        named = (path for row in self._read(artifact, columns) for path in row.values())
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


def _lying(root: Path, tables: Iterable[str]) -> tuple[dict[str, _Entry], list[str]]:
    """Every shard's file and every folder of files of some tables, by its path.

    And, of an object store, the names of the notes on what trainings read.
    """
    found: dict[str, _Entry] = {}
    notes = []
    for table in sorted(tables):
        if not (objects := objects_of(root)):
            for file in (root / table).glob("*/[!.]*"):
                found[file.relative_to(root).as_posix()] = _Entry(0, 0.0)
            continue
        for name, (size, written) in objects.stats(table).items():
            parts = name.split("/")
            if len(parts) > 2 and not parts[2].startswith("."):
                path = "/".join(parts[:3])
                before = found.get(path, _Entry(0, 0.0))
                found[path] = _Entry(before.bytes + size, max(before.written, written / 1e9))
            elif name.endswith(".data.json"):
                notes.append(name)
    return found, notes


def _table(path: str) -> str:
    return path.partition("/")[0]


def _folder_of_note(note: str) -> str:
    """The folder that a note is on."""
    folder, _, name = note.rpartition("/")
    return f"{folder}/{name.removeprefix('.').removesuffix('.data.json')}"


def _now(root: Path) -> float:
    """Seconds since 1970, by the clock that says when what lies there was written."""
    if not (objects := objects_of(root)):
        return time.time()
    objects.put(_CLOCK, b"")
    return objects.stat(_CLOCK)[1] / 1e9


def _is_rows(path: str) -> bool:
    """Whether what lies at a path is a shard's file, and no folder of files beside one."""
    return path.endswith(".parquet")


def _objects(objects: Objects, path: str) -> list[str]:
    """The objects that a path of `_lying` stands for, with the notes on a folder."""
    if _is_rows(path):
        return [path]
    folder, _, name = path.rpartition("/")
    notes = {f"{folder}/.{name}.{kind}.json" for kind in _NOTES}
    return [*objects.list(path), *(notes & objects.list(folder).keys())]


def _remove(path: Path) -> None:
    """A shard's file, or a folder of files with the notes on it."""
    if path.is_dir():
        for kind in _NOTES:
            path.with_name(f".{path.name}.{kind}.json").unlink(missing_ok=True)
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


def _bytes(root: Path, path: str, lying: Mapping[str, _Entry]) -> int:
    """What would be free."""
    if objects_of(root):
        return lying[path].bytes
    there = root / path
    files = [there] if there.is_file() else [file for file in there.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
