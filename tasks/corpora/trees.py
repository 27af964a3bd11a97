"""Trees of files: a corpus as it is listed, in a folder or on an object store; nothing of it is opened."""

import os
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from tasks.audio.audio_files import will_stay
from warehouse import corpus_copy
from warehouse.objects import Objects

Stat = tuple[int, int]  # bytes, mtime in ns

_KEPT = frozenset(("ledger", "recipes"))  # folders of a warehouse
_CATALOGUE = "catalogue.duckdb"


class Children(NamedTuple):
    """What lies in a folder, sorted by name; hidden files and folders are left out."""

    folders: list[str]
    files: dict[str, Stat]


class Tree(Protocol):
    """A corpus's files. Paths are relative to it, with slashes, and its own folder is the empty path."""

    root: Path

    def children(self, folder: str) -> Children:
        """What lies in a folder. Raises OSError where it cannot be listed."""

    def identity(self, folder: str) -> Hashable:
        """What a folder is, however it is come to: the same of a link to it."""

    def is_warehouse(self, folder: str) -> bool:
        """Whether a folder is the root of a warehouse: it has a catalogue, or what one is rebuilt from."""

    def has_folder(self, folder: str) -> bool:
        """Whether there is such a folder."""


class DiskTree:
    """A folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def children(self, folder: str) -> Children:
        """As `Tree` says. A link to nowhere, or to itself, is listed with no bytes; one to a folder is followed."""
        folders: list[str] = []
        files: dict[str, Stat] = {}
        with os.scandir(self.root / folder) as found:
            for item in sorted(found, key=lambda item: item.name):
                if item.name.startswith("."):
                    continue
                if _is_folder(item):
                    folders.append(item.name)
                elif item.is_symlink() or item.is_file():
                    files[item.name] = _stat(item)
        return Children(folders, files)

    def identity(self, folder: str) -> Hashable:
        """As `Tree` says."""
        at = os.stat(self.root / folder)
        return at.st_dev, at.st_ino

    def is_warehouse(self, folder: str) -> bool:
        """As `Tree` says."""
        at = os.path.join(self.root, folder)
        return os.path.lexists(f"{at}/{_CATALOGUE}") or all(os.path.isdir(f"{at}/{name}") for name in _KEPT)

    def has_folder(self, folder: str) -> bool:
        """As `Tree` says."""
        return (self.root / folder).is_dir()


class ObjectTree:
    """A prefix of an object store: a folder is whatever stands before a slash in a name."""

    def __init__(self, root: Path, objects: Objects, *, whole: bool) -> None:
        """`whole` lists all of it at once, which takes a request for each thousand files in place of one a folder."""
        self.root = root
        self._objects = objects
        self._known: dict[str, Children] | None = None
        if whole:
            self._known = {"": Children([], {})}
            for name, stat in sorted(objects.stats("").items()):
                self._add(name, stat)

    def children(self, folder: str) -> Children:
        """As `Tree` says."""
        if self._known is None:
            folders, files = self._objects.children(folder)
            return Children(
                sorted(name for name in folders if not name.startswith(".")),
                {name: files[name] for name in sorted(files) if _is_file(name, files[name])},
            )
        return self._known.get(folder, Children([], {}))

    def identity(self, folder: str) -> Hashable:
        """As `Tree` says."""
        return folder

    def is_warehouse(self, folder: str) -> bool:
        """As `Tree` says."""
        children = self.children(folder)
        return _CATALOGUE in children.files or set(children.folders) >= _KEPT

    def has_folder(self, folder: str) -> bool:
        """As `Tree` says."""
        return any(self.children(folder))

    def _add(self, name: str, stat: Stat) -> None:
        assert self._known is not None
        folder = ""
        *above, file = name.split("/")
        for part in above:
            if part.startswith("."):
                return
            within = join(folder, part)
            if within not in self._known:
                self._known[within] = Children([], {})
                self._known[folder].folders.append(part)
            folder = within
        if _is_file(file, stat):
            self._known[folder].files[file] = stat


def tree_of(corpus: Path, *, whole: bool) -> Tree:
    """The tree of a corpus; `whole` where all of it is wanted, and not one shard."""
    objects = corpus_copy.objects_of(corpus)
    return ObjectTree(corpus, objects, whole=whole) if objects else DiskTree(corpus)


def walk(tree: Tree, top: str, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[tuple[str, dict[str, Stat]]]:
    """Each folder from `top` down that holds files, with them; a warehouse that lies in the corpus is left out."""
    pending, seen = [top], set()
    while pending:
        folder = pending.pop()
        if (identity := tree.identity(folder)) in seen:  # a link leads back to it
            continue
        seen.add(identity)
        children = tree.children(folder)
        below = (join(folder, name) for name in children.folders)
        pending.extend(path for path in below if wanted(path) and not tree.is_warehouse(path))
        if children.files:
            yield folder, children.files


def subfolders(tree: Tree, folder: str, wanted: Callable[[str], bool] = lambda _: True) -> list[str]:
    """The paths of the folders within a folder, sorted, warehouses left out."""
    below = (join(folder, name) for name in tree.children(folder).folders)
    return [path for path in below if wanted(path) and not tree.is_warehouse(path)]


def join(folder: str, name: str) -> str:
    """A path relative to the corpus; its own folder is the empty path."""
    return f"{folder}/{name}" if folder else name


def _is_file(name: str, stat: Stat) -> bool:
    """Whether an object is a file that is not hidden. One of no bytes and no suffix marks a folder, for some tools."""
    return not name.startswith(".") and (stat[0] > 0 or "." in name)


def _is_folder(item: "os.DirEntry[str]") -> bool:
    """Whether it is a folder; a link that leads nowhere, such as one to itself, is none."""
    try:
        return item.is_dir()
    except OSError as error:
        if not will_stay(error):
            raise
        return False


def _stat(item: "os.DirEntry[str]") -> Stat:
    try:
        stat = item.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
