"""Commits: a catalogue on an object store is a row of numbered copies, and a small HEAD that says which one holds.

A commit begins at what HEAD says, folds in the records that wait, writes a copy under a name of its own and swaps HEAD
for one that names it, if nobody else has done so meanwhile; else it begins anew. Only then do the records go to where
they stay. So whoever is killed, at whatever moment, has committed or has not, and a record counts once: by its id.
"""

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import uuid4

from warehouse.errors import Mistake, WorkFailed
from warehouse.objects import Objects, Refused

HEAD, FOLDER = "catalogue/HEAD.json", "catalogue"
FILES = ("catalogue.duckdb", "private.duckdb")  # of a commit: for readers, and for the next commit
ANEW = "`valle catalogue rebuild` makes the catalogue anew"
KEPT = 20  # copies before the newest, which readers may still have named
_ATTEMPTS = 50


@dataclass(frozen=True)
class Head:
    """The commit that holds."""

    number: int
    name: str  # of its folder
    before: tuple[str, ...]  # the names of those before it that are still there, the oldest first
    etag: str  # of HEAD itself

    @property
    def folder(self) -> str:
        """Where its files lie."""
        return f"{FOLDER}/{self.name}"


class Damaged(Mistake):
    """What HEAD says cannot be read, or what it names is gone."""


def head(objects: Objects) -> Head | None:
    """The commit that holds; null where nobody has committed anything.

    Raises:
        Damaged: HEAD cannot be read.
    """
    try:
        said, etag = objects.get_tagged(HEAD)
    except FileNotFoundError:
        return None
    try:
        told = json.loads(said)
        return Head(int(told["number"]), str(told["name"]), tuple(map(str, told.get("before", ()))), etag)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged(f"{objects.url}/{HEAD} is damaged; {ANEW}") from None


def forget_damaged(objects: Objects) -> None:
    """Removes a HEAD that cannot be read, so that the next commit is the first."""
    try:
        head(objects)
    except Damaged:
        objects.delete([HEAD])


def commit(
    objects: Objects,
    fold: Callable[[Head | None, str], Mapping[str, bytes] | None],
    pause: Callable[[float], None] = time.sleep,
    *,
    forget_before: bool = False,
) -> str:
    """Commit what `fold` makes of the commit that holds; the name of the new one, or of that one where it is as good.

    Args:
        fold: called with the commit that it begins at and the name that the new one will have; gives its files, or
            nothing where there is nothing to commit. It is called again where somebody else was faster, and takes what
            it does in between for undone.
        pause: waits so many seconds.
        forget_before: nobody is to name the commits before this one any more, for what they name may be gone.

    Raises:
        WorkFailed: others are always faster.
    """
    for attempt in range(_ATTEMPTS):
        base = head(objects)
        number = base.number + 1 if base else 1
        name = f"{number:08d}-{uuid4().hex[:8]}"
        before = [*base.before, base.name][-KEPT:] if base and not forget_before else []
        said = json.dumps({"number": number, "name": name, "before": before}).encode()
        try:
            if (files := fold(base, name)) is None and base:
                return base.name
            for file, data in (files or {}).items():
                objects.create(f"{FOLDER}/{name}/{file}", data)
            objects.swap(HEAD, said, base.etag if base else None)
        except (Refused, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError) and head(objects) == base:  # or others committed so often meanwhile
                raise Damaged(f"{objects.url} has lost its commit {base.name if base else ''}; {ANEW}") from error
            pause(random.uniform(0.0, 0.1 * 2 ** min(attempt, 6)))
            continue
        _tidy(objects, number if forget_before else number - KEPT)
        return name
    raise WorkFailed(f"{objects.url}: others committed {_ATTEMPTS} times meanwhile; what is made is kept, run again")


def _tidy(objects: Objects, oldest: int) -> None:
    """Remove copies that are older than readers may name, and those that nobody came to commit."""
    numbers = {path: path.split("/")[1][:8] for path in objects.list(FOLDER)}
    objects.delete(path for path, its in numbers.items() if its.isdigit() and int(its) < oldest)
