"""Copies: folders of this machine that hold files of an object store, whole or not at all, as long as there is room."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from warehouse.errors import Mistake
from warehouse.objects import Objects, is_url, open_objects

DIGITS = 16  # hex digits of a sha256 in a name
IN_USE = 600.0  # seconds in which what was fetched or asked for is not let go
_BYTES = 20 << 30  # that are kept, unless the environment says otherwise
fetched: dict[Path, int] = {}  # bytes, since room was looked after


class Copies:
    """The folders of one kind that this process knows, each marked with its URL so that other processes know it too."""

    def __init__(self, mark: str, kind: str, prefix: str = "") -> None:
        self.bound: dict[Path, Objects] = {}
        self._folders: set[Path] = set()  # that are none
        self._mark, self._kind, self._prefix = mark, kind, prefix

    def at(self, said: str | Path) -> Path:
        """A folder as a person says it: itself, made absolute, or the copy of a URL.

        Raises:
            Mistake: it is no URL of an object store that is known, or there can be no copy of it here.
        """
        if not is_url(str(said)):
            return Path(said).expanduser().absolute()
        url = str(said).rstrip("/")
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        place = Path(os.environ.get("VALLE_CACHE") or f"{home}/valle").expanduser().absolute()
        folder = place / f"{self._prefix}{sha256(url.encode()).hexdigest()[:DIGITS]}"
        self.bind(folder, url)
        return folder

    def bind(self, folder: Path, url: str) -> None:
        """Make a folder the copy of a URL; nothing, where it is so.

        Raises:
            Mistake: there can be no such folder here.
        """
        if folder in self.bound and self.bound[folder].url == url:
            return
        objects, mark = open_objects(url), folder / self._mark
        try:
            if not mark.exists() or mark.read_text() != url:
                keep(mark, url.encode())
        except OSError as error:
            raise Mistake(
                f"{folder} cannot be the {self._kind} of {url}: {error.strerror}; VALLE_CACHE names another place"
            ) from error
        self.bind_to(folder, objects)

    def bind_to(self, folder: Path, objects: Objects) -> None:
        """Make a folder the copy of these objects, however they are reached."""
        folder.mkdir(parents=True, exist_ok=True)
        self.bound[folder] = objects

    def objects_of(self, folder: Path) -> Objects | None:
        """The object store that a folder is a copy of; null of one that is none."""
        if folder not in self.bound and folder not in self._folders:
            if (folder / self._mark).is_file():
                self.bind(folder, (folder / self._mark).read_text().strip())
            else:  # asked for each of 44,634 shards, a look at the disk each time took as long as the rest
                self._folders.add(folder)
        return self.bound.get(folder)

    def said(self, folder: Path) -> str:
        """A folder as a person says it."""
        objects = self.objects_of(folder)
        return objects.url if objects else str(folder)

    def holding(self, path: Path) -> tuple[Path, Objects] | None:
        """The copy that a file lies in, and its objects; null where it lies in none."""
        found = ((folder, objects) for folder, objects in self.bound.items() if path.is_relative_to(folder))
        return next(found, None)


def keep(path: Path, data: bytes) -> Path:
    """A file of a copy, whole or not at all; after a power cut it may be fetched again."""
    with _appearing(path) as unfinished:
        unfinished.write_bytes(data)
    return path


def fetch(objects: Objects, name: str, path: Path) -> Path:
    """An object as a file of its own time, which may be larger than memory; as `keep`."""
    with _appearing(path) as unfinished:
        _, written = objects.fetch(name, unfinished)
        os.utime(unfinished, ns=(time.time_ns(), written))
    return path


def used(folder: Path, path: Path) -> bool:
    """Says of a file of a folder that it is in use, so that it is not let go for some minutes; whether it is there."""
    try:
        with _letting_go(folder, fcntl.LOCK_SH):
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    except FileNotFoundError:
        return False
    return True


def make_room(folder: Path, more: int) -> None:
    """Let the files of a folder go that were asked for longest ago, where more bytes are here than may be kept."""
    asked = os.environ.get("VALLE_CACHE_BYTES") or str(_BYTES)
    if not asked.isdecimal():
        raise Mistake(f"VALLE_CACHE_BYTES is {asked!r}; it must be a whole number of bytes")
    most = int(asked)
    fetched[folder] = fetched.get(folder, most) + more
    if fetched[folder] < most / 20:
        return
    fetched[folder] = 0
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # let go by another process
            if path.is_file() and not path.name.startswith("."):
                found.append((path.stat().st_atime, path.stat().st_size, path))
    over = sum(size for _, size, _ in found) + more - most
    long_ago = time.time() - IN_USE
    for last, size, path in sorted(found):
        if over <= 0 or last > long_ago:
            return
        with _letting_go(folder, fcntl.LOCK_EX), suppress(FileNotFoundError):
            if path.stat().st_atime <= long_ago:  # nobody has asked for it since
                path.unlink()
                over -= size


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
