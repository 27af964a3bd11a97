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
from pathlib import Path

from warehouse.copies import Copies, fetch, make_room, used
from warehouse.objects import Objects, Stat

_BELIEVED = 60.0  # seconds after a look at the store in which a file is taken for what it was then
_AT_ONCE = 8  # files fetched
_OF_ITS_NAME = {one: one for one in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)} | {errno.EEXIST: errno.ENOTDIR}
_looked: dict[Path, float] = {}

COPIES = Copies(mark=".corpus", kind="copy", prefix="corpus-")
corpus_at, bind, bind_to, objects_of, said = COPIES.at, COPIES.bind, COPIES.bind_to, COPIES.objects_of, COPIES.said


def folder_name(corpus: Path) -> str:
    """What the folder is called that a corpus lies in, or the last part of its URL."""
    objects = objects_of(corpus)
    return objects.url.rpartition("/")[2] if objects else corpus.resolve().name


def file_here(path: Path) -> Path:
    """A file of a corpus, fetched where it is on an object store and not here as it is there now.

    Raises:
        FileNotFoundError: it is not there.
    """
    if found := COPIES.holding(path):
        folder, objects = found
        if time.monotonic() - _looked.get(path, -_BELIEVED) > _BELIEVED or not used(folder, path):
            _bring(folder, objects, path)
    return path


def files_here(files: Mapping[Path, Stat]) -> None:
    """Fetches files that are soon to be opened, several at a time; one that cannot lie here is met then.

    Args:
        files: with what a listing has said of each just now.
    """

    def bring(one: tuple[Path, Stat]) -> None:
        path, said = one
        if found := COPIES.holding(path):
            folder, objects = found
            try:
                _bring(folder, objects, path, said)
            except OSError as error:
                if error.filename != f"{objects.url}/{path.relative_to(folder).as_posix()}":
                    raise  # it says nothing of the file

    if any(map(COPIES.holding, list(files)[:1])):
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(bring, files.items()):
                pass


def lies_in_a_copy(path: object) -> bool:
    """Whether a path is that of a file of a corpus copy: that it is not here says nothing of the corpus."""
    return isinstance(path, str | Path) and COPIES.holding(Path(path)) is not None


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
