"""The catalogue: one DuckDB file that knows every shard ever made, and how.

DuckDB locks its file against every other process while one writes, and a
reader blocks the writer. So nobody reads the file that is written: a private
database takes up the ledger under DuckDB's own lock, and a copy of it with all
the views is published as `catalogue.duckdb` by rename. Whoever holds an older
copy open keeps it. Both can be rebuilt from the shards and the ledger.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa

from warehouse import asked, catalogue_rows, commits, ledger, value_sums
from warehouse.copies import fetch
from warehouse.errors import BrokenPromise, Mistake
from warehouse.fingerprint import short_hash
from warehouse.objects import Objects
from warehouse.plan import Artifacts, StagePlan, Wanted, excuse_again, plan
from warehouse.private_database import copy_all, migrate, open_waiting, whole
from warehouse.publishing import publish
from warehouse.query import connect, published
from warehouse.statistics import INDEX, PUBLISHED, VIEWS
from warehouse.store import Artifact, clear_unfinished, list_shards, place_of, read_shard
from warehouse.tables import TABLES
from warehouse.tallies import names_of_tallies, tally_shard
from warehouse.working_copy import here, objects_of, shard_file, shard_of
from warehouse.working_copy import said as said_of

_THREADS = threading.Lock()  # DuckDB's lock is between processes; threads of one process share its database
FOLDERS = ("audio", "ledger", "logs", asked.FOLDER)  # of a root, beside a folder for each table
_MAKE_VIEWS = sorted(path for kind in ("*.py", "views/*.sql") for path in Path(__file__).parent.glob(kind))
VERSION_OF_VIEWS = short_hash("".join(path.read_text("utf-8") for path in _MAKE_VIEWS))


class Catalogue:
    """The index of one warehouse. Any process may hold one; they wait for each other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._private = root / ".catalogue.duckdb"

    @property
    def published(self) -> Path:
        """The file that holds what is published; of an object store, the newest commit's, fetched where it is not here.

        Where nothing is published there is none.
        """
        return published(self.root)

    def take_up(self, *, look_at_disk: bool = False, forget_before: bool = False) -> list[StagePlan]:
        """Take up the ledger, publish, and return what the last run asked for against what exists.

        Args:
            look_at_disk: compare with the shards that lie there, too. Shards whose writer was killed before it
                left a record are found then, and shards that somebody deleted are forgotten.
            forget_before: of an object store, the commits before; see `warehouse.commits`.
        """
        if objects := objects_of(self.root):
            return self._commit(objects, look_at_disk=look_at_disk, forget_before=forget_before)
        with self._open() as db:
            return self._publish(db, look_at_disk=look_at_disk)

    def _publish(self, db: duckdb.DuckDBPyConnection, *, look_at_disk: bool) -> list[StagePlan]:
        """As `take_up`, in a folder; also where nothing is new: there are five ways to a file that then stays old."""
        waiting = ledger.waiting(self.root)  # listed under the lock: nobody else takes these
        plans, records, _ = self._bring_up(db, waiting, asked.last_run(self.root), look_at_disk=look_at_disk)
        self._copy(db, plans).replace(self.published)
        ledger.keep(self.root, records, waiting)
        return plans

    def _commit(
        self, objects: Objects, *, look_at_disk: bool, anew: bool = False, forget_before: bool = False
    ) -> list[StagePlan]:
        """As `take_up`, where there are no locks: what is made of a commit is committed, if it is still the newest.

        Where there is nothing new, and recipes ask for the same, nothing is: readers may name the last few alone.
        """
        waiting: list[Path] = []
        records: list[ledger.Entry] = []
        plans: list[StagePlan] = []

        def fold(base: commits.Head | None, name: str) -> dict[str, bytes] | None:
            nonlocal waiting, records, plans
            early: list[ledger.Entry] = []
            if anew:
                early = list(ledger.read(ledger.waiting(self.root)))  # others may be moving them just now
                self._forget()
            with self._open_at(objects, None if anew else base) as db:
                catalogue_rows.insert(db, early)
                waiting = ledger.waiting(self.root)  # since HEAD was read: who has taken up others has moved it
                last = asked.last_run(self.root)
                shown = short_hash(f"{last.digest if last else ''} {VERSION_OF_VIEWS} {objects.url}")
                before = db.sql("select asked from committed").fetchall()
                db.execute("delete from committed").fetchall()  # whoever fails from here on begins anew from HEAD
                plans, records, is_new = self._bring_up(db, waiting, last, look_at_disk=look_at_disk)
                is_new = is_new or anew or forget_before or before != [(shown,)]
                insert = "insert into committed values (?, ?)"
                db.execute(insert, [name if is_new or not base else base.name, shown]).fetchall()
                if base and not is_new:
                    return None
                all_of_it = self.root / f".committing-{uuid4().hex}"
                copy_all(db, all_of_it)
                copies = dict(zip(commits.FILES, (self._copy(db, plans), all_of_it), strict=True))
            try:
                return {file: path.read_bytes() for file, path in copies.items()}
            finally:
                for path in copies.values():
                    path.unlink()

        commits.commit(objects, fold, forget_before=forget_before)
        ledger.keep(self.root, records, waiting)
        return plans

    def _bring_up(
        self, db: duckdb.DuckDBPyConnection, waiting: list[Path], last: asked.LastRun | None, *, look_at_disk: bool
    ) -> tuple[list[StagePlan], list[ledger.Entry], bool]:
        """Put into the private database what it does not have: these files of the ledger, and the shards there are.

        Returns what the last run asked for against it, the records, and whether anything was new.
        """
        records = list(ledger.read(waiting))
        catalogue_rows.insert(db, records)
        is_new = bool(look_at_disk and self._look_at_disk(db)) or bool(waiting)
        plans = plan(last.stages, catalogue_rows.artifacts(db)) if last else []
        if look_at_disk and value_sums.count_old(db, self.root, plans):
            is_new = True
        return plans, records, is_new

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
        if objects := objects_of(self.root):
            commits.forget_damaged(objects)
            self._commit(objects, look_at_disk=True, anew=True)
            with closing(connect(self.root)) as db:
                return catalogue_rows.sizes(db)
        try:
            with self._open() as db:
                db.begin()  # a database that has forgotten, and not that it was told, would never hear of it again
                for table in ("told", *PUBLISHED, "value_counts", "summed"):
                    db.execute(f"delete from {table}").fetchall()
                db.commit()
        except (duckdb.Error, Mistake):  # damaged, perhaps beyond opening
            self._forget()
        with self._open() as db:
            self._publish(db, look_at_disk=True)
            return catalogue_rows.sizes(db)

    def remember(self, name: str, stages: list[Wanted], options: dict[str, Any]) -> None:
        """Let views, status and rerun follow this recipe from now on.

        Raises:
            Mistake: one of its tables has a name that the warehouse needs itself.
        """
        for stage in stages:
            if stage.table in (*VIEWS, *INDEX, *FOLDERS):
                kind = "folder" if stage.table in FOLDERS else "view"
                raise Mistake(f"a table cannot be called {stage.table!r}: a warehouse has a {kind} of that name")
        asked.remember(self.root, name, stages, options)

    def last_run(self) -> asked.LastRun:
        """What the last run asked for.

        Raises:
            Mistake: nothing has run here yet, or what a run has left is damaged.
        """
        if damaged := self.damaged_recipes():
            raise Mistake(f"{damaged[0]} is damaged; run its recipe again, which writes it anew, or remove it")
        if not (last := asked.last_run(self.root)):
            raise Mistake(
                f"{said_of(self.root)} is not a warehouse: no recipe has run there; `valle run --root` makes one"
            )
        return last

    def recipes(self) -> list[list[Wanted]]:
        """What the last run of each recipe asked for."""
        return [run.stages for _, run in asked.runs(self.root) if run]

    def damaged_recipes(self) -> list[Path]:
        """Files of what a recipe's last run asked for that cannot be read."""
        return [path for path, run in asked.runs(self.root) if not run]

    def excused(self, stages: list[Wanted]) -> list[Wanted]:
        """A recipe with what the last run excused, as far as it still asks for the same."""
        last = asked.last_run(self.root)
        return excuse_again(stages, last.stages) if last else stages

    def artifacts(self) -> dict[tuple[str, str, str], Artifact]:
        """Every shard that exists, by table, shard and fingerprint: what is published, put right by a look at the disk.

        Changes nothing.
        """
        artifacts = self.published_artifacts()
        gone, found = self._differences(artifacts)
        lost = set(gone)
        there = [artifact for artifact in artifacts.values() if artifact.path not in lost] + found
        return {(artifact.table_name, artifact.shard, artifact.fingerprint): artifact for artifact in there}

    def published_artifacts(self) -> dict[tuple[str, str, str], Artifact]:
        """Every shard that the published catalogue knows, by table, shard and fingerprint."""
        file = self.published
        if not file.exists():
            return {}
        with closing(connect(self.root)) as db, whole(file):
            return catalogue_rows.artifacts(db)

    def plan(self, artifacts: Artifacts) -> list[StagePlan]:
        """The last run's recipe against these artifacts."""
        last = asked.last_run(self.root)
        return plan(last.stages, artifacts) if last else []

    def _look_at_disk(self, db: duckdb.DuckDBPyConnection) -> bool:
        """Puts what is there in the place of what is known; whether that is anything else."""
        artifacts = catalogue_rows.artifacts(db)
        clear_unfinished(self.root, self._tables(artifacts))
        gone, found = self._differences(artifacts)
        db.execute("delete from artifacts where path in (select unnest(?::varchar[]))", [gone]).fetchall()
        catalogue_rows.insert_artifacts(db, found)
        return bool(self._tally_what_is_not(db) or gone or found)

    def _tally_what_is_not(self, db: duckdb.DuckDBPyConnection) -> int:
        """Open the shards that were written before what is counted of them now was counted; how many were."""

        def file_of(path: str) -> Path:
            if not (said := db.execute("select sha256 from artifacts where path = ?", [path]).fetchone()):
                raise FileNotFoundError(path)
            return here(shard_file(self.root, path, said[0] or ""))

        tallied = 0
        for table, names in names_of_tallies().items():
            found = db.execute(
                "select path, inputs from artifacts where table_name = ? "
                "and list_sort(json_keys(coalesce(tally, '{}'))) <> list_sort(?::varchar[])",
                [table, names],
            ).fetchall()
            for path, inputs in found:
                with suppress(OSError, pa.ArrowException):  # of other columns than ours, or unreadable: not counted
                    tally = tally_shard(file_of, table, path, inputs)
                    db.execute("update artifacts set tally = ? where path = ?", [tally, path]).fetchall()
                    tallied += 1
        return tallied

    def _differences(self, artifacts: Artifacts) -> tuple[list[str], list[Artifact]]:
        """Paths that are known and not there, or not of their size, and shards that are there and not known."""
        known = {place_of(self.root, artifact): artifact for artifact in artifacts.values()}
        there = list_shards(self.root, self._tables(artifacts))
        gone = {artifact.path for place, artifact in known.items() if there.get(place) != artifact.bytes}
        sound = {artifact.path for artifact in known.values()} - gone
        found: dict[str, Artifact] = {}
        for place in sorted(there.keys() - {place for place, artifact in known.items() if artifact.path in sound}):
            if self._is_replaced(place, sound):
                continue
            with suppress(BrokenPromise):  # not ours, or damaged: as good as absent, and made again
                artifact = read_shard(self.root, place)
                if artifact.path not in found or found[artifact.path].made_at < artifact.made_at:
                    found[artifact.path] = artifact
        return sorted(gone), list(found.values())

    def _is_replaced(self, place: str, sound: set[str]) -> bool:
        """Whether a file is an older one of a shard that is known: at an object store nothing is written over."""
        return bool(objects_of(self.root)) and shard_of(place)[0] in sound

    def _tables(self, artifacts: Artifacts) -> list[str]:
        """Tables that may have shards on disk: every folder whose shards have fingerprints."""
        known = {table for table, _, _ in artifacts}
        last = asked.last_run(self.root)
        wanted = {stage.table for stage in last.stages} if last else set()
        return sorted(known | wanted | {table.name for table in TABLES})

    def _copy(self, db: duckdb.DuckDBPyConnection, plans: list[StagePlan]) -> Path:
        """A file with what is published, and all views."""
        for leftover in () if objects_of(self.root) else self.root.glob(".publishing-*"):
            leftover.unlink()
        unfinished = self.root / f".publishing-{uuid4().hex}"
        value_sums.add_up(db, plans)
        publish(db, unfinished, self.root.resolve(), plans, value_sums.uncounted(db, plans))
        return unfinished

    @contextmanager
    def _open_at(self, objects: Objects, base: commits.Head | None) -> Iterator[duckdb.DuckDBPyConnection]:
        """The private database as it was committed; another process of this machine may have gone on with it."""
        fetched = False
        while True:
            with ExitStack() as stack:
                committed = None
                try:
                    db = stack.enter_context(self._open())
                    committed = db.sql("select name from committed").fetchall()
                except (duckdb.Error, Mistake):  # what lay here may be damaged; what was fetched is not fetched again
                    if fetched:
                        raise
                if committed == ([(base.name,)] if base else []):
                    yield db
                    return
            self._forget()
            fetched = True
            if base:
                fetch(objects, f"{base.folder}/{commits.FILES[1]}", self._private)

    def _forget(self) -> None:
        """Remove the private database, with what DuckDB keeps beside it."""
        for path in self.root.glob(f"{self._private.name}*"):
            path.unlink()

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
        with _THREADS, closing(open_waiting(self._private)) as db, whole(self._private):
            migrate(db)
            self._tell(db)
            yield db

    def _tell(self, db: duckdb.DuckDBPyConnection) -> None:
        """Tell a new database what those before it had taken up."""
        if db.sql("select count(*) from told").fetchall() == [(0,)]:
            catalogue_rows.insert(db, list(ledger.read(ledger.kept(self.root))))
            db.execute("insert into told values (true)").fetchall()
