"""Listing a corpus: which files there are, and which of them make one shard.

Nothing is opened. A corpus of 220,000 files is listed by names, sizes and times
alone, so hours are guessed from bytes, and a speaker's shard does not change when other speakers come.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Protocol

from tasks.corpora.trees import Stat, Tree, join
from warehouse.corpus_copy import said
from warehouse.errors import Mistake
from warehouse.stage import SourceFiles

COMPANIONS = frozenset(
    (
        ".txt",
        ".json",
        ".jsonl",
        ".md",
        ".csv",
        ".tsv",
        ".log",
        ".lab",
        ".textgrid",
        ".vtt",
        ".srt",
        ".xml",
        ".html",
        ".pdf",
        ".py",
        ".sh",
    )
)
"""Suffixes of files that stand beside audio. Every other file counts as audio, and one that is none gets its row."""

_BYTES_PER_SECOND = {".flac": 16_800, ".mp3": 8_000, ".ogg": 8_000, ".opus": 4_000, ".m4a": 8_000}
_PCM = 32_000  # bytes per second of 16-bit samples at 16 kHz, taken for every other suffix

_KEY_LENGTH = 120  # characters of a shard's name before its digest; file names may have 255


class CorpusError(Mistake, ValueError):
    """A corpus that is not where it should be, or not laid out as the recipe says."""


@dataclass(frozen=True)
class Group:
    """Files that stay in one shard where it is short enough: a speaker's folders, or one folder."""

    path: str  # names the group within its corpus, and with its slashes made dashes, its shard
    folders: Mapping[str, Mapping[str, Stat]]  # path relative to the corpus -> its audio files and their companions
    shared: SourceFiles = field(default_factory=dict)  # files that say something of many, such as transcripts


@dataclass(frozen=True)
class Portion:
    """What one shard is made from: some folders, and where one folder is too long, a part of its files."""

    folders: Mapping[str, Mapping[str, Stat]]
    shared: SourceFiles
    part: int = 0
    parts: int = 1

    def holds(self, path: str) -> bool:
        """Whether a file of one of the folders belongs to this part; files that differ in suffix stay together."""
        if self.parts == 1:
            return True
        stem = str(PurePosixPath(path).with_suffix(""))
        return int(sha256(os.fsencode(stem)).hexdigest()[:8], 16) % self.parts == self.part

    def files(self) -> SourceFiles:
        """Every file that the shard is made from, by its path relative to the corpus."""
        own = {join(folder, name): stat for folder, names in self.folders.items() for name, stat in names.items()}
        return {printable(path): stat for path, stat in own.items() if self.holds(path)} | {
            printable(path): stat
            for path, stat in self.shared.items()
            if any(PurePosixPath(folder).is_relative_to(parent(path)) for folder in self.folders)
        }


@dataclass(frozen=True)
class Entry:
    """What a corpus says of one audio file; None where it says nothing."""

    path: str  # relative to the corpus
    speaker_id: str
    subset: str | None = None
    book_id: str | None = None
    title: str | None = None
    genre: str | None = None
    dramatic: bool | None = None  # whether several voices read it
    snr_db: float | None = None
    voice_activity: tuple[tuple[float, float], ...] | None = None  # seconds
    text: str | None = None
    language: str | None = None  # ISO 639-1
    note: str | None = None  # what is odd about it, for people
    missing: bool = False  # the corpus speaks of it, but there is no such file


class Layout(Protocol):
    """How a corpus lies on disk."""

    def groups(self, tree: Tree, only: str | None) -> Iterator[Group]:
        """The corpus's groups, or those that may hold the shard `only`, listed without opening a file.

        Raises:
            CorpusError: the folder is not laid out this way.
        """

    def entries(self, tree: Tree, portion: Portion) -> Iterator[Entry]:
        """What the corpus says of the audio files in a portion's folders, in no particular order.

        Their companions lie in the tree's own folder by then.
        """


def portions(layout: Layout, tree: Tree, max_hours: float, only: str | None = None) -> dict[str, Portion]:
    """The shards of a corpus, or those near the shard `only`, by name.

    A shard is one group. Above `max_hours` it is one folder of the group (a speaker's book), and a folder
    above that is split by the hash of its files' names into 2, 4, 8 ... parts. Hours are guessed from bytes:
    LibriLight's own mean of 16.8 kB a second for FLAC, 64 kb/s for MP3, 16-bit samples at 16 kHz otherwise.

    Raises:
        CorpusError: the folder is not there, or not laid out so.
    """
    if not tree.has_folder(""):
        raise CorpusError(f"there is no folder {said(tree.root)}; name the corpus's folder with --audio")
    found = [piece for group in layout.groups(tree, only) for piece in _split(group, max_hours)]
    plain = Counter(_plain(path) for path, _ in found)
    named: dict[str, Portion] = {}
    for path, portion in found:
        key = _plain(path)[:_KEY_LENGTH]
        alike = plain[_plain(path)] > (portion.parts if portion.parts > 1 else 1)
        if alike or key != (path.replace("/", "-") or "top"):
            key += "-" + sha256(os.fsencode(path)).hexdigest()[:8]
        named[key if portion.parts == 1 else f"{key}-{portion.part + 1}of{portion.parts}"] = portion
    return named


def first_hours(shards: Mapping[str, SourceFiles], max_hours: float) -> dict[str, SourceFiles]:
    """Whole shards in the order of a hash of their names, until together they last `max_hours`.

    Hours are guessed from bytes. The shard that reaches `max_hours` is the last one taken, so there is at least
    one, and the guess is passed by less than a shard. Asking for more hours keeps these and adds to them.
    """
    chosen: dict[str, SourceFiles] = {}
    total = 0.0
    for shard in sorted(shards, key=lambda name: sha256(name.encode()).digest()):
        if total >= max_hours:
            break
        chosen[shard] = shards[shard]
        total += _hours(shards[shard])
    return dict(sorted(chosen.items()))


def may_hold(path: str, only: str | None) -> bool:
    """Whether the folder `path`, as shards are named after it, or one below it may make the shard `only`."""
    if only is None or path == "":
        return True
    return (only + "-").startswith((_plain(path) + "-")[:_KEY_LENGTH])


def no_warehouse(tree: Tree, folder: str = "") -> None:
    """Raises CorpusError where a corpus's folder is a warehouse too, whose own files would count as audio."""
    if tree.is_warehouse(folder):
        where = f"{said(tree.root)}/{folder}".rstrip("/")
        raise CorpusError(f"{where} is a warehouse, and no corpus; name the corpus's folder with --audio")


def is_audio(name: str) -> bool:
    """Whether a file counts as audio, by its name."""
    return _suffix(name) not in COMPANIONS


def _suffix(name: str) -> str:
    """In lower case, with its full stop; ten times as fast as pathlib, which counts over a million names."""
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() if stem else ""


def parent(path: str) -> str:
    """The folder of a path relative to the corpus."""
    return path.rpartition("/")[0]


def printable(path: str) -> str:
    """A path as text: bytes of its name that are no UTF-8 are written out."""
    return path.encode("utf-8", "backslashreplace").decode()


def _hours(files: Mapping[str, Stat]) -> float:
    seconds = 0.0
    for name, (size, _) in files.items():
        if is_audio(name):
            seconds += size / _BYTES_PER_SECOND.get(_suffix(name), _PCM)
    return seconds / 3600


def _split(group: Group, max_hours: float) -> Iterator[tuple[str, Portion]]:
    """A group as one portion, or as several that are short enough, each with the path that names it."""
    whole = Portion(group.folders, group.shared)
    hours = sum(map(_hours, group.folders.values()))
    if hours <= max_hours:
        yield group.path, whole
    elif len(group.folders) > 1:
        top = os.path.commonpath(group.folders)
        for folder, files in group.folders.items():
            below = folder.removeprefix(top).strip("/")
            yield from _split(Group(join(group.path, below).rstrip("/"), {folder: files}, group.shared), max_hours)
    else:
        parts = 2
        while hours / parts > max_hours and parts < 1 << 16:
            parts *= 2
        yield from ((group.path, replace(whole, part=part, parts=parts)) for part in range(parts))


def _plain(path: str) -> str:
    """A path as a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", path.replace("/", "-")).lstrip(".") or "top"
