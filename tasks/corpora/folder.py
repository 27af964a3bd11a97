"""Any folder of audio files: a speaker is a folder, unless a manifest knows better.

A `manifest.jsonl`, in any folder, tells of files below it: one JSON object a line, with `path` (relative to
the manifest), and where known `speaker` and `text`. Else a `.txt` beside a file of the same name is its text.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.audio.audio_files import will_stay
from tasks.corpora.listing import Entry, Group, Portion, Stat, is_audio, join, may_hold, parent, walk
from tasks.text.encodings import lines_of, text_of

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Folder:
    """A tree of audio files."""

    def groups(self, root: Path, only: str | None) -> Iterator[Group]:
        """One group for each folder that holds audio, with the manifests above it."""
        manifests: dict[str, Stat] = {}
        for folder, files in walk(root, "", lambda path: may_hold(path, only)):
            if MANIFEST in files:
                manifests[join(folder, MANIFEST)] = files[MANIFEST]
            stems = {PurePosixPath(name).stem for name in files if is_audio(name)}
            ours = {name: stat for name, stat in files.items() if is_audio(name) or _is_text_of(name, stems)}
            if stems:
                yield Group(folder, {folder: ours}, _above(folder, manifests))

    def entries(self, root: Path, portion: Portion) -> Iterator[Entry]:
        """What manifests and texts say; a manifest's line without audio is an entry of its own."""
        said: dict[str, dict[str, Any]] = {}
        for manifest in sorted(portion.shared, key=len):  # the nearest manifest has the last word
            said |= _lines(root, manifest)
        for folder, files in portion.folders.items():
            speaker = PurePosixPath(folder).name or root.resolve().name
            for name in filter(is_audio, files):
                line = said.pop(join(folder, name), {})
                text = _word(line, "text") or _text_beside(root / folder / name)
                yield Entry(join(folder, name), _word(line, "speaker") or speaker, text=text)
            for path, line in said.items():
                if parent(path) == folder:
                    note = f"only its line in {MANIFEST} is there"
                    yield Entry(
                        path, _word(line, "speaker") or speaker, text=_word(line, "text"), note=note, missing=True
                    )


def _is_text_of(name: str, stems: set[str]) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".txt" and path.stem in stems


def _above(folder: str, manifests: dict[str, Stat]) -> dict[str, Stat]:
    return {path: stat for path, stat in manifests.items() if PurePosixPath(folder).is_relative_to(parent(path))}


def _lines(root: Path, manifest: str) -> dict[str, dict[str, Any]]:
    """A manifest's lines by path relative to the corpus; a line that is no JSON object with a path is passed over."""
    lines: dict[str, dict[str, Any]] = {}
    for line in lines_of(root / manifest):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict) and isinstance(said.get("path"), str):
            lines[str(PurePosixPath(parent(manifest)) / said["path"])] = said
    return lines


def _word(line: dict[str, Any], key: str) -> str | None:
    value = line.get(key)
    return value.strip() or None if isinstance(value, str) else None


def _text_beside(audio: Path) -> str | None:
    try:
        return text_of(audio.with_suffix(".txt")).strip() or None
    except OSError as error:
        if not will_stay(error):
            raise
        return None
