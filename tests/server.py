"""A server of files on this machine that misbehaves on purpose, and the archives that it serves."""

import hashlib
import io
import random
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from flows.downloads.fetch import Patience

HASTY = Patience(attempts=4, first_attempts=3, pause=0.0, silence=2.0, slowest=1.0, window=0.2)


@dataclass
class Manners:
    """How the server behaves; all of it can be changed while it runs."""

    files: dict[str, bytes] = field(default_factory=dict)  # path -> content
    etag: str | None = '"one"'
    statuses: list[int] = field(default_factory=list)  # of the next requests
    cut: tuple[int, int] | None = None  # connections break off after so many bytes, between these
    ignore_range: bool = False
    length: int | None = None  # what is announced in place of the truth
    say_length: bool = True
    drip: float | None = None  # seconds between bytes
    bytes_per_second: float | None = None
    redirect: bool = False  # without end
    wrong_start: int = 0  # bytes by which a range begins too late
    url: str = ""
    asked: list[str | None] = field(default_factory=list)  # the ranges that were asked for
    pick: random.Random = field(default_factory=lambda: random.Random(7))


@contextmanager
def serve(**files: bytes) -> Iterator[Manners]:
    """Serves `name=content` under `/name`; double underscores in a name are dots."""
    manners = Manners({"/" + name.replace("__", "."): content for name, content in files.items()})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                _answer(self, manners)

    class Server(ThreadingHTTPServer):
        daemon_threads, block_on_close = True, False

    server = Server(("127.0.0.1", 0), Handler)
    manners.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield manners
    finally:
        server.shutdown()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, manners: Manners) -> None:
    asked = handler.headers.get("Range")
    manners.asked.append(asked)
    handler.close_connection = True
    if manners.redirect:
        _head(handler, 302, {"Location": handler.path, "Content-Length": "0"})
        return
    content = manners.files.get(handler.path)
    status = manners.statuses.pop(0) if manners.statuses else 404 if content is None else 200
    if status != 200 or content is None:
        _head(handler, status, {"Content-Length": "0", "Retry-After": "0"})
        return
    whole = len(content) if manners.length is None else manners.length
    start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not manners.ignore_range else 0
    headers = {"ETag": manners.etag} if manners.etag else {}
    if start and start >= len(content):
        _head(handler, 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
        return
    if start:
        start += manners.wrong_start
        headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
    if manners.say_length:
        headers["Content-Length"] = str(whole - start)
    _head(handler, 206 if start else 200, headers)
    body = content[start:]
    if manners.cut:
        body = body[: manners.pick.randint(*manners.cut)]
    for i in range(0, len(body), 1 if manners.drip else 4096):
        handler.wfile.write(body[i : i + (1 if manners.drip else 4096)])
        time.sleep(manners.drip or (4096 / manners.bytes_per_second if manners.bytes_per_second else 0.0))


def _head(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in {"Connection": "close", **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that no two places share."""
    return random.Random(seed).randbytes(size)


def files(number: int = 5, size: int = 30_000) -> dict[str, bytes]:
    """Members in LibriLight's layout."""
    return {f"small/100/book/{i:02}.flac": noise(size + 7 * i, i) for i in range(number)}


def tar(members: dict[str, bytes], compression: str = "") -> bytes:
    """An archive of files."""
    return tar_of([(_info(name, len(data)), data) for name, data in members.items()], compression)


def tar_of(members: list[tuple[tarfile.TarInfo, bytes]], compression: str = "") -> bytes:
    """An archive of anything."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{compression}", format=tarfile.GNU_FORMAT) as archive:  # type: ignore[call-overload]
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    """A header of any kind."""
    info = _info(name, size)
    info.type, info.linkname = kind, link
    return info


def md5(data: bytes) -> str:
    """Its sum."""
    return hashlib.md5(data).hexdigest()


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, 1_700_000_000
    return info
