"""The corpus copy: the folder of this machine in which a corpus on an object store is read.

A corpus is somebody else's, and only ever read here. Its listing is asked of the store; a file is fetched when it is
first opened and kept, the longest unused let go as in a working copy. Unlike a shard it may be replaced under its name,
so what is here is held against the store's size and time before it is used, though not more than once a minute.
"""

import errno
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from warehouse.errors import Mistake
from warehouse.objects import Objects, Stat, is_url, open_objects
from warehouse.working_copy import cache_folder, fetch, keep, make_room, used

_MARK = ".corpus"  # the file of a corpus copy that says whose it is
_DIGITS = 16  # hex digits of a sha256 in a name
_BELIEVED = 60.0  # seconds after a look at the store in which a file is taken for what it was then
_AT_ONCE = 8  # files fetched
_OF_ITS_NAME = {one: one for one in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)} | {errno.EEXIST: errno.ENOTDIR}
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
            if time.monotonic() - _looked.get(path, -_BELIEVED) > _BELIEVED or not used(folder, path):
                _bring(folder, objects, path)
            return path
    return path


def files_here(files: Mapping[Path, Stat]) -> None:
    """Fetches files that are soon to be opened, several at a time; one that cannot lie here is met then.

    Args:
        files: with what a listing has said of each just now.
    """

    def bring(folder: Path, objects: Objects, path: Path, said: Stat) -> None:
        try:
            _bring(folder, objects, path, said)
        except OSError as error:
            if error.filename != f"{objects.url}/{path.relative_to(folder).as_posix()}":
                raise  # it says nothing of the file

    for folder, objects in _bound.items():
        if ours := [(path, said) for path, said in files.items() if path.is_relative_to(folder)]:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for _ in pool.map(lambda one: bring(folder, objects, *one), ours):  # noqa: B023
                    pass


def lies_in_a_copy(path: object) -> bool:
    """Whether a path is that of a file of a corpus copy: that it is not here says nothing of the corpus."""
    return isinstance(path, str | Path) and any(Path(path).is_relative_to(folder) for folder in _bound)


def _bring(folder: Path, objects: Objects, path: Path, said: Stat | None = None) -> None:
    """A file as it is at the store now, or as a listing has said of it."""
    name = path.relative_to(folder).as_posix()
    try:
        if used(folder, path):
            here = path.stat()
            if (here.st_size, here.st_mtime_ns) == (said or objects.stat(name)):
                _looked[path] = time.monotonic()
                return
        make_room(folder, said[0] if said else 0)
        fetch(objects, name, path)
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError) and error.errno is None  # at the store, and not here
        number = errno.ENOENT if is_missing else _OF_ITS_NAME.get(error.errno or 0)
        if not number:
            raise
        raise OSError(number, os.strerror(number), f"{objects.url}/{name}") from error
    _looked[path] = time.monotonic()
