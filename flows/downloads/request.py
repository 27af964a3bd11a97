"""The request for a download, and what the ledger says of it: whether it has to be made, and how it begins."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows.downloads import archives
from flows.downloads.archives import Archive
from flows.downloads.members import Journal
from flows.downloads.unpack import WORK
from flows.terminal.output import say
from warehouse import ledger
from warehouse.errors import Mistake
from warehouse.ledger import ArchiveRecord

DOWNLOADING, VERIFIED, EXTRACTED, FAILED = "downloading", "verified", "extracted", "failed"
WRONG_SUM, DAMAGED = "wrong_sum", "damaged"  # after these, the next call begins anew
GIB = 1 << 30  # bytes


@dataclass(frozen=True, kw_only=True)
class DownloadRequest:
    """The words that say which archive, and how."""

    name: str  # or a URL
    dest: Path  # the folder to extract it to
    mirror: str | None = None
    md5: str | None = None
    stream: bool = False
    keep_archive: bool = False
    leave_free: int = GIB  # bytes of the disk that stay free

    def archive(self) -> Archive:
        """What is meant.

        Raises:
            Mistake: a word is wrong, or does not go with another.
        """
        archive = archives.find(self.name, mirror=self.mirror, md5=self.md5)
        if self.stream and archive.compression:
            raise Mistake(f"--stream is for plain tars, and {archive.url} is compressed")
        if self.stream and self.keep_archive:
            raise Mistake("--stream keeps no archive, so --keep-archive cannot be said with it")
        return archive


def is_there(request: DownloadRequest, root: Path) -> bool:
    """Whether the archive and all its members have come already; says so if they have. Changes nothing.

    Raises:
        Mistake: a word is wrong, or another sum was asked for than the one that came.
    """
    archive, dest = request.archive(), resolved(request.dest)
    latest = ledger.archive(root, archive.name, str(dest))
    if latest is None or latest.state != EXTRACTED:
        return False
    if archive.md5 and latest.md5 != archive.md5:
        raise Mistake(f"{archive.name} lies in {dest} with md5 {latest.md5}, and not with {archive.md5}")
    journal = Journal(journal_path(archive, dest), dest)
    if not journal.whole or len(journal.names) != latest.num_members:
        say(f"{archive.name}: members are missing from {dest}, and come again")
        return False
    say(f"nothing to download: {summary(latest)}")
    return True


def first_record(archive: Archive, dest: Path, streamed: bool) -> ArchiveRecord:
    """Of an archive of which nothing is here."""
    return ArchiveRecord(
        record_id="",
        name=archive.name,
        dest=str(dest),
        url=archive.url,
        streamed=streamed,
        expected_md5=archive.md5,
        content_length=None,
        etag=None,
        bytes_done=0,
        md5=None,
        verified=None,
        state=DOWNLOADING,
        error=None,
        num_members=0,
        num_refused=0,
        refused="{}",
        started_at=now(),
        written_at=now(),
        finished_at=None,
    )


def journal_path(archive: Archive, dest: Path) -> Path:
    """Where the members that are there are told."""
    return dest / WORK / f"{archive.file_name}.members.jsonl"


def resolved(dest: Path) -> Path:
    """A folder by the name that all processes give it."""
    return dest.expanduser().resolve()


def summary(record: ArchiveRecord) -> str:
    """One line on an archive that is there."""
    return f"{record.name} is in {record.dest}: {record.num_members} files, md5 {record.md5} ({record.verified})"


def gib(number: int) -> str:
    """Bytes, for people."""
    return f"{number / GIB:.1f} GiB"


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat()
