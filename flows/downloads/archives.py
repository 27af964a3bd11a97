"""The archives that corpora come in: their names, where they lie, and the sums their publishers give.

LibriLight's archives are disjoint: its 6,000 hours are `small` and `medium` together. Neither publisher says how
many bytes an archive has, so the server is asked, and asked again before a download goes on.

Sources: github.com/facebookresearch/libri-light, data_preparation; openslr.org/12.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from hashlib import sha256
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from warehouse.errors import Mistake

PUBLISHED, GIVEN, SELF_HASHED = "published-md5", "given-md5", "self-hashed"  # how a sum can be verified

_LIBRILIGHT = "https://dl.fbaipublicfiles.com/librilight/data"
_LIBRISPEECH = "http://www.openslr.org/resources/12"
_COMPRESSION = {".tar": "", ".tar.gz": "gz", ".tgz": "gz", ".tar.bz2": "bz2", ".tar.xz": "xz"}


@dataclass(frozen=True)
class Archive:
    """A tar on a server."""

    name: str  # a known name, or the URL itself
    url: str
    md5: str | None  # 32 hex digits
    verified_by: str  # where that sum comes from

    @property
    def file_name(self) -> str:
        """Such as `small.tar`; a few digits keep files of one name on two servers apart."""
        last = PurePosixPath(unquote(urlsplit(self.url).path)).name
        return last if self.name != self.url else f"{sha256(self.url.encode()).hexdigest()[:8]}-{last}"

    @property
    def compression(self) -> str:
        """What it is compressed with: `gz`, `bz2`, `xz` or, where it is a plain tar, nothing."""
        return next(how for suffix, how in _COMPRESSION.items() if self.file_name.lower().endswith(suffix))


KNOWN: Mapping[str, Archive] = {
    name: Archive(name, url, md5, PUBLISHED)
    for name, url, md5 in (
        ("librilight-small", f"{_LIBRILIGHT}/small.tar", "c49207eb86a8e8ac895561c37232041e"),
        ("librilight-medium", f"{_LIBRILIGHT}/medium.tar", "c75e7ac62471bfbf2db77528d62a9b74"),
        ("librilight-large", f"{_LIBRILIGHT}/large.tar", "4dfbac018f50b99797ece101fc9f0c30"),
        ("librispeech-test-clean", f"{_LIBRISPEECH}/test-clean.tar.gz", "32fa31d27d2e1cad72775fee3f4849a9"),
        ("librispeech-dev-clean", f"{_LIBRISPEECH}/dev-clean.tar.gz", "42e2234ba48799c1f50f24a7926300a1"),
        ("librispeech-test-other", f"{_LIBRISPEECH}/test-other.tar.gz", "fb5a50374b501bb3bac4815ee91d3135"),
    )
}


def find(word: str, *, mirror: str | None = None, md5: str | None = None) -> Archive:
    """The archive of this name, or at this URL.

    Args:
        mirror: a server, and perhaps a folder on it, that serves the same path names as the publisher's.
        md5: the sum to check it by, for a URL.

    Raises:
        Mistake: there is no archive of this name, or its URL or sum cannot be right.
    """
    if md5 is not None and not re.fullmatch(r"[0-9a-fA-F]{32}", md5):
        raise Mistake(f"an md5 sum is 32 hex digits, and {md5!r} is not")
    if "://" in word:
        return _at_url(word, mirror, md5)
    if word not in KNOWN:
        near = get_close_matches(word, KNOWN, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KNOWN)}, and any URL"
        raise Mistake(f"there is no archive {word!r}; {meant}")
    known = KNOWN[word]
    if md5 is not None and md5.lower() != known.md5:
        raise Mistake(f"the sum of {word} is published, {known.md5}; --md5 is for a URL")
    if mirror is None:
        return known
    _check_server(mirror)
    return replace(known, url=mirror.rstrip("/") + urlsplit(known.url).path)


def _at_url(url: str, mirror: str | None, md5: str | None) -> Archive:
    if mirror is not None:
        raise Mistake(f"--mirror is for an archive with a name, and {url} says where it is")
    _check_server(url)
    archive = Archive(url, url, md5.lower() if md5 else None, GIVEN if md5 else SELF_HASHED)
    if not archive.file_name.lower().endswith(tuple(_COMPRESSION)):
        raise Mistake(f"{url} is not the URL of a tar: its path ends in none of {', '.join(_COMPRESSION)}")
    return archive


def _check_server(url: str) -> None:
    try:
        parts = urlsplit(url)
        said = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        said = False
    if not said:
        raise Mistake(f"{url!r} is not the URL of a server that speaks http or https")
