"""The working copy: the folder of this machine in which a warehouse on an object store is worked on.

Everything reads and writes files under a root that is a folder. Where the warehouse lies on an object store, that
folder is a working copy: what is written is sent there, what is read is fetched when it is first asked for and kept,
the longest unused let go beyond `VALLE_CACHE_BYTES`. The store is the truth; a working copy may be deleted whenever
nothing runs, and costs what has to be fetched again.

A shard lies there as `codes/<fingerprint>/<shard>@<sha256>.parquet`: what has been written is never written over, so
a shard that is fetched needs no look at whether it is still the same.
"""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from warehouse.copies import DIGITS, IN_USE, Copies, fetch, keep, make_room, used
from warehouse.objects import is_url, now_and_then

FETCHED = ".fetched"  # the folder of a working copy's shards, by the beginning of their sha256
_AT_ONCE = 8  # files fetched
_MIRROR = 5.0  # seconds between looks at what a folder that is mirrored has new

COPIES = Copies(mark=".object-store", kind="working copy")
root_at, bind, bind_to, objects_of, said = COPIES.at, COPIES.bind, COPIES.bind_to, COPIES.objects_of, COPIES.said


def object_name(path: str, digest: str) -> str:
    """The object that a shard's file is, by its path in the catalogue and the sha256 of the file."""
    return f"{path.removesuffix('.parquet')}@{digest[:DIGITS]}.parquet"


def shard_of(name: str) -> tuple[str, str]:
    """The path in the catalogue and the beginning of the sha256, of the object that a shard's file is."""
    stem, _, digest = name.removesuffix(".parquet").rpartition("@")
    return f"{stem}.parquet", digest


def shard_file(root: Path, path: str, digest: str) -> Path:
    """Where a shard lies, or will when it is fetched."""
    return root / FETCHED / digest[:DIGITS] / path if objects_of(root) else root / path


def address(root: Path, path: str, digest: str) -> str:
    """Where DuckDB reads a shard: its path, or its URL."""
    objects = objects_of(root)
    return f"{objects.url}/{object_name(path, digest)}" if objects else str(root / path)


def shard_name(address: str) -> str:
    """The shard that lies at an address."""
    return Path(shard_of(address)[0] if is_url(address) else address).stem


def here(path: Path) -> Path:
    """A file under a root, fetched where it is on an object store and not yet here.

    Raises:
        FileNotFoundError: it is not there either.
    """
    if not (found := COPIES.holding(path)):
        return path
    root, objects = found
    name = path.relative_to(root).as_posix()
    if not name.startswith(f"{FETCHED}/"):
        return path if path.exists() else fetch(objects, name, path)
    while not used(root / FETCHED, path):
        _, digest, shard = name.split("/", 2)
        keep_shard(root, shard, digest, objects.get(object_name(shard, digest)))
    return path


@contextmanager
def all_here(paths: Sequence[Path]) -> Iterator[None]:
    """Files under a root are here meanwhile, however many: fetched some at a time, and not let go for lack of room."""

    def ask_again() -> None:
        for path in paths:
            here(path)

    if not any(map(COPIES.holding, paths[:1])):
        yield
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(here, paths):
            pass
    with now_and_then(ask_again, IN_USE / 3, "files in use"):
        yield


def folder_here(path: Path, *, without: str | None = None) -> Path:
    """A folder under a root, with every file below it, fetched where it is on an object store.

    Args:
        without: the name of a folder in it that is not asked for.
    """
    if found := COPIES.holding(path):
        root, objects = found
        folder = path.relative_to(root).as_posix()
        for name in objects.list(folder):
            if not without or not name.startswith(f"{folder}/{without}/"):
                here(root / name)
    return path


def newest(folder: Path) -> str:
    """The last name in a folder, by its object store where it has one; empty where there is none."""
    for root in folder.parents:  # which this process may not know yet
        if objects := objects_of(root):
            return max((Path(name).name for name in objects.list(folder.relative_to(root).as_posix())), default="")
    return max((path.name for path in folder.glob("[!.]*")), default="")


def forget_unsent(folder: Path) -> None:
    """Removes the files of a folder that its object store does not have."""
    if found := COPIES.holding(folder):
        root, objects = found
        there = objects.list(folder.relative_to(root).as_posix())
        for file in folder.glob("*"):
            if file.is_file() and file.relative_to(root).as_posix() not in there:
                file.unlink(missing_ok=True)


def send(path: Path) -> None:
    """A file to the object store that its root is a working copy of, if it is one."""
    if found := COPIES.holding(path):
        root, objects = found
        objects.put(path.relative_to(root).as_posix(), path)


def notes_here(rows: Path) -> None:
    """Fetches the notes on the folders of one shard, small files whose names begin with a dot, and removes old ones.

    Args:
        rows: where the shard's rows lie, or would in a folder.
    """
    if found := COPIES.holding(rows):
        root, objects = found
        folder = rows.parent.relative_to(root).as_posix()
        ours = re.compile(rf"{re.escape(f'{folder}/.{rows.stem}')}(~[^/.]+)?\.[a-z]+\.json")
        there = [name for name in objects.list(folder) if ours.fullmatch(name)]
        for note in there:
            keep(root / note, objects.get(note))
        for old in rows.parent.glob(".*.json"):
            if ours.fullmatch(name := old.relative_to(root).as_posix()) and name not in there:
                old.unlink(missing_ok=True)


@contextmanager
def mirrored(folder: Path) -> Iterator[None]:
    """What is written below a folder meanwhile is sent to its object store, beside whoever writes it.

    A file that is let go here is let go there; one whose name begins with a dot is not whole, and stays here.
    """
    if not (found := COPIES.holding(folder)):
        yield
        return
    root, objects = found
    sent: dict[str, tuple[int, int]] = {}

    def send_what_is_new() -> None:
        there: dict[str, tuple[int, int]] = {}
        for file in sorted(folder.rglob("*")):
            with suppress(FileNotFoundError):  # let go meanwhile
                if not any(part.startswith(".") for part in file.relative_to(folder).parts) and file.is_file():
                    there[file.relative_to(root).as_posix()] = (file.stat().st_size, file.stat().st_mtime_ns)
        for name, state in there.items():
            if sent.get(name) != state:
                with suppress(FileNotFoundError):
                    objects.put(name, root / name)
                    sent[name] = state
        objects.delete(gone := sent.keys() - there.keys())
        for name in gone:
            del sent[name]

    try:
        with now_and_then(send_what_is_new, _MIRROR, f"mirror {folder.name}"):
            yield
    finally:
        send_what_is_new()  # what cannot be sent now is heard


def keep_shard(root: Path, path: str, digest: str, data: bytes) -> Path:
    """A shard that was fetched or made, kept while there is room."""
    make_room(root / FETCHED, len(data))
    return keep(shard_file(root, path, digest), data)
