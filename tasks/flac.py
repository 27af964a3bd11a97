"""FLAC's own checksum: the md5 of the samples, which a FLAC file states in its header.

The surprising fact: nobody looks at it. libsndfile decodes a file whose samples are not those that were encoded
without a word, where a frame's 16-bit checksum lets the damage through or the frame was exchanged as a whole.
Source: RFC 9639, section 8.2.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BITS = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}
"""Bits of a sample, by libsndfile's subtype of a FLAC file: all that it decodes."""

_HEADER = 42  # bytes: `fLaC`, 4 of the first block's header, and its 34, of which the last 16 are the md5
_ID3_HEADER = 10  # bytes


def stated_md5(path: Path) -> str | None:
    """The md5 that a FLAC file says its samples have, in hexadecimal; None where it is all zero, which is: not set.

    An ID3 tag before the file's own header is passed over, as libsndfile does.
    """
    with path.open("rb") as file:
        head = file.read(_ID3_HEADER)
        file.seek(_length_of_tag(head))
        header = file.read(_HEADER)
    md5 = header[-16:]
    return md5.hex() if header.startswith(b"fLaC") and len(header) == _HEADER and any(md5) else None


def coded(block: NDArray[np.float32], bits: int) -> bytes:
    """Samples `[num_samples, num_channels]` as FLAC counts them: signed, little-endian, in whole bytes.

    They are those that were encoded: a float32 holds every integer of 24 bits.
    """
    whole = np.rint(block * np.float32(1 << (bits - 1))).astype("<i4")
    return bytes(whole.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes())


def _length_of_tag(head: bytes) -> int:
    if not head.startswith(b"ID3") or len(head) < _ID3_HEADER:
        return 0
    size = 0
    for byte in head[6:10]:  # seven bits of each
        size = size << 7 | byte & 0x7F
    return _ID3_HEADER + size
