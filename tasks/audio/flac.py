"""FLAC's own checksum: the md5 of the samples, which a FLAC file states in its header.

Nobody looks at it. libsndfile decodes a file whose samples are not those that were encoded
without a word, where a frame's 16-bit checksum lets the damage through or the frame was exchanged as a whole.
Source: RFC 9639, section 8.2.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BITS = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}
"""Bits of a sample, by libsndfile's subtype of a FLAC file: all that it decodes."""

_STREAMINFO = 0  # the type of the block that holds the md5, in its bytes 18 to 34
ID3_HEADER = 10  # bytes


def stated_md5(path: Path) -> str | None:
    """The md5 that a FLAC file says its samples have, in hexadecimal; None where it is all zero, which is: not set.

    An ID3 tag before the file's own header is passed over, and so are blocks before the one that should be first.
    """
    with path.open("rb") as file:
        file.seek(length_of_tag(file.read(ID3_HEADER)))
        if file.read(4) != b"fLaC":
            return None
        while len(block := file.read(4)) == 4:
            is_last, kind, length = block[0] >> 7, block[0] & 0x7F, int.from_bytes(block[1:], "big")
            if kind == _STREAMINFO:
                md5 = file.read(min(length, 34))[18:]
                return md5.hex() if len(md5) == 16 and any(md5) else None
            if is_last:
                break
            file.seek(length, 1)
        return None


def coded(block: NDArray[np.float32], bits: int) -> bytes:
    """Samples `[num_samples, num_channels]` as FLAC counts them: signed, little-endian, in whole bytes.

    They are those that were encoded: a float32 holds every integer of 24 bits.
    """
    whole = np.rint(block * np.float32(1 << (bits - 1))).astype("<i4")
    return bytes(whole.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes())


def length_of_tag(head: bytes) -> int:
    """How many bytes an ID3 tag takes, by its first ten; 0 where they begin none."""
    if not head.startswith(b"ID3") or len(head) < ID3_HEADER:
        return 0
    size = 0
    for byte in head[6:10]:  # seven bits of each
        size = size << 7 | byte & 0x7F
    return ID3_HEADER + size
