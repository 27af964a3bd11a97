"""Objects: what a warehouse asks of an object store, and what it makes of an answer that was lost.

Nothing is renamed there and nothing is locked. An object is created where there is none of its name, or swapped for
the one that it was made from; who comes too late is told so. Whether a request whose answer was lost has been heard
is seen by asking again: what lies there then is ours, byte for byte, or it is not.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from warehouse.errors import Mistake

ATTEMPTS, PAUSE = 6, 0.2  # of a request that was not answered; seconds before the second, twice that before the third
SCHEMES = ("s3", "gs", "az")  # by which a root is told from a path
SPOKEN = ("s3", "az")  # a swap at Google's needs more than an etag

Stat = tuple[int, int]  # bytes, and when it was written in ns since 1970
Condition = Literal["overwrite", "create"] | str  # or the etag of the object that is to be replaced
_Answer = TypeVar("_Answer")


class Refused(Exception):
    """The condition did not hold: the object is there already, or is another by now (HTTP 412)."""


class Unanswered(OSError):
    """No answer, or one that says nothing of what was done (HTTP 409, 5xx, a time-out)."""


class Backend(Protocol):
    """The requests that are made; `warehouse.object_backend` makes them by obstore."""

    def put(self, name: str, data: bytes | Path, condition: Condition) -> str:
        """Writes an object, whole or not at all; its etag. Raises Refused or Unanswered."""

    def get(self, name: str) -> tuple[bytes, str]:
        """An object and its etag. Raises FileNotFoundError or Unanswered."""

    def fetch(self, name: str, path: Path) -> Stat:
        """Writes an object, which may be larger than memory, to a file. Raises FileNotFoundError or Unanswered."""

    def list(self, folder: str) -> dict[str, Stat]:
        """Every object below a folder. Raises Unanswered."""

    def children(self, folder: str) -> tuple[tuple[str, ...], dict[str, Stat]]:
        """The folders and the objects right below a folder, by their own names. Raises Unanswered."""

    def stat(self, name: str) -> Stat:
        """An object's bytes and when it was written. Raises FileNotFoundError or Unanswered."""

    def delete(self, name: str) -> None:
        """Removes an object, if it is there. Raises Unanswered."""


class Objects:
    """The objects below one URL, by names such as `codes/0a1b/small-100@89abcdef.parquet`."""

    def __init__(self, url: str, backend: Backend, pause: Callable[[float], None] = time.sleep) -> None:
        self.url = url
        self._backend = backend
        self._pause = pause

    def get(self, name: str) -> bytes:
        """An object.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        return self.get_tagged(name)[0]

    def get_tagged(self, name: str) -> tuple[bytes, str]:
        """An object, and the etag by which it can be swapped."""
        return self._asked(lambda: self._backend.get(name))

    def fetch(self, name: str, path: Path) -> Stat:
        """Writes an object, which may be larger than memory, to a file; what `stat` says of it.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        return self._asked(lambda: self._backend.fetch(name, path))

    def put(self, name: str, data: bytes | Path) -> None:
        """Writes an object over what is there, of these bytes or of a file, which may be larger than memory."""
        self._asked(lambda: self._backend.put(name, data, "overwrite"))

    def create(self, name: str, data: bytes) -> bool:
        """Creates an object; whether it lies there now, by this call or another that wrote the same."""
        while True:
            try:
                self._asked(lambda: self._backend.put(name, data, "create"))
            except Refused:
                try:
                    return self.get(name) == data
                except FileNotFoundError:  # it was there, and has been taken away since
                    continue
            return True

    def swap(self, name: str, data: bytes, etag: str | None) -> str:
        """Puts an object in the place of the one that has this etag, or of none where that is null; its own etag.

        Raises:
            Refused: another is there.
        """
        try:
            return self._asked(lambda: self._backend.put(name, data, etag or "create"))
        except Refused as error:  # by somebody else, or by our own request, whose answer was lost
            try:
                there, its = self.get_tagged(name)
            except FileNotFoundError:
                raise error from None
            if there != data:
                raise
            return its

    def list(self, folder: str) -> dict[str, int]:
        """Every object below a folder: its name and bytes."""
        return {name: size for name, (size, _) in self.stats(folder).items()}

    def stats(self, folder: str) -> dict[str, Stat]:
        """Every object below a folder: its name, its bytes and when it was written."""
        return self._asked(lambda: self._backend.list(folder))

    def children(self, folder: str) -> tuple[tuple[str, ...], dict[str, Stat]]:
        """The folders and the objects right below a folder, by their own names."""
        return self._asked(lambda: self._backend.children(folder))

    def stat(self, name: str) -> Stat:
        """An object's bytes, and when it was written in ns since 1970, in whole seconds.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        return self._asked(lambda: self._backend.stat(name))

    def delete(self, names: Iterable[str]) -> None:
        """Removes what is there of these."""
        for name in names:
            self._asked(lambda name=name: self._backend.delete(name))  # type: ignore[misc]

    def _asked(self, ask: Callable[[], _Answer]) -> _Answer:
        """An answer, where the request is made again until there is one. Each may be heard twice and do no harm."""
        pause = PAUSE
        for _ in range(ATTEMPTS - 1):
            try:
                return ask()
            except Unanswered:
                self._pause(pause * random.uniform(0.5, 1.0))
                pause *= 2
        return ask()


@contextmanager
def now_and_then(act: Callable[[], None], seconds: float, name: str) -> Iterator[None]:
    """Something is done beside the block, every so many seconds. What cannot be this time is tried again the next."""
    done = threading.Event()

    def keep_on() -> None:
        while not done.wait(seconds):
            with suppress(OSError, Mistake):
                act()

    thread = threading.Thread(target=keep_on, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def is_url(said: Any) -> bool:
    """Whether a root is said as the URL of an object store's."""
    return isinstance(said, str) and said.partition("://")[0] in SCHEMES and "://" in said


def open_objects(url: str) -> Objects:
    """The objects below a URL, with the credentials that the environment or the machine has.

    Raises:
        Mistake: it is no such URL, or obstore is not installed.
    """
    scheme, _, bucket = url.partition(":")
    if scheme not in SPOKEN:
        raise Mistake(f"{url}: object stores that are known are s3://, which most servers speak, and az://")
    if not bucket.strip("/"):
        raise Mistake(f"{url} names no bucket: say {scheme}://BUCKET/PREFIX")
    try:
        from warehouse.object_backend import ByObstore
    except ModuleNotFoundError as error:
        raise Mistake(f"{url} needs obstore; pip install 'valle[objects]' brings it") from error
    return Objects(url.rstrip("/"), ByObstore(url.rstrip("/")))
