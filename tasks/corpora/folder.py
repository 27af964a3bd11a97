"""Any folder of audio files: a speaker is a folder, unless a manifest knows better.

A `manifest.jsonl`, in any folder, tells of files below it: one JSON object a line, with `path` (relative to
the manifest or absolute; NeMo's `audio_filepath` means the same), and where known `speaker` and `text`. Else a `.txt`
beside a file of the same name is its text. Slashes and backslashes are one, and so are an é of one character and of
two. No line is lost: one that fits no file, or is no text, is a row that says so.
"""

import json
import posixpath
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.audio.audio_files import will_stay
from tasks.corpora.listing import Entry, Group, Portion, is_audio, may_hold, no_warehouse, parent
from tasks.corpora.trees import Stat, Tree, join, walk
from tasks.text.encodings import NO_TEXT, lines_of, text_of
from warehouse.corpus_copy import file_here, folder_name
from warehouse.corpus_copy import said as said_of

MANIFEST = "manifest.jsonl"
_PATHS = ("path", "audio_filepath")  # the keys that name a file
_TOLD = 80  # characters of a line that names no file


@dataclass(frozen=True)
class Line:
    """What a manifest says of a file; None where it says nothing."""

    speaker: str | None
    text: str | None
    language: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Folder:
    """A tree of audio files."""

    def groups(self, tree: Tree, only: str | None) -> Iterator[Group]:
        """One group for each folder that holds audio or a manifest, with the manifests above it."""
        no_warehouse(tree)
        manifests: dict[str, Stat] = {}
        for folder, files in walk(tree, "", lambda path: may_hold(path, only)):
            if MANIFEST in files:
                manifests[join(folder, MANIFEST)] = files[MANIFEST]
            stems = {_plain(PurePosixPath(name).stem) for name in files if is_audio(name)}
            ours = {name: stat for name, stat in files.items() if is_audio(name) or _is_text_of(name, stems)}
            if stems or MANIFEST in files:
                yield Group(folder, {folder: ours}, _above(folder, manifests))

    def entries(self, tree: Tree, portion: Portion) -> Iterator[Entry]:
        """What manifests and texts say; a manifest's line without audio is an entry of its own."""
        root = tree.root
        said: dict[str, Line] = {}
        for manifest in sorted(portion.shared, key=len):  # the nearest manifest has the last word
            lines, astray = _lines(root, manifest)
            said |= lines
            if parent(manifest) in portion.folders:
                yield from astray
        for folder, files in portion.folders.items():
            speaker = _speaker(root, folder)
            texts = {_plain(name): name for name in files if not is_audio(name)}
            for name in filter(is_audio, files):
                line = said.get(_plain(join(folder, name)), Line(None, None))
                alike = f"{PurePosixPath(name).stem}.txt"
                beside = alike if alike in files else texts.get(_plain(alike))
                text, note = line.text, line.note
                if beside and not text:
                    text, note = _text(root / folder / beside, note)
                yield Entry(join(folder, name), line.speaker or speaker, text=text, language=line.language, note=note)
            there = {_plain(join(folder, name)) for name in filter(is_audio, files)}
            for path in _ours(tree, folder, said.keys() - there):
                note = f"only its line in {MANIFEST} is there"
                line = said[path]
                yield Entry(
                    path, line.speaker or speaker, text=line.text, language=line.language, note=note, missing=True
                )


def _plain(path: str) -> str:
    """A path as manifests and disks of any kind agree on it: with slashes, each letter in its shortest form."""
    return unicodedata.normalize("NFC", path.replace("\\", "/"))


def _is_text_of(name: str, stems: set[str]) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".txt" and _plain(path.stem) in stems


def _above(folder: str, manifests: dict[str, Stat]) -> dict[str, Stat]:
    return {path: stat for path, stat in manifests.items() if PurePosixPath(folder).is_relative_to(parent(path))}


def _speaker(root: Path, folder: str) -> str:
    return PurePosixPath(folder).name or folder_name(root)


def _ours(tree: Tree, folder: str, paths: set[str]) -> list[str]:
    """Those of the paths, plain ones, that go with this folder: no folder nearer to them is in any shard."""
    top = _plain(folder)
    below = sorted(path for path in paths if _is_below(path, top))
    if all(parent(path) == top for path in below):
        return below
    held = {_plain(at) for at, files in walk(tree, folder) if MANIFEST in files or any(map(is_audio, files))}
    return [path for path in below if _nearest(path, held | {top}) == top]


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")


def _nearest(path: str, held: set[str]) -> str:
    """The nearest folder above a path that is one of these."""
    while (path := parent(path)) and path not in held:
        pass
    return path


def _lines(root: Path, manifest: str) -> tuple[dict[str, Line], list[Entry]]:
    """A manifest's lines by plain path relative to the corpus, and an entry for each that names no file below it."""
    lines: dict[str, Line] = {}
    astray: list[Entry] = []
    for number, (words, is_text) in enumerate(lines_of(file_here(root / manifest)), start=1):
        if not words.strip():
            continue
        said = _object(words) if is_text else {}
        path, line = _path(root, manifest, said), Line(*(_word(said, key) for key in ("speaker", "text", "language")))
        if path is None:
            speaker = line.speaker or _speaker(root, parent(manifest))
            wrong = "names no file below its folder" if is_text else f"is {NO_TEXT}"
            note = f"line {number} of {manifest} {wrong}: {words.strip()[:_TOLD]}"
            astray.append(
                Entry(f"{manifest}/{number}", speaker, text=line.text, language=line.language, note=note, missing=True)
            )
            continue
        if (before := lines.get(path)) and (before.speaker, before.text) != (line.speaker, line.text):
            line = replace(line, note=f"several lines of {manifest} speak of it, and the last is taken")
        lines[path] = line
    return lines, astray


def _object(words: str) -> dict[str, Any]:
    """A line's JSON object; an empty one where it is none."""
    try:
        said = json.loads(words)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _path(root: Path, manifest: str, said: dict[str, Any]) -> str | None:
    """The file that a line names, as a plain path relative to the corpus; None where it names none below its folder."""
    top = _plain(parent(manifest))
    path = _plain(next((said[key] for key in _PATHS if isinstance(said.get(key), str)), ""))
    if path.startswith("/"):
        path = posixpath.normpath(path)
        places = [_plain(posixpath.normpath(place)) for place in (root.absolute(), root.resolve())]
        path = next((path.removeprefix(f"{place}/") for place in places if path.startswith(f"{place}/")), path)
    elif path.startswith(url := f"{said_of(root)}/"):
        path = posixpath.normpath(path.removeprefix(url))
    else:
        path = posixpath.normpath(join(top, path)) if path else ""
    if path.startswith(("/", "../")) or PurePosixPath(path).name in ("", "..") or not _is_below(path, top):
        return None
    return path


def _word(said: dict[str, Any], key: str) -> str | None:
    value = said.get(key)
    return str(value).strip() or None if isinstance(value, str | int) and not isinstance(value, bool) else None


def _text(path: Path, note: str | None) -> tuple[str | None, str | None]:
    """What a file beside a recording says, and the recording's note, with the reason where the file is no text."""
    try:
        return text_of(file_here(path)).strip() or None, note
    except ValueError as error:
        return None, "; ".join(filter(None, (note, f"it has no text: {error}")))
    except OSError as error:
        if not will_stay(error):
            raise
        return None, note
