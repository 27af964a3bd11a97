"""The working copy: the folder of this machine in which a warehouse on an object store is worked on.

Everything reads and writes files under a root that is a folder. Where the warehouse lies on an object store, that
folder is a working copy: what is written is sent there, what is read is fetched when it is first asked for and kept,
the longest unused let go beyond `VALLE_CACHE_BYTES`. The store is the truth; a working copy may be deleted whenever
nothing runs, and costs what has to be fetched again.

A shard lies there as `codes/<fingerprint>/<shard>@<sha256>.parquet`: what has been written is never written over, so
a shard that is fetched needs no look at whether it is still the same.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from warehouse.errors import Mistake
from warehouse.objects import Objects, is_url, now_and_then, open_objects

MARK = ".object-store"  # the file of a working copy that says whose it is
FETCHED = ".fetched"  # its folder of shards, by the beginning of their sha256
_DIGITS = 16  # hex digits of a sha256 in a name
_BYTES = 20 << 30  # that are kept, unless the environment says otherwise
_MIRROR = 5.0  # seconds between looks at what a folder that is mirrored has new
_IN_USE = 600.0  # seconds in which what was fetched or asked for is not let go
_bound: dict[Path, Objects] = {}
_folders: set[Path] = set()  # that are no working copies
_fetched = {"bytes": _BYTES}  # since room was looked after


def root_at(said: str | Path) -> Path:
    """The folder of a root as a person says it: itself, made absolute, or the working copy of a URL."""
    if not is_url(str(said)):
        return Path(said).expanduser().absolute()
    url = str(said).rstrip("/")
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.environ.get("VALLE_CACHE") or f"{home}/valle").expanduser().absolute()
    root = folder / sha256(url.encode()).hexdigest()[:_DIGITS]
    bind(root, url)
    return root


def bind(root: Path, url: str) -> None:
    """Make a folder the working copy of a warehouse; nothing, where it is so.

    Raises:
        Mistake: there can be no such folder here.
    """
    if root in _bound and _bound[root].url == url:
        return
    objects = open_objects(url)
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not (root / MARK).exists() or (root / MARK).read_text() != url:
            keep(root / MARK, url.encode())
    except OSError as error:
        raise Mistake(
            f"{root} cannot be the working copy of {url}: {error.strerror}; VALLE_CACHE names another place"
        ) from error
    _bound[root] = objects


def bind_to(root: Path, objects: Objects) -> None:
    """Make a folder the working copy of these objects, however they are reached."""
    root.mkdir(parents=True, exist_ok=True)
    _bound[root] = objects


def objects_of(root: Path) -> Objects | None:
    """The object store that a root is a working copy of; null of a warehouse that is a folder."""
    if root not in _bound and root not in _folders:
        if (root / MARK).is_file():
            bind(root, (root / MARK).read_text().strip())
        else:
            _folders.add(root)  # asked for each of 44,634 shards, a look at the disk each time took as long as the rest
    return _bound.get(root)


def said(root: Path) -> str:
    """A root as a person says it."""
    objects = objects_of(root)
    return objects.url if objects else str(root)


def object_name(path: str, digest: str) -> str:
    """The object that a shard's file is, by its path in the catalogue and the sha256 of the file."""
    return f"{path.removesuffix('.parquet')}@{digest[:_DIGITS]}.parquet"


def shard_of(name: str) -> tuple[str, str]:
    """The path in the catalogue and the beginning of the sha256, of the object that a shard's file is."""
    stem, _, digest = name.removesuffix(".parquet").rpartition("@")
    return f"{stem}.parquet", digest


def shard_file(root: Path, path: str, digest: str) -> Path:
    """Where a shard lies, or will when it is fetched."""
    return root / FETCHED / digest[:_DIGITS] / path if objects_of(root) else root / path


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
    for root, objects in _bound.items():
        if path.is_relative_to(root):
            if path.exists():
                if FETCHED in path.parts:
                    with suppress(OSError):
                        os.utime(path)
                return path
            name = path.relative_to(root).as_posix()
            if name.startswith(f"{FETCHED}/"):
                _, digest, shard = name.split("/", 2)
                return keep_shard(root, shard, digest, objects.get(object_name(shard, digest)))
            return keep(path, objects.get(name))
    return path


def folder_here(path: Path, *, without: str | None = None) -> Path:
    """A folder under a root, with every file below it, fetched where it is on an object store.

    Args:
        without: the name of a folder in it that is not asked for.
    """
    for root, objects in _bound.items():
        if path.is_relative_to(root):
            folder = path.relative_to(root).as_posix()
            for name in objects.list(folder):
                if not without or not name.startswith(f"{folder}/{without}/"):
                    here(root / name)
    return path


def newest(folder: Path) -> str:
    """The last name in a folder, by its object store where it has one; empty where there is none."""
    for root in folder.parents:
        if objects := objects_of(root):
            return max((Path(name).name for name in objects.list(folder.relative_to(root).as_posix())), default="")
    return max((path.name for path in folder.glob("[!.]*")), default="")


def forget_unsent(folder: Path) -> None:
    """Removes the files of a folder that its object store does not have."""
    for root, objects in _bound.items():
        if folder.is_relative_to(root):
            there = objects.list(folder.relative_to(root).as_posix())
            for file in folder.glob("*"):
                if file.is_file() and file.relative_to(root).as_posix() not in there:
                    file.unlink(missing_ok=True)


def send(path: Path) -> None:
    """A file to the object store that its root is a working copy of, if it is one."""
    for root, objects in _bound.items():
        if path.is_relative_to(root):
            objects.put(path.relative_to(root).as_posix(), path)


def notes_here(folder: Path) -> None:
    """Fetches the notes that lie in a folder, each a small file whose name begins with a dot."""
    for root, objects in _bound.items():
        if folder.is_relative_to(root):
            name = folder.relative_to(root).as_posix()
            for note in objects.list(name):
                if note.startswith(f"{name}/.") and note.endswith(".json"):
                    keep(root / note, objects.get(note))


@contextmanager
def mirrored(folder: Path) -> Iterator[None]:
    """What is written below a folder meanwhile is sent to its object store, beside whoever writes it.

    A file that is let go here is let go there; one whose name begins with a dot is not whole, and stays here.
    """
    found = next(((root, objects) for root, objects in _bound.items() if folder.is_relative_to(root)), None)
    if not found:
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


def keep(path: Path, data: bytes) -> Path:
    """A file of a working copy, whole or not at all; after a power cut it may be fetched again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def keep_shard(root: Path, path: str, digest: str, data: bytes) -> Path:
    """A shard that was fetched or made, kept while there is room."""
    _make_room(root, len(data))
    return keep(shard_file(root, path, digest), data)


def _make_room(root: Path, more: int) -> None:
    """Let the shards go that were asked for longest ago, where more bytes are here than may be kept."""
    asked = os.environ.get("VALLE_CACHE_BYTES") or str(_BYTES)
    if not asked.isdecimal():
        raise Mistake(f"VALLE_CACHE_BYTES is {asked!r}; it must be a whole number of bytes")
    most = int(asked)
    _fetched["bytes"] += more
    if _fetched["bytes"] < most / 20:
        return
    _fetched["bytes"] = 0
    found = []
    for path in (root / FETCHED).rglob("*.parquet"):
        with suppress(FileNotFoundError):  # let go by another process
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    over = sum(size for _, size, _ in found) + more - most
    long_ago = time.time() - _IN_USE
    for used, size, path in sorted(found):
        if over <= 0 or used > long_ago:
            return
        path.unlink(missing_ok=True)
        over -= size
