"""The private database: how it is opened, while other processes want it too, and its layout, migration by migration."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from warehouse import foreign_scores, value_sums
from warehouse.errors import FULL, Mistake, WorkFailed, is_full_disk

PATIENCE = 60.0  # seconds to wait for another process to let go of it
STORAGE = "v1.5.0"  # the oldest DuckDB that can read what is written
_DAMAGED = (duckdb.IOException, duckdb.SerializationException, duckdb.InternalException, duckdb.FatalException)

MIGRATIONS = (
    """
    create table artifacts (
        table_name varchar, shard varchar, fingerprint varchar,
        path varchar,             -- relative to the root
        num_rows bigint,          -- kept and dropped
        num_dropped bigint,
        seconds double,           -- of audio, kept and dropped
        dropped json,             -- reason -> rows, seconds
        bytes bigint,
        digest varchar,           -- of the rows
        stage json,               -- name, version, settings
        inputs json,              -- what it was made from
        made_at timestamp         -- UTC
    )
    """,
    """
    create table runs (
        run_id varchar, flow_run_id varchar,
        table_name varchar, shard varchar, fingerprint varchar,
        attempt integer,
        started_at timestamp, ended_at timestamp,  -- UTC
        state varchar,            -- made, failed or crashed
        error varchar,
        host varchar, device varchar,
        seconds double,           -- wall clock
        audio_seconds double,
        peak_memory_bytes bigint
    )
    """,
    """
    create table told (yes boolean)  -- one row, once the kept ledger has been read
    """,
    """
    create table archives (
        name varchar,             -- a known name, or the URL
        dest varchar,             -- the folder it is extracted to
        url varchar,
        streamed boolean,         -- members were used before the sum of the whole could hold
        expected_md5 varchar,
        content_length bigint,    -- bytes
        etag varchar,
        bytes_done bigint,
        md5 varchar,
        verified varchar,         -- published-md5, given-md5 or self-hashed
        state varchar,            -- downloading, verified, extracted, failed, wrong_sum or damaged
        error varchar,
        num_members bigint,       -- files extracted
        num_refused bigint,
        refused json,             -- reason -> members, first
        started_at timestamp, written_at timestamp, finished_at timestamp,  -- UTC
        record_id varchar
    )
    """,
    """
    alter table artifacts add column tally json default '{}'  -- what is counted of its kept rows
    """,
    """
    create table consents (
        voice varchar,            -- audio:<digest of what decodes>, or speaker:<corpus>/<speaker_id>
        said_at timestamp,        -- UTC
        prompt varchar,           -- the file or the utterance that it was said of first
        said_by varchar, host varchar
    )
    """,
    """
    alter table artifacts add column sha256 varchar default ''  -- of the file; '' where nobody has kept it
    """,
    value_sums.LAYOUT,
    """
    create table ratings (
        test_id varchar,          -- one sitting of one listener
        version varchar,          -- fingerprint of the samples
        listener varchar, seed bigint,
        place integer,            -- 1, 2, … in the order of the sitting
        sample_a varchar, sample_b varchar,
        system_a varchar, system_b varchar,
        preferred varchar,        -- a, b, or null: neither
        host varchar,
        taken_at timestamp        -- UTC
    )
    """,
    foreign_scores.LAYOUT,
    """
    alter table consents add column said_last_at timestamp;   -- UTC; null where nobody has agreed
    alter table consents add column withdrawn_at timestamp;    -- UTC; it holds where it is later than that
    update consents set said_last_at = said_at
    """,
    """
    create table committed (name varchar)  -- of the commit that this is, in a warehouse on an object store
    """,
    """
    alter table committed add column asked varchar default ''  -- digest of what else its views were made of
    """,
)


def migrate(db: duckdb.DuckDBPyConnection) -> None:
    """Bring a private database to the newest layout, in one transaction."""
    db.begin()
    db.execute("create table if not exists migrations (number integer)").fetchall()
    [(done,)] = db.sql("select count(*) from migrations").fetchall()
    for number, sql in enumerate(MIGRATIONS[done:], start=done):
        db.execute(sql).fetchall()
        db.execute("insert into migrations values (?)", [number]).fetchall()
    db.commit()


def current(db: duckdb.DuckDBPyConnection) -> str:
    """What DuckDB calls the database that a connection is to."""
    [(name,)] = db.sql("select current_database()").fetchall()
    return str(name)


def attach(db: duckdb.DuckDBPyConnection, path: Path, name: str) -> None:
    """Open another file beside a database, a new one if it is not there."""
    quoted = str(path).replace("'", "''")
    db.execute(f"attach '{quoted}' as {name} (storage_version '{STORAGE}')").fetchall()


def copy_all(db: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write all of a private database to a new file."""
    attach(db, path, "whole")
    db.execute(f'copy from database "{current(db)}" to whole').fetchall()
    db.execute("detach whole").fetchall()


def open_waiting(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a database read-write, waiting for another process that has it open.

    Raises:
        WorkFailed: that one does not let go of it, or the disk is full.
        Mistake: it is no database.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return duckdb.connect(path, config={"storage_compatibility_version": STORAGE})
        except duckdb.Error as error:
            said = " ".join(str(error).split())
            if is_full_disk(error):
                raise WorkFailed(f"{path}: {FULL}") from error
            if "Could not set lock" not in said:
                raise Mistake(f"{path} cannot be opened; `valle catalogue rebuild` makes it anew: {said}") from error
            if time.monotonic() > deadline:
                holder = said.partition("Conflicting lock is held in ")[2].partition(" See also")[0] or "unknown"
                raise WorkFailed(
                    f"{path} has been held by another process for {PATIENCE:.0f} s ({holder.rstrip('. ')}); what is "
                    "made is kept, and the next run takes it up"
                ) from error
            time.sleep(random.uniform(0.02, 0.2))


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Says of a database that opens and cannot be read what mends it, and of a full disk that it is one."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        if is_full_disk(error):
            raise WorkFailed(f"{path.parent}: {FULL}") from error
        if not isinstance(error, _DAMAGED):
            raise
        said = " ".join(str(error).split("\n\n")[0].split())
        raise Mistake(f"{path} cannot be used; `valle catalogue rebuild` makes it anew: {said}") from error
