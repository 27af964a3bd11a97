"""Published lists of prompts and texts, as Seed-TTS has them (Anastassiou et al. 2024, arXiv:2406.02430).

A line is `utt|prompt_text|prompt_wav|text`, or with the true speech `utt|prompt_text|prompt_wav|text|wav`; paths
count from the list's own folder. A prompt is heard whole, however long it is, and `samples.prompt_seconds` says nothing
of it. Its speaker is whoever is heard in `prompt_wav`: nobody else is told, so a prompt is what intervals cluster by.
"""

from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from tasks.protocols.evaluation_set import text_lines
from warehouse.errors import Mistake
from warehouse.fingerprint import short_hash

_FORM = "utt|prompt_text|prompt_wav|text, with |wav behind it where there is true speech"


@dataclass(frozen=True)
class Entry:
    """One line of a list."""

    name: str
    prompt_text: str
    prompt_wav: str  # relative to the list's folder
    text: str
    wav: str | None = None  # of the true speech, likewise


def read(path: Path) -> tuple[Entry, ...]:
    """The lines of a list, in their order.

    Raises:
        Mistake: the list or some of its audio is missing, or a line is damaged; it names the line.
    """
    return _read(path, path.stat().st_mtime_ns if path.is_file() else 0)


def digest(path: Path) -> str:
    """Twelve hex digits of what the list says, and of how many bytes its audio has.

    Raises:
        Mistake: as for `read`.
    """
    entries = read(path)
    lines = sorted(repr(astuple(entry)) for entry in entries)
    sizes = sorted((name, (path.parent / name).stat().st_size) for entry in entries for name in _audio(entry))
    return short_hash(repr((lines, sizes)))


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int) -> tuple[Entry, ...]:
    entries: dict[str, Entry] = {}
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        entry = _entry(f"samples.pairs: line {number} of {path}", line)
        if entry.name in entries:
            raise Mistake(f"samples.pairs: line {number} of {path} has {entry.name!r} again")
        entries[entry.name] = entry
    if not entries:
        raise Mistake(f"samples.pairs: {path} has no line in it")
    names = dict.fromkeys(name for entry in entries.values() for name in _audio(entry))
    if missing := [name for name in names if not (path.parent / name).is_file()]:
        others = f", nor are {len(missing) - 1} others" if len(missing) > 1 else ""
        raise Mistake(f"samples.pairs: {path} names {missing[0]}, which is not there{others}")
    return tuple(entries.values())


def _entry(where: str, line: str) -> Entry:
    fields = [field.strip() for field in line.split("|")]
    if len(fields) not in (4, 5):
        raise Mistake(f"{where} has {len(fields)} fields; a line of a list is {_FORM}")
    name, prompt_text, prompt_wav, text, *wav = fields
    for what, value in (("utt", name), ("prompt_text", prompt_text), ("prompt_wav", prompt_wav), ("text", text)):
        if not value:
            raise Mistake(f"{where} has no {what}; a line of a list is {_FORM}")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise Mistake(f"{where} calls its text {name!r}, which cannot name a file")
    return Entry(name, prompt_text, prompt_wav, text, wav[0] if wav and wav[0] else None)


def _audio(entry: Entry) -> list[str]:
    return [entry.prompt_wav, *([entry.wav] if entry.wav else [])]
