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
    Stat,
    is_audio,
    join,
    may_hold,
    no_warehouse,
    parent,
    subfolders,
    walk,
)
from tasks.text.encodings import NO_TEXT, lines_of

SPEAKERS = "SPEAKERS.TXT"


@dataclass(frozen=True)
class LibriSpeech:
    """A folder with subsets such as `test-clean` in it, or with the folder `LibriSpeech` that the archives unpack."""

    subset: str | None = None  # None takes those that are there

    def groups(self, root: Path, only: str | None) -> Iterator[Group]:
        """One group for each speaker of each subset, with the transcripts of its chapters."""
        base = "LibriSpeech" if (root / "LibriSpeech").is_dir() else ""
        if self.subset is None:
            no_warehouse(root / base)
        subsets = [name for name in subfolders(root, base) if self.subset in (None, name)]
        if not subsets:
            wanted = f"folder {self.subset}" if self.subset else "folder of a subset such as test-clean"
            raise CorpusError(f"{root / base} holds no {wanted}, so it is not laid out as LibriSpeech")
        for subset in subsets:
            for speaker in subfolders(root, join(base, subset)):
                path = join(subset, speaker)
                if may_hold(path, only):
                    yield from _group(root, path, join(base, path), _stat(root, join(base, SPEAKERS)))

    def entries(self, root: Path, portion: Portion) -> Iterator[Entry]:
        """What the transcripts say; a line without audio is an entry of its own."""
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


def _group(root: Path, path: str, folder: str, speakers: dict[str, Stat]) -> Iterator[Group]:
    folders: dict[str, dict[str, Stat]] = {}
    shared: dict[str, Stat] = {}
    for chapter, files in walk(root, folder):
        if chapter.count("/") == folder.count("/") + 1:  # a chapter holds files, and a speaker only chapters
            folders[chapter] = {name: stat for name, stat in files.items() if is_audio(name)}
            shared |= {join(chapter, name): stat for name, stat in files.items() if name.endswith(".trans.txt")}
    if folders:
        yield Group(path, folders, shared | speakers)


def _stat(root: Path, path: str) -> dict[str, Stat]:
    """A file's size and mtime by its path, if it is there."""
    if not (root / path).is_file():
        return {}
    found = (root / path).stat()
    return {path: (found.st_size, found.st_mtime_ns)}


def _readers(path: Path) -> dict[str, str]:
    """The subset of each reader: lines of `ID | SEX | SUBSET | MINUTES | NAME`, and comments that begin with `;`."""
    lines = [words.split("|") for words, _ in lines_of(path) if not words.startswith(";")]
    return {line[0].strip(): line[2].strip() for line in lines if len(line) > 2}


def _texts(root: Path, transcripts: list[str]) -> dict[str, tuple[str | None, str | None]]:
    """The text of each utterance, or why its line is none."""
    texts: dict[str, tuple[str | None, str | None]] = {}
    for path in transcripts:
        for words, is_text in lines_of(root / path):
            name, _, text = words.strip().partition(" ")
            if text:
                texts[name] = (text.strip(), None) if is_text else (None, f"its line in a .trans.txt is {NO_TEXT}")
    return texts
