"""LibriSpeech on disk: `<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac`, a `.trans.txt` a chapter.

`SPEAKERS.TXT` says which subset each reader belongs to, and is believed before the folder's name.
Its own text is upper case without a full stop or comma, so it says nothing of prosody.
Source: Panayotov et al. 2015; openslr.org/12.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.corpora.listing import (
    CorpusError,
    Entry,
    Group,
    Portion,
    is_audio,
    may_hold,
    no_warehouse,
    parent,
)
from tasks.corpora.trees import Stat, Tree, join, subfolders, walk
from tasks.text.encodings import NO_TEXT, lines_of
from warehouse.corpus_copy import file_here, said

SPEAKERS = "SPEAKERS.TXT"


@dataclass(frozen=True)
class LibriSpeech:
    """A folder with subsets such as `test-clean` in it, or with the folder `LibriSpeech` that the archives unpack."""

    subset: str | None = None  # None takes those that are there

    def groups(self, tree: Tree, only: str | None) -> Iterator[Group]:
        """One group for each speaker of each subset, with the transcripts of its chapters."""
        base = "LibriSpeech" if tree.has_folder("LibriSpeech") else ""
        if self.subset is None:
            no_warehouse(tree, base)
        subsets = subfolders(tree, base, lambda path: self.subset in (None, PurePosixPath(path).name))
        if not subsets:
            wanted = f"folder {self.subset}" if self.subset else "folder of a subset such as test-clean"
            where = f"{said(tree.root)}/{base}".rstrip("/")
            raise CorpusError(f"{where} holds no {wanted}, so it is not laid out as LibriSpeech")
        speakers = {SPEAKERS: stat} if (stat := tree.children(base).files.get(SPEAKERS)) else {}
        shared = {join(base, name): stat for name, stat in speakers.items()}
        for subset in subsets:
            for folder in subfolders(tree, subset, lambda folder: may_hold(_within(base, folder), only)):
                yield from _group(tree, _within(base, folder), folder, shared)

    def entries(self, tree: Tree, portion: Portion) -> Iterator[Entry]:
        """What the transcripts say; a line without audio is an entry of its own."""
        root = tree.root
        [readers] = [_readers(root / path) for path in portion.shared if path.endswith(SPEAKERS)] or [{}]
        for folder, files in portion.folders.items():
            subset, speaker, chapter = folder.split("/")[-3:]
            subset = readers.get(speaker, subset)
            texts = _texts(root, [path for path in portion.shared if parent(path) == folder])
            for name in files:
                text, note = texts.pop(PurePosixPath(name).stem, (None, "no line in a .trans.txt"))
                yield Entry(join(folder, name), speaker, subset, chapter, text=text, note=note)
            for name, (text, _) in texts.items():
                path, note = join(folder, f"{name}.flac"), "only its line in a .trans.txt is there"
                yield Entry(path, speaker, subset, chapter, text=text, note=note, missing=True)


def _within(base: str, folder: str) -> str:
    """A folder as shards are named after it, without the folder that the archives unpack."""
    return folder.removeprefix(f"{base}/") if base else folder


def _group(tree: Tree, path: str, folder: str, speakers: dict[str, Stat]) -> Iterator[Group]:
    folders: dict[str, dict[str, Stat]] = {}
    shared: dict[str, Stat] = {}
    for chapter, files in walk(tree, folder):
        if chapter.count("/") == folder.count("/") + 1:  # a chapter holds files, and a speaker only chapters
            folders[chapter] = {name: stat for name, stat in files.items() if is_audio(name)}
            shared |= {join(chapter, name): stat for name, stat in files.items() if name.endswith(".trans.txt")}
    if folders:
        yield Group(path, folders, shared | speakers)


def _readers(path: Path) -> dict[str, str]:
    """The subset of each reader: lines of `ID | SEX | SUBSET | MINUTES | NAME`, and comments that begin with `;`."""
    lines = [words.split("|") for words, _ in lines_of(file_here(path)) if not words.startswith(";")]
    return {line[0].strip(): line[2].strip() for line in lines if len(line) > 2}


def _texts(root: Path, transcripts: list[str]) -> dict[str, tuple[str | None, str | None]]:
    """The text of each utterance, or why its line is none."""
    texts: dict[str, tuple[str | None, str | None]] = {}
    for path in transcripts:
        for words, is_text in lines_of(file_here(root / path)):
            name, _, text = words.strip().partition(" ")
            if text:
                texts[name] = (text.strip(), None) if is_text else (None, f"its line in a .trans.txt is {NO_TEXT}")
    return texts
