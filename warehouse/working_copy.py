"""The working copy: the folder of this machine in which a warehouse on an object store is worked on.

Everything reads and writes files under a root that is a folder. Where the warehouse lies on an object store, that
folder is a working copy: what is written is sent there, what is read is fetched when it is first asked for and kept,
the longest unused let go beyond `VALLE_CACHE_BYTES`. The store is the truth; a working copy may be deleted whenever
nothing runs, and costs what has to be fetched again.

A shard lies there as `codes/<fingerprint>/<shard>@<sha256>.parquet`: what has been written is never written over, so
a shard that is fetched needs no look at whether it is still the same.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
_AT_ONCE = 8  # files fetched
_MIRROR = 5.0  # seconds between looks at what a folder that is mirrored has new
_IN_USE = 600.0  # seconds in which what was fetched or asked for is not let go
_bound: dict[Path, Objects] = {}
_folders: set[Path] = set()  # that are no working copies
_fetched: dict[Path, int] = {}  # bytes, since room was looked after


def root_at(said: str | Path) -> Path:
    """The folder of a root as a person says it: itself, made absolute, or the working copy of a URL."""
    if not is_url(str(said)):
        return Path(said).expanduser().absolute()
    url = str(said).rstrip("/")
    root = cache_folder() / sha256(url.encode()).hexdigest()[:_DIGITS]
    bind(root, url)
    return root


def cache_folder() -> Path:
    """Where this machine keeps what it fetches: `VALLE_CACHE`."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("VALLE_CACHE") or f"{home}/valle").expanduser().absolute()


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
            name = path.relative_to(root).as_posix()
            if not name.startswith(f"{FETCHED}/"):
                return path if path.exists() else _fetched_file(objects, name, path)
            while not used(root / FETCHED, path):
                _, digest, shard = name.split("/", 2)
                keep_shard(root, shard, digest, objects.get(object_name(shard, digest)))
            return path
    return path


def _fetched_file(objects: Objects, name: str, path: Path) -> Path:
    fetch(objects, name, path)
    return path


@contextmanager
def all_here(paths: Sequence[Path]) -> Iterator[None]:
    """Files under a root are here meanwhile, however many: fetched some at a time, and not let go for lack of room."""

    def ask_again() -> None:
        for path in paths:
            here(path)

    if not any(path.is_relative_to(root) for path in paths[:1] for root in _bound):
        yield
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(here, paths):
            pass
    with now_and_then(ask_again, _IN_USE / 3, "files in use"):
        yield


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


def notes_here(rows: Path) -> None:
    """Fetches the notes on the folders of one shard, small files whose names begin with a dot, and removes old ones.

    Args:
        rows: where the shard's rows lie, or would in a folder.
    """
    for root, objects in _bound.items():
        if rows.is_relative_to(root):
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
    with _appearing(path) as unfinished:
        unfinished.write_bytes(data)
    return path


def fetch(objects: Objects, name: str, path: Path) -> None:
    """An object as a file of its own time, which may be larger than memory; as `keep`."""
    with _appearing(path) as unfinished:
        _, written = objects.fetch(name, unfinished)
        os.utime(unfinished, ns=(time.time_ns(), written))


def used(folder: Path, path: Path) -> bool:
    """Says of a file of a folder that it is in use, so that it is not let go for some minutes; whether it is there."""
    try:
        with _letting_go(folder, fcntl.LOCK_SH):
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _letting_go(folder: Path, how: int) -> Iterator[None]:
    """Between those who let files go and those who use them: nobody takes a file that somebody has just asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".room").open("a") as lock:
        fcntl.flock(lock, how)
        yield


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A file beside a path, which takes its place at the end of the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid4().hex}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def keep_shard(root: Path, path: str, digest: str, data: bytes) -> Path:
    """A shard that was fetched or made, kept while there is room."""
    make_room(root / FETCHED, len(data))
    return keep(shard_file(root, path, digest), data)


def make_room(folder: Path, more: int) -> None:
    """Let the files of a folder go that were asked for longest ago, where more bytes are here than may be kept."""
    asked = os.environ.get("VALLE_CACHE_BYTES") or str(_BYTES)
    if not asked.isdecimal():
        raise Mistake(f"VALLE_CACHE_BYTES is {asked!r}; it must be a whole number of bytes")
    most = int(asked)
    _fetched[folder] = _fetched.get(folder, most) + more
    if _fetched[folder] < most / 20:
        return
    _fetched[folder] = 0
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # let go by another process
            if path.is_file() and not path.name.startswith("."):
                found.append((path.stat().st_atime, path.stat().st_size, path))
    over = sum(size for _, size, _ in found) + more - most
    long_ago = time.time() - _IN_USE
    for last, size, path in sorted(found):
        if over <= 0 or last > long_ago:
            return
        with _letting_go(folder, fcntl.LOCK_EX), suppress(FileNotFoundError):
            if path.stat().st_atime <= long_ago:  # nobody has asked for it since
                path.unlink()
                over -= size
