"""Containers: the parts of a file that was joined byte by byte, and headers that say less or more than there is.

libsndfile decodes the first part of a file that was put together with `cat`, or of a radio stream that was
recorded as chained Ogg, and mends a length that the file does not hold, both without a word. What it leaves unsaid is
found here in the bytes: for WAV from one header to the next, for Ogg and MP3 by looking for where one begins.
Source: RFC 3533 (Ogg), the Xing and Info header of MP3 as LAME writes it, Microsoft's RIFF.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from tasks.audio import flac

_BLOCK = 1 << 20  # bytes looked through at once
_OGG_BEGINS, _OGG_ENDS = 2, 4  # bits of a page's sixth byte
_XING = (b"Xing", b"Info")
_SIDES = (13, 21, 36)  # bytes between the beginning of a frame of MP3 and a Xing header in it
_KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # kb/s, by an MP3 frame's number for it
_KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # the same of MPEG 2 and 2.5
_MP3_RATES = (44_100, 48_000, 32_000)  # Hz, of MPEG 1; half of it is MPEG 2's, a quarter 2.5's
_MOST_CHUNKS = 1_000  # looked at on the way to the samples
# Sizes that a program writes which cannot go back and say the true one: 7FFFF000, 7FFFFFFF, FFFFFFFF and around.
_OPEN = (range(0x7FFFF000, 0x80001000), range(0xFFFFF000, 0x1_0000_1000), range(1 << 62, 1 << 65))
_SHORTENED = re.compile(
    r"^ *(?:data|riff|Riff size|SSND|BODY|Data Size|Data length) *:? *(\d+) \(?should be (\d+)", re.MULTILINE
)


@dataclass(frozen=True)
class Part:
    """A stretch of a file's bytes that is an audio file in itself."""

    start: int  # byte
    stop: int  # one past the last byte
    counted: bool = False  # an MP3 whose header counts its frames
    num_samples: int | None = None  # that its header promises, where libsndfile does not say so
    unended: bool = False  # an Ogg stream without a last page
    head: bytes = b""  # what is to be read before them


class Window:
    """One part of an open file, as a file."""

    def __init__(self, file: BinaryIO, part: Part) -> None:
        self._file, self._part, self._at = file, part, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a byte of the part."""
        length = len(self._part.head) + self._part.stop - self._part.start
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: length}[whence])
        return self._at

    def tell(self) -> int:
        """The byte of the part that is read next."""
        return self._at

    def read(self, size: int) -> bytes:
        """So many bytes, or as many as the part has left."""
        content = self._part.head[self._at : self._at + size]
        place = self._part.start + max(0, self._at - len(self._part.head))
        content += _at(self._file, place, min(size - len(content), max(0, self._part.stop - place)))
        self._at += len(content)
        return content


def parts(path: Path) -> tuple[Part, ...]:
    """The parts of a file, in order; one where nothing says that there are more.

    Raises:
        OSError: it could not be read this time.
    """
    about = path.stat()
    return _parts(path, about.st_size, about.st_mtime_ns)


def missing_bytes(log: str) -> int:
    """How many bytes a header promises that the file lacks, by libsndfile's log of it; 0 where it leaves that open."""
    for said, there in _SHORTENED.findall(log):
        if not any(int(said) in sizes for sizes in _OPEN):
            return max(0, int(said) - int(there))
    return 0


@lru_cache(maxsize=256)
def _parts(path: Path, size: int, _mtime: int) -> tuple[Part, ...]:
    with path.open("rb") as file:
        head = file.read(12)
        if _begins_riff(head):
            found = list(_riff(file, size))
        elif head[:4] == b"OggS":
            found = list(_ogg(file, size))
        elif head[:3] == b"ID3" or _is_mp3(head):
            found = list(_mp3(file, size))
        elif head[:7] == b"NIST_1A":
            count = re.search(rb"^sample_count -i (\d+)", file.read(1024), re.MULTILINE)
            found = [Part(0, size, num_samples=int(count[1]))] if count else []
        else:
            found = []
    return tuple(found) or (Part(0, size),)


def _riff(file: BinaryIO, size: int) -> Iterator[Part]:
    """WAV files one behind the other, each found where the one before says that it ends.

    A size of 0 is left behind by a program that could not go back and say the true one, or did not live to: then the
    samples go on to the end.
    """
    start, following = 0, True
    while following:
        file.seek(start)
        end = start + 8 + int.from_bytes(file.read(8)[4:], "little")
        following = end < size and _begins_riff(_at(file, end, 12))
        data = None if following else _data(file, start + 12)
        if data is not None and end <= data < size and not any(_at(file, data - 4, 4)):
            head = _at(file, start, data - 4 - start) + min(size - data, 0xFFFFFFFF).to_bytes(4, "little")
            yield Part(data, size, head=head)
        else:
            yield Part(start, end if following else size)
        start = end


def _begins_riff(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WAVE"


def _data(file: BinaryIO, at: int) -> int | None:
    """Where the samples of a WAV file begin whose first chunk lies at a byte; None where they do not."""
    for _ in range(_MOST_CHUNKS):
        chunk = _at(file, at, 8)
        at += 8
        if len(chunk) < 8 or chunk[:4] == b"data":
            return at if len(chunk) == 8 else None
        length = int.from_bytes(chunk[4:], "little")
        at += length + length % 2
    return None


def _ogg(file: BinaryIO, size: int) -> Iterator[Part]:
    """The links of a chained Ogg file: one begins with a first page behind one that is none."""
    links: list[tuple[int, int]] = []  # where one begins, and the flags of its last page
    among_first = False
    for at in _places(file, (b"OggS\0",)):
        flags = int.from_bytes(_at(file, at + 5, 1))
        is_first = bool(flags & _OGG_BEGINS)
        if is_first and not among_first:
            links.append((at, flags))
        elif links:
            links[-1] = (links[-1][0], flags)
        among_first = is_first
    for (start, flags), (stop, _) in pairwise([*links, (size, 0)]):
        yield Part(start, stop, unended=not flags & _OGG_ENDS)


def _mp3(file: BinaryIO, size: int) -> Iterator[Part]:
    """MP3 files one behind the other: one begins with a Xing header, or behind the bytes that such a header counts.

    Where there is no such header libsndfile guesses the length by the first frames and decodes no more than that, so
    one that counts them is put before frames of several sizes.
    """
    starts: dict[int, bool] = {}  # where one begins, and whether its frames are counted
    first = _behind_tags(file, 0)
    if _is_mp3(_at(file, first, 4)):
        starts[first] = False
    for at in _places(file, _XING):
        about = _at(file, at, 16)
        start = next((at - side for side in _SIDES if at >= side and _side(_at(file, at - side, 4)) == side), None)
        if start is None or len(about) < 16 or any(about[4:7]) or not about[7] & 1:
            continue
        starts[start] = True
        if about[7] & 2:
            end = _behind_tags(file, start + int.from_bytes(about[12:]))
            if _side(_at(file, end, 4)) and _at(file, end, 2) == _at(file, start, 2):
                starts.setdefault(end, False)
    edges = sorted(starts)
    for start, stop in pairwise([*edges, size]):
        yield Part(start, stop, counted=starts[start], head=b"" if starts[start] else _info(file, start, stop))


def _info(file: BinaryIO, start: int, stop: int) -> bytes:
    """A frame that says how many frames of MP3 lie in a stretch of a file; empty where all have one bit rate."""
    first = _at(file, start, 4)
    count, at, rates = 0, start, set()
    while at < stop:
        base, block = at, _at(file, at, min(_BLOCK, stop - at))
        while at - base + 4 <= len(block):
            head = block[at - base : at - base + 4]
            if _side(head) and head[1] | 1 == first[1] | 1 and head[2] & 12 == first[2] & 12 and head[2] >> 4:
                count += 1
                rates.add(head[2] >> 4)
                at += _length_of_frame(head)
            else:
                place = block.find(b"\xff", at - base + 1)
                at = base + (place if place >= 0 else len(block))
        if len(block) < _BLOCK:
            break
    if len(rates) < 2:
        return b""
    head = bytes([0xFF, first[1] | 1, 0x80 | first[2] & 12, first[3]])
    info = head + bytes(_side(head) - 4) + b"Info" + (1).to_bytes(4) + count.to_bytes(4)
    return info.ljust(_length_of_frame(head), b"\0")


def _length_of_frame(head: bytes) -> int:
    """Bytes of a frame of MP3, by its first four."""
    mpeg_1 = head[1] & 0x18 == 0x18
    kbps = (_KBPS_1 if mpeg_1 else _KBPS_2)[head[2] >> 4]
    rate = _MP3_RATES[head[2] >> 2 & 3] >> (0 if mpeg_1 else 1 if head[1] & 0x10 else 2)
    return (144_000 if mpeg_1 else 72_000) * kbps // rate + (head[2] >> 1 & 1)


def _is_mp3(head: bytes) -> bool:
    return _side(head) > 0


def _side(head: bytes) -> int:
    """How far behind its start a frame of MP3 would hold a Xing header; 0 where these four bytes begin no frame."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or head[2] >> 4 == 15 or head[2] & 12 == 12:
        return 0
    mono, mpeg_1 = head[3] >> 6 == 3, head[1] & 0x18 == 0x18
    return 4 + (17 if mono == mpeg_1 else 32 if mpeg_1 else 9)


def _behind_tags(file: BinaryIO, at: int) -> int:
    """The first byte at or behind this one that is in no ID3 tag."""
    for _ in range(_MOST_CHUNKS):
        head = _at(file, at, flac.ID3_HEADER)
        length = 128 if head[:3] == b"TAG" else flac.length_of_tag(head)
        if not length:
            break
        at += length
    return at


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    """So many bytes of a file, or as many as it has there."""
    return os.pread(file.fileno(), size, place)


def _places(file: BinaryIO, marks: tuple[bytes, ...]) -> Iterator[int]:
    """Where any of these bytes lie in a file, in order; it may be sought in while they are found."""
    at = 0
    while True:
        file.seek(at)
        block = file.read(_BLOCK + 8)
        found = set()
        for mark in marks:
            place = block.find(mark)
            while 0 <= place < _BLOCK:
                found.add(place)
                place = block.find(mark, place + 1)
        yield from (at + place for place in sorted(found))
        if len(block) <= _BLOCK:
            return
        at += _BLOCK
