"""Which members of an archive are there: a line for each, written when its file is.

What counts is the longest beginning of the journal whose files lie there with
their sizes, so a file that was deleted is missed, and everything after it is
made again. With the lines' `head`s, the bytes of a plain tar that has come as
a stream are told again from the journal and the files.
"""

import json
import os
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.downloads.unpack import Member
from warehouse.store import write_atomically

_CHUNK = 1024 * 1024  # bytes


class Journal:
    """The members of one archive that are there."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        self.names: set[str] = set()  # of members that were made
        self.refused: Counter[str] = Counter()  # reason -> members
        self.first_refused: dict[str, str] = {}  # reason -> the first such name
        self.end = 0  # where the last member's bytes end in the tar
        self.whole = True  # nothing is missing of what it tells
        self.tells_all = True  # it holds all that is not in the files
        self._length = 0  # bytes of the journal that count
        for line, member in _lines(path):
            if not member or not (member.refused or _size(folder / member.name) == member.size):
                self.whole = False
                break
            self._note(member, len(line))

    def cut(self) -> None:
        """Forget the lines that do not count."""
        if not self.whole:
            os.truncate(self.path, self._length)
            self.whole = True

    def clear(self) -> "Journal":
        """Forget everything."""
        self.path.unlink(missing_ok=True)
        return Journal(self.path, self.folder)

    def add(self, member: Member) -> None:
        """Note a member that is there, or refused."""
        line = _line(member)
        with self.path.open("ab") as file:
            file.write(line)
        self._note(member, len(line))

    def bytes_so_far(self) -> Iterator[bytes]:
        """The tar's bytes up to `end`, where `tells_all`."""
        for _, member in _lines(self.path):
            if member and member.head is not None:
                yield member.head
                if not member.refused:
                    with (self.folder / member.name).open("rb") as file:
                        while data := file.read(_CHUNK):
                            yield data

    def close(self) -> None:
        """Keep what is asked of an archive that is done: names and sizes."""
        slim = (Member(m.name, m.size, m.end, m.refused, None) for _, m in _lines(self.path) if m)
        write_atomically(self.path, b"".join(_line(member) for member in slim))

    def _note(self, member: Member, length: int) -> None:
        self._length += length
        self.end = member.end
        self.tells_all = self.tells_all and member.head is not None
        if member.refused:
            self.refused[member.refused] += 1
            self.first_refused.setdefault(member.refused, member.name)
        else:
            self.names.add(member.name)


def _line(member: Member) -> bytes:
    said = vars(member) | {"head": None if member.head is None else b64encode(member.head).decode()}
    return json.dumps(said).encode() + b"\n"


def _lines(path: Path) -> Iterator[tuple[bytes, Member | None]]:
    """The lines, and what they say; a line that a kill has torn says nothing."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            yield line, _parse(line)


def _parse(line: bytes) -> Member | None:
    try:
        said: dict[str, Any] = json.loads(line)
        return Member(**said | {"head": None if said["head"] is None else b64decode(said["head"])})
    except (ValueError, KeyError, TypeError):
        return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
