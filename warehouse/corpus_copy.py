"""The corpus copy: the folder of this machine in which a corpus on an object store is read.

A corpus is somebody else's, and only ever read here. Its listing is asked of the store; a file is fetched when it is
first opened and kept, the longest unused let go as in a working copy. Unlike a shard it may be replaced under its name,
so what is here is held against the store's size and time before it is used, though not more than once a minute.
"""

import errno
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from warehouse.errors import Mistake
from warehouse.objects import Objects, is_url, open_objects
from warehouse.working_copy import cache_folder, fetch, keep, make_room

_MARK = ".corpus"  # the file of a corpus copy that says whose it is
_DIGITS = 16  # hex digits of a sha256 in a name
_BELIEVED = 60.0  # seconds after a look at the store in which a file is taken for what it was then
_AT_ONCE = 8  # files fetched
_OF_THE_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
_bound: dict[Path, Objects] = {}
_folders: set[Path] = set()  # that are no corpus copies
_looked: dict[Path, float] = {}


def corpus_at(said: str | Path) -> Path:
    """The folder of a corpus as a person says it: itself, made absolute, or the corpus copy of a URL.

    Raises:
        Mistake: it is no URL of an object store that is known, or there can be no copy of it here.
    """
    if not is_url(str(said)):
        return Path(said).expanduser().absolute()
    url = str(said).rstrip("/")
    folder = cache_folder() / f"corpus-{sha256(url.encode()).hexdigest()[:_DIGITS]}"
    bind(folder, url)
    return folder


def bind(folder: Path, url: str) -> None:
    """Make a folder the copy of a corpus; nothing, where it is so.

    Raises:
        Mistake: there can be no such folder here.
    """
    if folder in _bound and _bound[folder].url == url:
        return
    objects = open_objects(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / _MARK).exists():
            keep(folder / _MARK, url.encode())
    except OSError as error:
        raise Mistake(
            f"{folder} cannot be the copy of {url}: {error.strerror}; VALLE_CACHE names another place"
        ) from error
    bind_to(folder, objects)


def bind_to(folder: Path, objects: Objects) -> None:
    """Make a folder the copy of the corpus that these objects are."""
    folder.mkdir(parents=True, exist_ok=True)
    _bound[folder] = objects


def objects_of(corpus: Path) -> Objects | None:
    """The object store that a corpus lies on; null of one that is a folder."""
    if corpus not in _bound and corpus not in _folders:
        if (corpus / _MARK).is_file():
            bind(corpus, (corpus / _MARK).read_text().strip())
        else:
            _folders.add(corpus)
    return _bound.get(corpus)


def said(corpus: Path) -> str:
    """A corpus as a person says it."""
    objects = objects_of(corpus)
    return objects.url if objects else str(corpus)


def folder_name(corpus: Path) -> str:
    """What the folder is called that a corpus lies in, or the last part of its URL."""
    objects = objects_of(corpus)
    return objects.url.rpartition("/")[2] if objects else corpus.resolve().name


def file_here(path: Path) -> Path:
    """A file of a corpus, fetched where it is on an object store and not here as it is there now.

    Raises:
        FileNotFoundError: it is not there.
    """
    for folder, objects in _bound.items():
        if path.is_relative_to(folder):
            if time.monotonic() - _looked.get(path, -_BELIEVED) > _BELIEVED or not path.exists():
                _fetch(folder, objects, path)
            return path
    return path


def files_here(paths: Iterable[Path]) -> None:
    """Fetches files that are soon to be opened, several at a time; one that cannot lie here is met then."""

    def fetch(path: Path) -> None:
        try:
            file_here(path)
        except OSError as error:
            if error.errno not in _OF_THE_FILE:
                raise

    if wanted := [path for path in paths if any(path.is_relative_to(folder) for folder in _bound)]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(fetch, wanted):
                pass


def _fetch(folder: Path, objects: Objects, path: Path) -> None:
    name = path.relative_to(folder).as_posix()
    try:
        size, written = objects.stat(name)
        if not path.exists() or (path.stat().st_size, path.stat().st_mtime_ns) != (size, written):
            make_room(folder, size)
            fetch(objects, name, path, written)
        os.utime(path, ns=(time.time_ns(), written))
    except FileNotFoundError:
        path.unlink(missing_ok=True)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{objects.url}/{name}") from None
    _looked[path] = time.monotonic()
