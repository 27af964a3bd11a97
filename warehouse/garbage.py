"""What nothing rests on any more: shards of settings that no recipe asks for, and the folders of files beside them.

Kept is whatever a recipe's last run asks for, the newest training of each half and every training that some sample
came from, all that these were made from, and a training that is not whole while a recipe asks for it. Nothing else in
the warehouse ever removes a training.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake
from warehouse.plan import Wanted
from warehouse.store import Artifact
from warehouse.tables import CHECKPOINTS, SAMPLES
from warehouse.working_copy import objects_of

UNWANTED, OLDER, UNFINISHED = "of settings that no recipe asks for", "an older training", "a training that never ended"


@dataclass(frozen=True)
class Garbage:
    """A file or folder that nothing rests on."""

    path: str  # relative to the root
    bytes: int  # of it and all below it; a link to what is kept counts as well
    why: str


def garbage(root: Path) -> list[Garbage]:
    """All of it, in order of paths.

    Raises:
        Mistake: nothing has run there, or what a run has left is damaged.
    """
    if objects := objects_of(root):
        raise Mistake(f"{objects.url}: `valle gc` frees folders; at an object store nothing is freed yet")
    index = Catalogue(root)
    index.last_run()
    artifacts = index.artifacts()
    wanted = {(stage.table, stage.fingerprint(shard)) for stage, shard in _asked(index.recipes())}
    kept = _with_what_they_are_from(_roots(artifacts.values(), wanted), artifacts)
    spoken_by = set(_weights_of_samples(root, artifacts.values()))
    found = []
    for table in {table for table, _, _ in artifacts} | {table for table, _ in wanted}:
        for folder in sorted(path for path in (root / table).glob("*") if path.is_dir()):
            asked = (table, folder.name) in wanted
            for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
                if table == CHECKPOINTS.name and path.is_dir():
                    why = None if _digests(path) & spoken_by else _why_training(path, root, kept, asked=asked)
                else:
                    why = _why(path, root, kept, asked=asked)
                if why:
                    found.append(Garbage(path.relative_to(root).as_posix(), _bytes(path), why))
    return sorted(found, key=lambda one: one.path)


def free(root: Path, found: Iterable[Garbage]) -> None:
    """Removes it, and lets the catalogue forget it. Rows go before the files that they speak of."""
    for one in sorted(found, key=lambda one: not one.path.endswith(".parquet")):
        path = root / one.path
        if path.is_dir():
            for note in path.parent.glob(f".{escape(path.name)}.*.json"):
                note.unlink()
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it holds more
            path.parent.rmdir()
    Catalogue(root).take_up(look_at_disk=True)


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


def _with_what_they_are_from(roots: list[Artifact], artifacts: dict[tuple[str, str, str], Artifact]) -> set[str]:
    """The paths of some shards and of all that they were made from."""
    by_path = {artifact.path: artifact for artifact in artifacts.values()}
    kept: set[str] = set()
    waiting = list(roots)
    while waiting:
        artifact = waiting.pop()
        if artifact.path not in kept:
            kept.add(artifact.path)
            waiting += [by_path[path] for path in json.loads(artifact.inputs) if path in by_path]
    return kept


def _weights_of_samples(root: Path, artifacts: Iterable[Artifact]) -> Iterator[str]:
    """The first digits of the digests of all weights that a sample came from."""
    for artifact in artifacts:
        if artifact.table_name == SAMPLES.name:
            for name in pq.read_table(root / artifact.path, columns=["checkpoint_id"])["checkpoint_id"].to_pylist():
                yield from (half.rpartition("-")[2] for half in (name or "").split("+"))


def _why(path: Path, root: Path, kept: set[str], *, asked: bool) -> str | None:
    """Why nothing rests on a shard's rows, or on its folder of files; nothing where something does."""
    rows = path.with_name(f"{path.name}.parquet") if path.is_dir() else path
    is_made = asked and not rows.exists()  # just now, perhaps
    return None if rows.relative_to(root).as_posix() in kept or is_made else UNWANTED


def _why_training(path: Path, root: Path, kept: set[str], *, asked: bool) -> str | None:
    """Why nothing rests on a training's folder; nothing where something does."""
    rows = path.with_name(f"{path.name.partition('~')[0]}.parquet")
    if rows.exists() and path.name in _folders(rows):
        return None if rows.relative_to(root).as_posix() in kept else UNWANTED
    if rows.exists() and (path / "settings.json").exists():
        return OLDER
    return None if asked else UNFINISHED


def _folders(rows: Path) -> set[str]:
    """The folders of the weights that a training's rows name."""
    with suppress(pa.ArrowException, KeyError, OSError):
        paths = pq.read_table(rows, columns=["path"])["path"].to_pylist()
        return {part for path in paths if path for part in Path(path).parts}
    return set()


def _digests(training: Path) -> set[str]:
    """The first digits of the digests of the weights in a training's folder."""
    found = set()
    for settings in (*training.glob("settings.json"), *training.glob("best-*/settings.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found.add(str(json.loads(settings.read_text("utf-8"))["sha256"])[:12])
    return found


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
