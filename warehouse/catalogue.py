"""The catalogue: one DuckDB file that knows every shard ever made, and how.

DuckDB locks its file against every other process while one writes, and a
reader blocks the writer. So nobody reads the file that is written: a private
database takes up the ledger under DuckDB's own lock, and a copy of it with all
the views is published as `catalogue.duckdb` by rename. Whoever holds an older
copy open keeps it. Both can be rebuilt from the shards and the ledger.
"""

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa

from warehouse import catalogue_rows, foreign_scores, ledger, value_sums
from warehouse.errors import FULL, BrokenPromise, Mistake, WorkFailed, is_full_disk
from warehouse.plan import Artifacts, StagePlan, Wanted, excuse_again, from_json, plan, to_json
from warehouse.query import connect
from warehouse.statistics import INDEX, PUBLISHED, VIEWS, create_views
from warehouse.store import Artifact, clear_unfinished, list_shards, read_artifact, write_atomically
from warehouse.tables import TABLES
from warehouse.tallies import names_of_tallies, tally_shard

PATIENCE = 60.0  # seconds to wait for another process to let go of the private database
_THREADS = threading.Lock()  # DuckDB's lock is between processes; threads of one process share its database
FOLDERS = ("audio", "ledger", "logs", "recipes")  # of a root, beside a folder for each table
_DAMAGED = (duckdb.IOException, duckdb.SerializationException, duckdb.InternalException, duckdb.FatalException)
STORAGE = "v1.5.0"  # the oldest DuckDB that can read what is published

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
)


@dataclass(frozen=True)
class LastRun:
    """What the last run asked for, from `recipes/<name>.json`."""

    name: str
    options: dict[str, Any]  # the words it was asked with: recipe, settings, audio, …
    stages: list[Wanted]
    ran_at: float  # seconds since 1970


class Catalogue:
    """The index of one warehouse. Any process may hold one; they wait for each other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.published = root / "catalogue.duckdb"
        self._private = root / ".catalogue.duckdb"

    def take_up(self, *, look_at_disk: bool = False) -> list[StagePlan]:
        """Take up the ledger, publish, and return what the last run asked for against what exists.

        Args:
            look_at_disk: compare with the shards that lie there, too. Shards whose writer was killed before it
                left a record are found then, and shards that somebody deleted are forgotten.
        """
        with self._open() as db:
            waiting = ledger.waiting(self.root)  # listed under the lock: nobody else takes these
            records = list(ledger.read(waiting))
            catalogue_rows.insert(db, records)
            if look_at_disk:
                self._look_at_disk(db)
            plans = self.plan(catalogue_rows.artifacts(db))
            if look_at_disk:
                value_sums.count_old(db, self.root, plans)
            self._publish(db, plans)
            ledger.keep(self.root, records, waiting)
            return plans

    def trouble(self) -> str | None:
        """Why the private database cannot be used, if so. One that another process has open can."""
        if not self._private.exists():
            return None  # it is made when it is needed
        try:
            with closing(duckdb.connect(self._private, read_only=True)) as db:
                db.execute("select count(*) from artifacts").fetchall()
        except duckdb.Error as error:
            said = " ".join(str(error).split())
            return None if "Could not set lock" in said or "same database file" in said else said
        return None

    def rebuild(self) -> tuple[int, int]:
        """Make the catalogue anew from shards and ledger. Returns how many artifacts and runs it holds.

        Whoever reads meanwhile reads what was published before.
        """
        try:
            with self._open() as db:
                for table in (*PUBLISHED, "value_counts", "summed"):
                    db.execute(f"delete from {table}").fetchall()
                db.execute("delete from told").fetchall()  # last: until then nothing is lost
        except (duckdb.Error, Mistake):  # damaged, perhaps beyond opening
            for path in self.root.glob(f"{self._private.name}*"):
                path.unlink()
        self.take_up(look_at_disk=True)
        with self._open() as db:
            [(artifacts, runs)] = db.sql(
                "select (select count(*) from artifacts), (select count(*) from runs)"
            ).fetchall()
        return artifacts, runs

    def remember(self, name: str, stages: list[Wanted], options: dict[str, Any]) -> None:
        """Let views, status and rerun follow this recipe from now on.

        Raises:
            Mistake: one of its tables has a name that the warehouse needs itself.
        """
        for stage in stages:
            if stage.table in (*VIEWS, *INDEX, *FOLDERS):
                kind = "folder" if stage.table in FOLDERS else "view"
                raise Mistake(f"a table cannot be called {stage.table!r}: a warehouse has a {kind} of that name")
        said = {"name": name, "ran_at": time.time(), "options": options, "stages": to_json(stages)}
        write_atomically(self.root / "recipes" / f"{name}.json", json.dumps(said, indent=1).encode())

    def last_run(self) -> LastRun:
        """What the last run asked for.

        Raises:
            Mistake: nothing has run here yet, or what a run has left is damaged.
        """
        if damaged := self.damaged_recipes():
            raise Mistake(f"{damaged[0]} is damaged; run its recipe again, which writes it anew, or remove it")
        if not (last := self._last_run()):
            raise Mistake(f"{self.root} is not a warehouse: no recipe has run there; `valle run --root` makes one")
        return last

    def recipes(self) -> list[list[Wanted]]:
        """What the last run of each recipe asked for."""
        return [run.stages for _, run in self._runs() if run]

    def damaged_recipes(self) -> list[Path]:
        """Files of what a recipe's last run asked for that cannot be read."""
        return [path for path, run in self._runs() if not run]

    def excused(self, stages: list[Wanted]) -> list[Wanted]:
        """A recipe with what the last run excused, as far as it still asks for the same."""
        last = self._last_run()
        return excuse_again(stages, last.stages) if last else stages

    def artifacts(self) -> dict[tuple[str, str, str], Artifact]:
        """Every shard that exists, by table, shard and fingerprint: what is published, put right by a look at the disk.

        Changes nothing.
        """
        artifacts = {}
        if self.published.exists():
            with closing(connect(self.root)) as db, _whole(self.published):
                artifacts = catalogue_rows.artifacts(db)
        gone, found = self._differences(artifacts)
        lost = set(gone)
        there = [artifact for artifact in artifacts.values() if artifact.path not in lost] + found
        return {(artifact.table_name, artifact.shard, artifact.fingerprint): artifact for artifact in there}

    def plan(self, artifacts: Artifacts) -> list[StagePlan]:
        """The last run's recipe against these artifacts."""
        last = self._last_run()
        return plan(last.stages, artifacts) if last else []

    def _last_run(self) -> LastRun | None:
        """Of the runs that can be read; a full disk may have damaged what another has left."""
        return max((run for _, run in self._runs() if run), key=lambda run: run.ran_at, default=None)

    def _runs(self) -> Iterator[tuple[Path, LastRun | None]]:
        """What each recipe's last run asked for; None where its file is damaged."""
        for path in sorted((self.root / "recipes").glob("[!.]*.json")):
            try:
                said = json.loads(path.read_bytes())
                yield path, LastRun(said["name"], said["options"], from_json(said["stages"]), float(said["ran_at"]))
            except (ValueError, KeyError, TypeError):
                yield path, None

    def _look_at_disk(self, db: duckdb.DuckDBPyConnection) -> None:
        artifacts = catalogue_rows.artifacts(db)
        clear_unfinished(self.root, self._tables(artifacts))
        gone, found = self._differences(artifacts)
        db.execute("delete from artifacts where path in (select unnest(?::varchar[]))", [gone]).fetchall()
        catalogue_rows.insert_artifacts(db, found)
        self._tally_what_is_not(db)

    def _tally_what_is_not(self, db: duckdb.DuckDBPyConnection) -> None:
        """Open the shards that were written before what is counted of them now was counted."""
        for table, names in names_of_tallies().items():
            found = db.execute(
                "select path, inputs from artifacts where table_name = ? "
                "and list_sort(json_keys(coalesce(tally, '{}'))) <> list_sort(?::varchar[])",
                [table, names],
            ).fetchall()
            for path, inputs in found:
                with suppress(OSError, pa.ArrowException):  # of other columns than ours, or unreadable: not counted
                    tally = tally_shard(self.root, table, path, inputs)
                    db.execute("update artifacts set tally = ? where path = ?", [tally, path]).fetchall()

    def _differences(self, artifacts: Artifacts) -> tuple[list[str], list[Artifact]]:
        """Paths that are known and not there, or not of their size, and shards that are there and not known."""
        known = {artifact.path: artifact.bytes for artifact in artifacts.values()}
        there = list_shards(self.root, self._tables(artifacts))
        gone = [path for path, size in known.items() if there.get(path) != size]
        found = []
        for path in sorted(there.keys() - (known.keys() - set(gone))):
            with suppress(BrokenPromise):  # not ours, or damaged: as good as absent, and made again
                found.append(read_artifact(self.root, self.root / path))
        return gone, found

    def _tables(self, artifacts: Artifacts) -> list[str]:
        """Tables that may have shards on disk: every folder whose shards have fingerprints."""
        known = {table for table, _, _ in artifacts}
        last = self._last_run()
        wanted = {stage.table for stage in last.stages} if last else set()
        return sorted(known | wanted | {table.name for table in TABLES})

    def _publish(self, db: duckdb.DuckDBPyConnection, plans: list[StagePlan]) -> None:
        for leftover in self.root.glob(".publishing-*"):
            leftover.unlink()
        unfinished = self.root / f".publishing-{uuid4().hex}"
        value_sums.add_up(db, plans)
        uncounted = value_sums.uncounted(db, plans)
        db.execute(f"attach '{_quoted(unfinished)}' as copy (storage_version '{STORAGE}')").fetchall()
        for table in PUBLISHED:
            db.execute(f"create table copy.{table} as from {table}").fetchall()
        db.execute("detach copy").fetchall()
        with closing(duckdb.connect(unfinished)) as copy:
            create_views(copy, self.root.resolve(), plans, uncounted)
        unfinished.replace(self.published)

    @contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The private database, migrated, under DuckDB's own lock on its file.

        Raises:
            Mistake: DuckDB can keep no database there: it reads the end of a path from a question mark on as options.
        """
        if "?" in str(self.root):
            raise Mistake(
                f"{self.root} has a question mark in its path, and DuckDB writes no database there; rename it"
            )
        self.root.mkdir(parents=True, exist_ok=True)
        ledger.folder(self.root).mkdir(exist_ok=True)
        with _THREADS, closing(_connect(self._private)) as db, _whole(self._private):
            migrate(db)
            self._tell(db)
            yield db

    def _tell(self, db: duckdb.DuckDBPyConnection) -> None:
        """Tell a new database what those before it had taken up."""
        if db.sql("select count(*) from told").fetchall() == [(0,)]:
            catalogue_rows.insert(db, list(ledger.read(ledger.kept(self.root))))
            db.execute("insert into told values (true)").fetchall()


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
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
def _whole(path: Path) -> Iterator[None]:
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


def migrate(db: duckdb.DuckDBPyConnection) -> None:
    """Bring a private database to the newest layout, one transaction for each step."""
    db.execute("create table if not exists migrations (number integer)").fetchall()
    [(done,)] = db.sql("select count(*) from migrations").fetchall()
    for number, sql in enumerate(MIGRATIONS[done:], start=done):
        db.execute("begin").fetchall()
        db.execute(sql).fetchall()
        db.execute("insert into migrations values (?)", [number]).fetchall()
        db.execute("commit").fetchall()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
