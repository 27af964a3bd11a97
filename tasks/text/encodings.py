"""Text encodings: words out of other people's files, whatever editor wrote them.

Windows' editors begin a file with a byte order mark, which belongs to no word, and some write UTF-16. Source: the
Unicode Standard, section 23.8.
"""

import codecs
from pathlib import Path

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def text_of(path: Path) -> str:
    """What a file says; bytes that are no text of its encoding become U+FFFD."""
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    return content.decode(encoding, "replace")


def lines_of(path: Path) -> list[str]:
    """Its lines that say anything, without their ends; only a line feed ends one, for U+2028 may stand in a text."""
    return [line.rstrip("\r") for line in text_of(path).split("\n") if line.strip()]
