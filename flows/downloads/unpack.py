"""The members of a tar, out of a stream: each file whole or not at all, none outside its folder, each of them once.

Python's `tarfile` takes a damaged header in the middle of an archive for its end and says nothing, so here an
archive that does not end with its end mark is damaged. Regular files and folders are made; links, devices and names
that lead elsewhere are refused with a reason. What a member's bytes are not (headers, padding) is handed out with it,
so that from these and the files the bytes of the archive, and with them its sum, can be told again after a kill.

Source: POSIX pax, "ustar Interchange Format"; PEP 706.
"""

import errno
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import Any, Protocol

from warehouse.errors import WorkFailed

WORK = ".downloads"  # the folder in which unfinished things lie
_BLOCK = 512  # bytes: a tar's own unit
_CHUNK = 256 * 1024  # bytes read at a time
_LONGEST_HEADER = 8 * 1024 * 1024  # bytes; a hostile one would fill the memory
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE}  # not the member's fault


class Damaged(WorkFailed):
    """What was to be a tar is none, or breaks off."""


class Bytes(Protocol):
    """Whatever a tar is read from, once and forwards."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Member:
    """One member, done with."""

    name: str  # relative to the folder
    size: int  # bytes
    end: int  # where its bytes end in the tar, padding not counted
    refused: str | None  # why it was not made: a short code
    head: bytes | None  # what lies between the bytes of the member before and its own; null where that is lost


def unpack(
    source: Bytes,
    folder: Path,
    unfinished: Path,
    *,
    begins: int = 0,
    done: int = 0,
    names: set[str] | None = None,
    room: Callable[[int], None] = lambda _: None,
) -> Iterator[Member]:
    """Make the members of a plain tar in a folder, one after the other; each is told of when it is there.

    Args:
        source: the tar's bytes.
        unfinished: a file of the same disk in which the member at work lies.
        begins: where in the tar the source begins: at 0, or where a member's bytes end.
        done: members whose bytes end no later are there already and are passed over.
        names: of the members that are there already; a name that comes twice is refused.
        room: asked for so many bytes before each member.

    Raises:
        Damaged: it is no tar, or not a whole one. The members before that are made.
    """
    tape = _Tape(source, begins)
    names = set(names or ())
    padding = -begins % _BLOCK
    if len(tape.read(padding, exact=True)) < padding:
        raise Damaged("it breaks off")
    base = begins + padding
    with _reading():
        tar = tarfile.open(fileobj=tape, mode="r|", bufsize=_CHUNK)  # type: ignore[call-overload]  # noqa: SIM115
    told, resumable = begins, True  # where the bytes that were told of end
    while (member := _next(tar)) is not None:
        resumable = resumable and not tar.pax_headers  # a global header counts for every member after it
        starts = base + member.offset_data
        size = member.size if member.isreg() else 0
        if base + member.offset < done:
            _pass_over(tar, tape, base)
            told = starts + size
            continue
        head = tape.between(told, starts)
        reason = _refusal(member, folder, names)
        if reason is None:
            room(size)
            reason = _make(tar, member, folder, unfinished, tape, starts)
            names.add(_tidy(member.name)) if member.isreg() and reason is None else None
        else:
            _pass_over(tar, tape, base)
            resumable = resumable and tar.offset == member.offset_data
        if member.isreg() or reason:
            resumable = resumable and not (reason and size)
            yield Member(_tidy(member.name), size, starts + size, reason, head if resumable else None)
            told = starts + size
    if tape.between(base + tar.offset, base + tar.offset + _BLOCK) != bytes(_BLOCK):
        raise Damaged(f"it breaks off, or is damaged, after {base + tar.offset} bytes")


class _Tape:
    """The bytes of a tar as they are read; those since the last member's are remembered."""

    def __init__(self, source: Bytes, position: int) -> None:
        self._source = source
        self._start = position  # of what is remembered
        self._recent = bytearray()

    def read(self, size: int, *, exact: bool = False) -> bytes:
        """Bytes to the number asked for; fewer only at the end."""
        data = self._source.read(size)
        while exact and len(data) < size and (more := self._source.read(size - len(data))):
            data += more
        self._recent += data
        if len(self._recent) > _LONGEST_HEADER:
            raise Damaged(f"it has a header of more than {_LONGEST_HEADER} bytes")
        return data

    def between(self, start: int, stop: int) -> bytes:
        """Bytes that were read not long ago."""
        return bytes(self._recent[max(0, start - self._start) : max(0, stop - self._start)])

    def forget(self, position: int) -> None:
        """Remember nothing before this position."""
        del self._recent[: max(0, position - self._start)]
        self._start = max(self._start, position)


class _reading:  # noqa: N801  # reads as a verb where it is used
    """Every way in which a tar can be damaged is one error."""

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        if isinstance(error, OSError) and error.errno is not None:
            return  # the disk's fault
        wrong = (
            tarfile.TarError,
            EOFError,
            zlib.error,
            LZMAError,
            ValueError,
            OverflowError,
            IndexError,
            KeyError,
            RecursionError,
        )
        if isinstance(error, (*wrong, OSError)):
            raise Damaged(f"it is no whole tar: {' '.join(str(error).split()) or type(error).__name__}") from error


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    with _reading():
        member = tar.next()
    tar.members.clear()  # type: ignore[attr-defined]  # else every member of a large archive stays in memory
    return member


def _refusal(member: tarfile.TarInfo, folder: Path, names: set[str]) -> str | None:
    """Why a member is not made."""
    parts = member.name.split("/")
    if member.issym() or member.islnk():
        return "link"
    if not member.isreg() and not member.isdir():
        return "device"
    if member.issparse():
        return "sparse"
    if member.name.startswith("/"):
        return "absolute_path"
    if ".." in parts:
        return "outside"
    if not member.name.strip("/.") or "\0" in member.name:
        return "no_name"
    if next(part for part in parts if part not in ("", ".")) == WORK:
        return "reserved"
    if _tidy(member.name) in names:
        return "twice"
    try:
        tarfile.data_filter(member, str(folder))  # resolves links that lie in the folder
    except (tarfile.FilterError, OSError, ValueError):
        return "outside"
    return None


def _make(
    tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, unfinished: Path, tape: _Tape, starts: int
) -> str | None:
    """Make one member. Returns why it could not be, where that is the member's own fault."""
    path = folder / _tidy(member.name)
    if member.isreg():
        _copy(tar, member, unfinished, tape, starts)
    try:
        (path.parent if member.isreg() else path).mkdir(parents=True, exist_ok=True)
        if member.isreg():
            unfinished.replace(path)
    except OSError as error:
        if error.errno in _DISK:
            raise
        return "in_the_way" if error.errno in (errno.EEXIST, errno.EISDIR, errno.ENOTDIR) else "bad_name"
    return None


def _pass_over(tar: tarfile.TarFile, tape: _Tape, base: int) -> None:
    """Read to the next member's header."""
    assert tar.fileobj is not None
    while (position := tar.fileobj.tell()) < tar.offset:
        with _reading():
            tar.fileobj.seek(min(position + _CHUNK, tar.offset))
        if tar.fileobj.tell() == position:
            raise Damaged(f"it breaks off after {base + position} bytes")
        tape.forget(base + tar.fileobj.tell() - _BLOCK)


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, tape: _Tape, starts: int) -> None:
    """A member's bytes into a file, flushed to the disk."""
    with _reading():
        content = tar.extractfile(member)
    assert content is not None
    copied = 0
    with path.open("wb") as file:
        while copied < member.size:
            with _reading():
                data = content.read(min(_CHUNK, member.size - copied))
            if not data:
                raise Damaged(f"it breaks off within {printable(member.name)}")
            file.write(data)
            copied += len(data)
            tape.forget(starts + copied)
        file.flush()
        os.fsync(file.fileno())
    with suppress(OSError, OverflowError, ValueError):  # a time that no disk can hold
        os.utime(path, (member.mtime, member.mtime))  # a file that is extracted again is the same file


def _tidy(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def printable(name: str) -> str:
    """A name that any text can hold."""
    return name.encode("utf-8", "backslashreplace").decode()
