"""A file from an HTTP server, as bytes in order, however often the connection breaks.

The body of a request may end early without an error, so the length that was
announced is what decides. Each new connection asks for the bytes from where the
last one stopped, and the file must still be the same one: its length and ETag.
A server that ignores the range sends what is here already; that is skipped.

Source: RFC 9110, sections 8.8.3, 14 and 15.5.17.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import httpx

from warehouse.errors import Mistake, WorkFailed

MAY_PASS = {408, 425, 429, 500, 502, 503, 504}  # statuses after which it is worth asking again


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server is waited for."""

    attempts: int = 10  # in a row that bring nothing
    first_attempts: int = 4  # the same, before anything has arrived: a wrong name shows soon
    pause: float = 1.0  # seconds after the first of them; doubles with each
    longest_pause: float = 60.0  # seconds
    silence: float = 60.0  # seconds without a byte
    slowest: float = 1000.0  # bytes per second, over `window`
    window: float = 60.0  # seconds


@dataclass(frozen=True)
class Remote:
    """A file as its server announces it."""

    url: str
    length: int | None  # bytes
    etag: str | None  # its Last-Modified where it has none


class Changed(WorkFailed):
    """The file at the server is not the one that was begun."""


class _MayPass(Exception):
    """Worth asking again, at the soonest after so many seconds."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


def fetch(
    url: str,
    *,
    at: int = 0,
    known: Remote | None = None,
    patience: Patience | None = None,
    meet: Callable[[Remote], None] = lambda _: None,
    notice: Callable[[str], None] = lambda _: None,
) -> Iterator[bytes]:
    """The bytes of a file, from a place in it to its end.

    Args:
        at: how many of its bytes are here already.
        known: what its server announced when they came; nothing else is gone on with.
        meet: told what the server announces, before the first byte.
        notice: told in words of every broken connection.

    Raises:
        Mistake: there is no such file.
        Changed: the server has another file now.
        WorkFailed: it cannot be had, for all patience.
    """
    patience = patience or Patience()
    position, futile, met = at, 0, False
    timeout = httpx.Timeout(patience.silence, connect=min(patience.silence, 20.0))
    with httpx.Client(timeout=timeout, follow_redirects=True) as client:
        while True:
            began, start = time.monotonic(), position
            try:
                with client.stream("GET", url, headers=_headers(position)) as response:
                    remote, skip = _understand(response, url, position, known)
                    if not met:
                        meet(remote)
                    known, met = remote, True
                    for chunk in _skip(_not_too_slow(response.iter_raw(), patience), skip):
                        position += len(chunk)
                        yield chunk
                if known.length is None or position == known.length:
                    return
                reason, after = f"the connection ended after {position} of {known.length} bytes", 0.0
            except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
                raise Mistake(f"{url} cannot be followed: {_words(error)}") from error
            except (_MayPass, httpx.HTTPError) as error:
                reason, after = _words(error), error.after if isinstance(error, _MayPass) else 0.0
            fruitful = position - start > patience.slowest * (time.monotonic() - began)
            futile = 1 if fruitful else futile + 1
            if futile >= (patience.attempts if met else patience.first_attempts):
                raise WorkFailed(f"{url} cannot be had, after {futile} attempts: {reason}")
            wait = min(max(patience.pause * 2 ** (futile - 1), after), patience.longest_pause)
            notice(f"{reason}; again in {wait:.0f} s")
            time.sleep(wait)


def _headers(position: int) -> dict[str, str]:
    identity = {"Accept-Encoding": "identity"}  # the sum is of the file, not of what a server makes of it
    return identity | {"Range": f"bytes={position}-"} if position else identity


def _understand(response: httpx.Response, url: str, position: int, known: Remote | None) -> tuple[Remote, int]:
    """What is announced, and how many bytes of the body are here already."""
    status = response.status_code
    if status in MAY_PASS:
        after = response.headers.get("retry-after", "")
        raise _MayPass(f"the server says {_status(response)}", float(after) if after.isdigit() else 0.0)
    if status not in (200, 206, 416):
        raise Mistake(f"{url} cannot be had: the server says {_status(response)}")
    first, length = _range(response) if status in (206, 416) else (0, _length(response))
    remote = Remote(url, length, response.headers.get("etag") or response.headers.get("last-modified"))
    if status == 416:
        raise Changed(
            f"{url} has changed at its server, or its length is not what it said: it has no bytes from {position} on"
        )
    if known is not None and not _same(known, remote):
        raise Changed(
            f"{url} has changed at its server since its download began: "
            f"{known.length} bytes, {known.etag} then; {remote.length} bytes, {remote.etag} now"
        )
    if first is None or first > position:
        raise _MayPass(f"the server was asked for bytes from {position} on and sends bytes from {first} on")
    return replace(remote, length=known.length if known and length is None else length), position - first


def _same(known: Remote, remote: Remote) -> bool:
    """Servers that mirror each other have ETags of their own; where a length is not said, none is missed."""
    lengths = {known.length, remote.length} - {None}
    return len(lengths) < 2 and (known.etag == remote.etag or known.url != remote.url)


def _range(response: httpx.Response) -> tuple[int | None, int | None]:
    """The first byte that is sent, and the length of the whole file, where they are said."""
    said = re.fullmatch(r"bytes (?:(\d{1,18})-\d+|\*)/(?:(\d{1,18})|\*)", response.headers.get("content-range", ""))
    first, length = said.groups() if said else (None, None)
    return None if first is None else int(first), None if length is None else int(length)


def _length(response: httpx.Response) -> int | None:
    said = response.headers.get("content-length", "")
    return int(said) if re.fullmatch(r"\d{1,18}", said) else None


def _status(response: httpx.Response) -> str:
    return f"{response.status_code} {response.reason_phrase}".strip()


def _skip(chunks: Iterator[bytes], number: int) -> Iterator[bytes]:
    for chunk in chunks:
        if number < len(chunk):
            yield chunk[number:]
        number = max(0, number - len(chunk))


def _not_too_slow(chunks: Iterator[bytes], patience: Patience) -> Iterator[bytes]:
    begun, arrived = time.monotonic(), 0
    for chunk in chunks:
        arrived += len(chunk)
        yield chunk
        took = time.monotonic() - begun
        if took > patience.window:
            if arrived < patience.slowest * took:
                raise _MayPass(f"the server sends {arrived / took:.0f} bytes per second")
            begun, arrived = time.monotonic(), 0


def _words(error: Exception) -> str:
    """An error in one line; some of the library's have no words of their own."""
    return " ".join(str(error).split()) or type(error).__name__
