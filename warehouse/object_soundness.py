"""Soundness of a warehouse on an object store: the objects that lie there against what catalogue and ledger say."""

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.errors import BrokenPromise
from warehouse.objects import Objects
from warehouse.soundness import CUT, DAMAGED, MISSING, UNKNOWN, Finding, found
from warehouse.store import list_shards, place_of, read_shard
from warehouse.tables import TABLES
from warehouse.working_copy import shard_of

_AT_ONCE = 16  # requests
_REMADE = "the next `valle run` makes it again"


def look(root: Path, objects: Objects, *, quick: bool = False) -> list[Finding]:
    """All that is wrong with the shards, in order of their names. What was written over by nothing is no finding.

    Args:
        quick: look at names and sizes alone.
    """
    artifacts = list(Catalogue(root).published_artifacts().values())
    for record in ledger.read(ledger.waiting(root)):
        if isinstance(record, ledger.Record) and record.artifact:
            artifacts.append(record.artifact)
    known = {place_of(root, artifact): artifact for artifact in {one.path: one for one in artifacts}.values()}
    tables = sorted({artifact.table_name for artifact in known.values()} | {table.name for table in TABLES})
    there = list_shards(root, tables)
    paths = {artifact.path for artifact in known.values()}

    def one(name: str) -> Finding | None:
        if name not in known:
            if shard_of(name)[0] in paths:
                return None  # an older file of a shard that was made again
            try:
                read_shard(root, name)
            except BrokenPromise as error:
                return found(DAMAGED, name, str(error), "nothing reads it; remove it")
            return found(UNKNOWN, name, "no record tells of it", "the next `valle run` takes it into the catalogue")
        if name not in there:
            return found(MISSING, name, "the catalogue knows it, and it is not there", _REMADE)
        if there[name] != known[name].bytes:
            return found(CUT, name, f"it has {there[name]} bytes of {known[name].bytes}", _REMADE)
        if not quick and sha256(objects.get(name)).hexdigest() != known[name].sha256:
            return found(DAMAGED, name, "its bytes are others than were written", f"remove it, and {_REMADE}")
        return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [finding for finding in pool.map(one, sorted(known.keys() | there.keys())) if finding]
