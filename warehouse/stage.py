"""What every stage of the pipeline is: a maker of one table out of others, a shard at a time.

A stage is a frozen dataclass. Its fields are its settings, and with `version`
and everything upstream they name its results, so a stage is a function of its
inputs and its settings and of nothing else; it may be killed and run again at
any moment. A field marked `field(compare=False)` says *where* a stage works
(a folder, a device, a batch size), not *what* it makes.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from warehouse.errors import Mistake
from warehouse.tables import Table

SourceFiles = Mapping[str, tuple[int, int]]  # path relative to the corpus -> bytes, mtime in ns


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one worker of a stage holds while it works."""

    cpus: float = 1.0
    gpus: float = 0.0


def same_as(setting: str, default: Any) -> Any:
    """A field that takes its value from another stage of the recipe, `TABLE.FIELD`; alone, its default."""
    return field(default=default, compare=False, metadata={"same_as": setting})


def in_range(setting: str, value: float, low: float, high: float = math.inf, *, above: bool = False) -> None:
    """Nothing, where a setting is a finite number from `low` to `high`; with `above`, one above `low`.

    Raises:
        Mistake: it is not, in a sentence that names the setting, its value and its range.
    """
    if low <= value <= high and value < math.inf and not (above and value == low):
        return
    if above:
        wanted = f"above {low:,}" + (f", and {high:,} at most" if high < math.inf else "")
    else:
        wanted = f"from {low:,} to {high:,}" if high < math.inf else f"{low:,} or more"
    raise Mistake(f"{setting} is {value}; it must be {wanted}")


@runtime_checkable
class Stage(Protocol):
    """Makes one table out of others.

    Called with one Arrow dataset for each table it takes, it returns the rows of
    one shard, in the schema of the table it makes. Where that table has `files`,
    it is called with two more words: `shard`, the shard's name, and `folder`, a
    folder of its own for them, which outlives a kill.

    A stage whose table has the same key as the first table it takes is one to
    one: it gives a row, kept or dropped, for every kept row of that table.

    It may also have a method `identity() -> dict[str, object]`: what stands in
    its fingerprint for settings whose words alone do not name a result, such as
    the hash of the weights in place of the name of a model.

    A row over which its worker crashes again and again is dropped as `poison` without asking the stage, where it is one
    to one. Another has a method `poisoned(row) -> list[dict]`: what rows tell of such a row of the first table that it
    takes, less `dropped` and `detail`.

    One that works long in a folder may have a method `how_far(folder) -> str | None`: how far it is, in words that
    are shown while it works.

    One whose table must make sense as a whole may have a method `controls(rows) -> Iterable[str]`: what is wrong with
    all of its shards together, each in a sentence. A run after which they are all there fails if anything is.

    One that reads its datasets' files one by one, by `warehouse.working_copy.here`, and sends what it writes by
    `mirrored`, may have `fetches = True`: of a warehouse on an object store nothing is fetched before it asks.

    A field marked `same_as("codes.model")` is another stage's setting, which this
    one has to share: the recipe hands it on, and it counts in the fingerprint above.
    """

    @property
    def makes(self) -> Table: ...

    @property
    def takes(self) -> tuple[Table, ...]: ...

    @property
    def needs(self) -> Resources: ...

    @property
    def version(self) -> int:
        """Raise it when the same settings would give other rows."""

    @property
    def gathers(self) -> bool | tuple[str, ...]:
        """Whether it reads every shard to make one called `all`, or those named here."""

    def __call__(self, *inputs: Any, **where: Any) -> pa.Table: ...


@runtime_checkable
class Source(Stage, Protocol):
    """A stage that takes nothing, so it has to say what its shards are.

    `shards` gives their names, and better the files that each is made from: then
    audio added, changed or removed is noticed on the next run. Called with the name
    of a shard, it returns its rows.

    Where one bad file should not take a shard down with its worker, it has a method `items(shard)`, the names of what
    is opened for a shard, and is called with `without` as well: names whose rows only say why, in `detail`.

    It may also have a method `provide() -> None`, which a run calls before anything
    else: there a source whose corpus is made, rather than found, makes it.
    """

    def shards(self) -> Mapping[str, SourceFiles] | Iterable[str]: ...
