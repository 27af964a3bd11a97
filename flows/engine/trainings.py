"""Trainings, whose folders outlive everything: what one reads is fixed when it begins, and no run removes it.

A lasting table's shard has a folder of its own with links to every shard that it reads, so audio that is added or
mended meanwhile changes nothing of it. Made again by name it begins anew in a folder beside, `ar~2` next to `ar`; the
one before stays as it is, whatever becomes of the new one. Only `valle gc` frees them.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from flows.terminal.output import say
from warehouse.store import write_atomically
from warehouse.working_copy import folder_here, notes_here, objects_of, send, shard_of

DATA = "data"  # in a training's folder: links to the shards that it reads


class Beginning(NamedTuple):
    """What a training began with."""

    folder: Path
    inputs: str  # JSON: path to digest, as in `warehouse.plan`
    reads: tuple[tuple[Path, ...], ...]  # for each table taken, the shards of it


def begin(path: Path, reads: Mapping[str, Sequence[Path]], inputs: str, *, again: bool) -> Beginning:
    """The folder to train in, for the shard whose rows are to lie at a path, and what it read when it began.

    The newest folder goes on; where that is done and the shard is asked for again, another begins. `reads` and
    `inputs` are what a training that begins now is made from: files by table, and the same as JSON.
    """
    objects = objects_of(path.parents[2])
    notes_here(path)
    name = newest(path) or path.stem
    if again and (_note(path, name, "done").exists() or (name == path.stem and _is_made(path))):
        number = int(name.rpartition("~")[2]) if name != path.stem else 1
        name = f"{path.stem}~{number + 1}"
    folder, noted = path.with_name(name), _note(path, name, "inputs")
    if objects:
        return _begin_there(path, folder, reads, inputs)
    if not noted.exists() or not (folder / DATA).is_dir():
        for table, paths in reads.items():
            _link(paths, folder / DATA / table)
        write_atomically(noted, inputs.encode())
    linked = tuple(tuple(sorted((folder / DATA / table).glob("*.parquet"))) for table in reads)
    return Beginning(folder, noted.read_text(), linked)


def _is_made(path: Path) -> bool:
    """Whether rows lie at a path, or have been sent to where they stay."""
    root = path.parents[2]
    if not (objects := objects_of(root)):
        return path.exists()
    there = objects.list(path.parent.relative_to(root).as_posix())
    return any(shard_of(name)[0] == path.relative_to(root).as_posix() for name in there)


def _begin_there(path: Path, folder: Path, reads: Mapping[str, Sequence[Path]], inputs: str) -> Beginning:
    """As `begin`, at an object store: no shard is written over there, so the names of what it reads are all it needs.

    What another machine has sent of the training is fetched, and whoever goes on goes on from there.
    """
    root = path.parents[2]
    noted, listed = _note(path, folder.name, "inputs"), _note(path, folder.name, DATA)
    if not noted.exists() or not listed.exists():
        shutil.rmtree(folder, ignore_errors=True)  # what this machine still has of one that was freed
        names = {table: [file.relative_to(root).as_posix() for file in files] for table, files in reads.items()}
        for note, text in ((listed, json.dumps(names)), (noted, inputs)):  # the one that begins it last
            write_atomically(note, text.encode())
            send(note)
    folder_here(folder).mkdir(parents=True, exist_ok=True)
    said = json.loads(listed.read_text())
    return Beginning(folder, noted.read_text(), tuple(tuple(root / name for name in said[table]) for table in reads))


def end(path: Path, folder: Path) -> None:
    """Notes that what was begun in a folder is whole, and its rows written."""
    note = _note(path, folder.name, "done")
    write_atomically(note, b"")
    send(note)


def newest(path: Path) -> str | None:
    """The name of the newest folder of the shard whose rows are at a path; nothing where none was begun."""
    shard = re.escape(path.stem)
    names = [re.fullmatch(rf"\.({shard}(?:~(\d+))?)\.inputs\.json", note.name) for note in path.parent.glob(".*.json")]
    begun = {int(found[2] or 1): found[1] for found in names if found}
    return begun[max(begun)] if begun else None


def say_schedules(stage: Any, shards: Iterable[str], workers: int) -> None:
    """How each of some shards will be trained, in words; nothing of a stage that trains nothing."""
    if schedule := getattr(stage, "schedule", None):
        for shard in shards:
            say(f"{stage.makes.name}/{shard}: {schedule(shard, workers)}")


def _note(path: Path, name: str, what: str) -> Path:
    return path.with_name(f".{name}.{what}.json")


def _link(paths: Iterable[Path], folder: Path) -> None:
    """Puts files into a folder as they are now: links, which take no room, or copies where there are none."""
    shutil.rmtree(folder, ignore_errors=True)  # half a beginning, of a kill
    folder.mkdir(parents=True)
    for path in paths:
        try:
            os.link(path, folder / path.name)
        except OSError:
            with suppress(FileNotFoundError):
                (folder / path.name).unlink()
            shutil.copyfile(path, folder / path.name)
