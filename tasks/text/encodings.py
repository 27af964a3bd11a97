"""Text encodings: words out of other people's files, whatever editor wrote them, and never other words.

Windows' editors begin a file with a byte order mark, which belongs to no word, and some write UTF-16. Older ones write
Windows-1252 without a mark. So a line that is no UTF-8 is read as that, where all its bytes have a meaning there; files
are joined of others, so each line is asked by itself. What is neither is said to be no text.
Source: the Unicode Standard, section 23.8; the WHATWG's Encoding Standard, section 9.1.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NO_TEXT = "neither UTF-8 nor Windows-1252"  # what is wrong with bytes that are not read, as the end of a sentence

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Line(NamedTuple):
    """A line of a file, without its end."""

    words: str
    is_text: bool = True  # else its bytes are no text, and stand in `words` as `\\x81`


def text_of(path: Path) -> str:
    """What a file says.

    Raises:
        ValueError: a line of it is no text.
    """
    lines = list(lines_of(path))
    if wrong := next((number for number, line in enumerate(lines, start=1) if not line.is_text), None):
        raise ValueError(f"line {wrong} of {path.name} is {NO_TEXT}")
    return "\n".join(line.words for line in lines)


def lines_of(path: Path) -> Iterator[Line]:
    """A file's lines, blank ones as well; only a line feed ends one, for U+2028 may stand in a text."""
    content = path.read_bytes()
    mark, encoding = next((found for found in _MARKS if content.startswith(found[0])), (b"", ""))
    end = "\n".encode(encoding or "utf-8")
    for line in _split(content.removeprefix(mark), end):
        yield _read(line, (encoding,) if encoding else ("utf-8", "cp1252"))


def _split(content: bytes, end: bytes) -> Iterator[bytes]:
    """The parts between ends of lines, each of which begins where a letter does."""
    begin = found = 0
    while (found := content.find(end, found)) >= 0:
        if found % len(end):  # half of one letter and half of the next
            found += 1
            continue
        yield content[begin:found]
        begin = found = found + len(end)
    yield content[begin:]


def _read(line: bytes, encodings: tuple[str, ...]) -> Line:
    for encoding in encodings:
        try:
            words = line.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in words:  # such as of UTF-16 without a mark
            return Line(words.removesuffix("\r"))
    return Line(line.decode(encodings[0], "backslashreplace").replace("\0", "\\x00").removesuffix("\r"), is_text=False)
