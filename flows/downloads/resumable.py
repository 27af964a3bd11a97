"""A resumable download of an archive: verified, extracted, recorded, and gone on with after a kill.

An archive is used when its sum holds; only then are its members made and the archive deleted. As a stream its members
are made while its bytes arrive, which needs half the disk, and the sum of the whole is known when they are there
already. How far an archive has come is in the ledger and beside its files, in `.downloads`, and nowhere else.
"""

import bz2
import fcntl
import gzip
import hashlib
import json
import lzma
import os
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from uuid import uuid4

from flows.downloads import archives
from flows.downloads.archives import Archive
from flows.downloads.fetch import Changed, Patience, Remote, fetch
from flows.downloads.members import Journal
from flows.downloads.request import (
    DAMAGED,
    DOWNLOADING,
    EXTRACTED,
    FAILED,
    VERIFIED,
    WRONG_SUM,
    DownloadRequest,
    first_record,
    gib,
    is_there,
    journal_path,
    now,
    resolved,
    summary,
)
from flows.downloads.unpack import WORK, Bytes, Damaged, printable, unpack
from flows.terminal.output import say
from flows.terminal.progress_bars import Transfer
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake, WorkFailed
from warehouse.ledger import ArchiveRecord

RECORD_EVERY = 60.0  # seconds
_CHUNK = 1024 * 1024  # bytes
_LOOK_EVERY = 64 * _CHUNK  # bytes between looks at what is left of the disk


class SumIsWrong(WorkFailed):
    """All bytes came, and they are not the ones that were promised."""


def download_archive(request: DownloadRequest, root: Path, patience: Patience | None = None) -> ArchiveRecord:
    """Bring an archive's members to a folder, and tell the ledger.

    Raises:
        Mistake: a word is wrong, there is no such file, or somebody else is downloading it.
        WorkFailed: it could not be had, is not what was promised, or the disk is full. What has come is kept.
    """
    archive, dest = request.archive(), resolved(request.dest)
    if is_there(request, root):
        return cast(ArchiveRecord, ledger.archive(root, archive.name, str(dest)))
    lock = dest / WORK / f"{archive.file_name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        raise Mistake(f"{dest} cannot be written to: {error.strerror}") from error
    with _alone(lock, archive.name):
        work = _Work(archive, dest, request, root, patience)
        try:
            return work.do()
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            why = f"{error.strerror or error}{where}"
            failure = f"{archive.name} cannot be brought to {dest}: {why}; what has come is kept"
            work.fail(FAILED, failure)
            raise WorkFailed(failure) from error


class _Work:
    """One attempt to bring one archive."""

    def __init__(
        self, archive: Archive, dest: Path, request: DownloadRequest, root: Path, patience: Patience | None
    ) -> None:
        self.archive, self.dest, self.request, self.root, self.patience = archive, dest, request, root, patience
        self.whole = dest / WORK / archive.file_name  # has this name when its sum holds
        self.part = self.whole.with_name(f"{self.whole.name}.part")
        self.unfinished = self.whole.with_name(f"{self.whole.name}.member")
        self.journal = Journal(journal_path(archive, dest), dest)
        self.latest = ledger.archive(root, archive.name, str(dest))
        self.now = first_record(archive, dest, request.stream)
        self.recorded_at = time.monotonic()

    def do(self) -> ArchiveRecord:
        """All of it, from wherever it stands."""
        try:
            self._take_up()
            if self.request.stream:
                self._stream()
            else:
                self._bring()
                self._extract()
        except (Damaged, SumIsWrong) as error:
            failure = f"{self.archive.url}: {error}; the next call begins anew"
            self.fail(WRONG_SUM if isinstance(error, SumIsWrong) else DAMAGED, failure)
            raise WorkFailed(failure) from error
        except Changed as error:
            failure = f"{error}; delete {self.whole}.* to begin anew"
            self.fail(FAILED, failure)
            raise WorkFailed(failure) from error
        except (Mistake, WorkFailed) as error:
            self.fail(FAILED, str(error))
            raise
        self._finish()
        return self.now

    def record(self, *, publish: bool = True, **changes: Any) -> None:
        """Tell the ledger how far it has come."""
        refused = {
            reason: {"members": number, "first": printable(self.journal.first_refused[reason])}
            for reason, number in self.journal.refused.items()
        }
        self.now = replace(
            self.now,
            **changes,
            record_id=uuid4().hex,
            written_at=now(),
            num_members=len(self.journal.names),
            num_refused=self.journal.refused.total(),
            refused=json.dumps(refused),
        )
        ledger.emit(self.root, self.now)
        self.recorded_at = time.monotonic()
        if publish:
            Catalogue(self.root).take_up()

    def fail(self, state: str, failure: str) -> None:
        """Tell the ledger why it ends, where it can still be told."""
        with suppress(Exception):  # the failure itself is what has to be said
            self.record(state=state, error=failure)

    def _take_up(self) -> None:
        """What is known of an earlier attempt; nothing, where that one cannot be gone on with."""
        latest = self.latest
        if latest is None or latest.state in (WRONG_SUM, DAMAGED):
            for path in (self.part, self.whole):
                path.unlink(missing_ok=True)
            self.journal = self.journal.clear()
        else:
            self.now = replace(
                self.now,
                url=latest.url,
                content_length=latest.content_length,
                etag=latest.etag,
                bytes_done=latest.bytes_done,
                started_at=latest.started_at,
            )
        self.journal.cut()

    def _known(self) -> Remote | None:
        """What the server announced when the bytes that are here came."""
        return None if self.now.content_length is None else Remote(self.now.url, self.now.content_length, self.now.etag)

    def _bring(self) -> None:
        """The archive as a file, its sum verified."""
        if self.whole.exists() and self.latest and self.latest.md5:
            self._check_sum(self.latest.md5)
            return
        if self.whole.exists():
            self.whole.replace(self.part)
        known = self._known()
        here = self.part.stat().st_size if self.part.exists() else 0
        if known is None or here > (known.length or 0):
            here = 0
        with self.part.open("r+b" if here else "wb") as file:
            digest = hashlib.md5(usedforsecurity=False)
            while data := file.read(_CHUNK) if here else b"":
                digest.update(data)
            if known is None or here < (known.length or 0):
                with closing(self._arriving(here, times=2)) as arriving:
                    for chunk in arriving:
                        file.write(chunk)
                        digest.update(chunk)
            file.flush()
            os.fsync(file.fileno())
        self._check_sum(digest.hexdigest())
        self.record(state=VERIFIED, error=None)
        self.part.replace(self.whole)

    def _extract(self) -> None:
        """The members of an archive whose sum holds."""
        say(f"{self.archive.name}: md5 {self.now.md5} ({self.now.verified}); extracting to {self.dest}")
        begins = self.journal.end if self.journal.tells_all and not self.archive.compression else 0
        with self.whole.open("rb") as file:
            file.seek(begins)
            self._unpack(_decompressed(file, self.archive.compression), begins)

    def _stream(self) -> None:
        """The members, while the bytes arrive. After a kill the sum goes on from the files that are there."""
        say(f"{self.archive.name}: members are used as they come, before the sum of the whole can be checked")
        digest = hashlib.md5(usedforsecurity=False)
        begins = self.journal.end if self.journal.tells_all and self._known() else 0
        if begins:
            for data in self.journal.bytes_so_far():
                digest.update(data)
        with closing(self._arriving(begins, times=1)) as chunks:
            arriving = _Pipe(chunks, digest)
            self._unpack(arriving, begins)
            while arriving.read(_CHUNK):
                pass  # what follows the end mark counts for the sum
        self._check_sum(digest.hexdigest())

    def _unpack(self, source: Bytes, begins: int) -> None:
        found = unpack(
            source,
            self.dest,
            self.unfinished,
            begins=begins,
            done=self.journal.end,
            names=self.journal.names,
            room=self._need,
        )
        for member in found:
            self.journal.add(member)

    def _arriving(self, at: int, *, times: int) -> Generator[bytes, None, None]:
        """The bytes from a place on, watched by a person and by the ledger.

        Args:
            times: how often the disk has to hold them: as an archive, as its members.
        """
        done, look = at, at + _LOOK_EVERY
        known = self._known() if at or self.journal.end else None

        def meet(remote: Remote) -> None:
            if remote.length is not None:
                self._need(remote.length - at + (times - 1) * remote.length)
            self.now = replace(self.now, url=remote.url, content_length=remote.length, etag=remote.etag)
            self.record(state=DOWNLOADING, error=None, bytes_done=at, md5=None, verified=None)
            progress.total(remote.length)

        with Transfer(self.archive.name, at) as progress:
            try:
                for chunk in fetch(
                    self.archive.url, at=at, known=known, patience=self.patience, meet=meet, notice=progress.notice
                ):
                    yield chunk
                    done += len(chunk)
                    progress.at(done)
                    if done >= look:
                        self._need(0)
                        look = done + _LOOK_EVERY
                    if time.monotonic() - self.recorded_at > RECORD_EVERY:
                        self.record(bytes_done=done)
            finally:
                self.now = replace(self.now, bytes_done=done)

    def _need(self, number: int) -> None:
        """Raises WorkFailed unless the disk has room for so many bytes more."""
        free = shutil.disk_usage(self.dest).free
        if free - number < self.request.leave_free:
            hint = "" if self.request.stream or self.archive.compression else ", and --stream needs half of it"
            raise WorkFailed(
                f"the disk of {self.dest} has {gib(free)} free, {self.archive.name} needs {gib(number)} more and "
                f"{gib(self.request.leave_free)} is to stay free{hint}; what has come is kept"
            )

    def _check_sum(self, md5: str) -> None:
        expected = self.archive.md5
        self.now = replace(
            self.now, md5=md5, verified=None if expected not in (None, md5) else self.archive.verified_by
        )
        if expected not in (None, md5):
            used = f"; {len(self.journal.names)} members were made of it" if self.request.stream else ""
            raise SumIsWrong(f"its md5 is {md5}, and {expected} was promised{used}")

    def _finish(self) -> None:
        self.journal.close()
        if self.request.keep_archive:
            self.whole.replace(self.dest / self.archive.file_name)
        self.record(state=EXTRACTED, error=None, finished_at=now())
        for path in (self.whole, self.part, self.unfinished):
            path.unlink(missing_ok=True)
        if self.now.verified == archives.SELF_HASHED:
            say(f"{self.archive.name}: nobody has published its sum; {self.now.md5} is of what has come")
        for reason, number in self.journal.refused.items():
            first = printable(self.journal.first_refused[reason])
            say(f"{self.archive.name}: {number} member{'s' * (number > 1)} refused: {reason}, the first {first!r}")
        say(summary(self.now))


class _Sum(Protocol):
    def update(self, data: bytes, /) -> None: ...


class _Pipe:
    """Chunks as a file, summed up as they are read."""

    def __init__(self, chunks: Iterator[bytes], digest: _Sum) -> None:
        self._chunks, self._digest, self._rest = chunks, digest, b""

    def read(self, size: int, /) -> bytes:
        if not self._rest:
            self._rest = next(self._chunks, b"")
            self._digest.update(self._rest)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _decompressed(file: BinaryIO, compression: str) -> Bytes:
    if not compression:
        return file
    return cast(Bytes, {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}[compression](file))  # type: ignore[operator]


@contextmanager
def _alone(path: Path, name: str) -> Iterator[None]:
    """Held by one process at a time; a kill lets go of it."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Mistake(f"{name} is being downloaded to this folder by another process") from error
        yield
