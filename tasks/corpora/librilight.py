"""LibriLight on disk: `<subset>/<speaker>/<book>/<chapter>.flac`, each with a JSON file of the same name.

The JSON is not always JSON. Where the signal-to-noise ratio could not be measured it
says `NaN`, which Python reads and strict parsers refuse. The archives are disjoint, the paper's splits are
nested: 6,000 hours are small and medium, 60,000 are all three.
Source: Kahn et al. 2020, arXiv:1912.07875; facebookresearch/libri-light.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.audio.audio_files import will_stay
from tasks.corpora.listing import CorpusError, Entry, Group, Portion, is_audio, may_hold
from tasks.corpora.trees import Tree, join, subfolders, walk
from warehouse.corpus_copy import file_here
from warehouse.corpus_copy import said as said_of

SUBSETS = ("small", "medium", "large")


@dataclass(frozen=True)
class LibriLight:
    """A folder with `small`, `medium` or `large` in it."""

    subset: str | None = None  # holds the smaller ones too; None takes those that are there

    def groups(self, tree: Tree, only: str | None) -> Iterator[Group]:
        """One group for each speaker of each subset."""
        for subset in self._subsets(tree):
            for path in subfolders(tree, subset, lambda path: may_hold(path, only)):
                folders = {folder: _ours(files) for folder, files in walk(tree, path)}
                if folders := {folder: files for folder, files in folders.items() if files}:
                    yield Group(path, folders)

    def entries(self, tree: Tree, portion: Portion) -> Iterator[Entry]:
        """What the JSON files say; one without audio is an entry of its own."""
        for folder, files in portion.folders.items():
            subset, speaker = folder.split("/")[:2]
            audio = {PurePosixPath(name).stem for name in files if is_audio(name)}
            for name in files:
                path = PurePosixPath(join(folder, name))
                if is_audio(name):
                    yield _entry(tree.root, path, subset, speaker)
                elif path.stem not in audio:
                    yield Entry(
                        str(path.with_suffix(".flac")), speaker, subset, note=f"only {name} is there", missing=True
                    )

    def _subsets(self, tree: Tree) -> list[str]:
        there, root = [name for name in SUBSETS if tree.has_folder(name)], said_of(tree.root)
        if not there:
            raise CorpusError(f"{root} holds no folder small, medium or large, so it is not laid out as LibriLight")
        if self.subset is None:
            return there
        wanted = list(SUBSETS[: SUBSETS.index(self.subset) + 1])
        if missing := [name for name in wanted if name not in there]:
            nested = f", and {self.subset} means {' + '.join(wanted)}" if len(wanted) > 1 else ""
            raise CorpusError(f"{root} holds no folder {missing[0]}{nested}; `valle download librilight-{missing[0]}`")
        return wanted


def _ours(files: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return {name: stat for name, stat in files.items() if is_audio(name) or name.endswith(".json")}


def _entry(root: Path, path: PurePosixPath, subset: str, speaker: str) -> Entry:
    said, note = _read(root / path.with_suffix(".json"))
    book = said.get("book_meta")
    book = book if isinstance(book, dict) else {}
    reader = _text(said.get("speaker")) or speaker
    if reader != speaker:
        note = f"its folder is that of speaker {speaker}, and its JSON says {reader}"
    dramatic = book.get("Dramatic Readings")
    return Entry(
        str(path),
        reader,
        subset,
        book_id=_text(book.get("id")),
        title=_text(book.get("title")),
        genre=_text(book.get("meta_genre")),
        dramatic=dramatic if isinstance(dramatic, bool) else None,
        snr_db=_number(said.get("snr")),
        voice_activity=_stretches(said.get("voice_activity")),
        note=note,
    )


def _read(path: Path) -> tuple[dict[str, Any], str | None]:
    """What a JSON file says, and what is wrong with it; a recording whose JSON is bad is still a recording."""
    try:
        said = json.loads(file_here(path).read_bytes())
    except OSError as error:
        if not will_stay(error):
            raise
        if isinstance(error, FileNotFoundError):
            return {}, "no JSON beside it"
        return {}, f"{path.name} cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        return {}, f"{path.name} is {'empty' if path.stat().st_size == 0 else 'no JSON'}"
    return (said, None) if isinstance(said, dict) else ({}, f"{path.name} is no JSON object")


def _text(value: Any) -> str | None:
    return str(value).strip() or None if isinstance(value, str | int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:  # an integer of 400 digits, which JSON may hold and no float
        return None
    return number if math.isfinite(number) else None


def _stretches(value: Any) -> tuple[tuple[float, float], ...] | None:
    """Pairs of seconds; None where it is anything else."""
    if not isinstance(value, list):
        return None
    pairs = [[_number(time) for time in pair] if isinstance(pair, list) else [] for pair in value]
    if any(len(pair) != 2 or None in pair for pair in pairs):
        return None
    return tuple((start, end) for start, end in pairs if start is not None and end is not None)
