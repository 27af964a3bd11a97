"""A recipe is the pipeline, top to bottom: one line per stage.

It says *what* is made and is hashed; a site says *where* and never is. Settings
are the fields of the stages: `codes.model=embedded` sets the field `model` of
the stage that makes `codes`.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, fields, replace
from difflib import get_close_matches
from types import NoneType
from typing import Any, get_args, get_type_hints

from warehouse.errors import Mistake
from warehouse.fingerprint import ANY, describe, fingerprints, named_shards, short_hash
from warehouse.plan import Wanted
from warehouse.stage import Stage
from warehouse.statistics import INDEX, VIEWS

RESERVED = frozenset((*VIEWS, *INDEX, "audio", "ledger", "logs", "recipes"))  # what a warehouse itself calls so

PLACES = ("audio", "device", "launch", "root")
"""Fields that say where a stage works, which a site fills in."""

Listings = Mapping[str, Mapping[str, str]]  # by table, then shard


@dataclass(frozen=True)
class Recipe:
    """The stages in order, each taking only what a stage above it makes."""

    stages: tuple[Stage, ...]
    name: str = "recipe"

    def __post_init__(self) -> None:
        made: set[str] = set()
        for stage in self.stages:
            if missing := {table.name for table in stage.takes} - made:
                raise ValueError(f"{type(stage).__name__} takes {sorted(missing)}, which no stage above it makes")
            if not (name := stage.makes.name).isidentifier() or name in RESERVED:
                raise ValueError(f"{type(stage).__name__} cannot call its table {name!r}: a warehouse has that already")
            if name in made:
                raise ValueError(f"{type(stage).__name__} makes {name}, which a stage above it makes already")
            made.add(name)

    @property
    def tables(self) -> list[str]:
        """What is made, in order."""
        return [stage.makes.name for stage in self.stages]

    def fingerprints(self) -> dict[str, dict[str, str]]:
        """The fingerprints of every table, by table name and then by shard or `*`."""
        prints: dict[str, dict[str, str]] = {}
        for stage in self.stages:
            prints[stage.makes.name] = fingerprints(stage, {table.name: prints[table.name] for table in stage.takes})
        return prints

    def set(self, settings: Iterable[str]) -> "Recipe":
        """The recipe with settings of the form `TABLE.FIELD=VALUE` put in.

        Raises:
            Mistake: there is no such table or field, or the value is not of the field's type.
        """
        stages = {stage.makes.name: stage for stage in self.stages}
        for setting in settings:
            name, equals, value = setting.partition("=")
            table, dot, field = name.strip().partition(".")
            if not equals or not dot:
                raise Mistake(f"a setting reads TABLE.FIELD=VALUE, such as codes.model=embedded, not {setting!r}")
            if table not in stages:
                raise Mistake(f"recipe {self.name} makes no table {table!r}{closest(table, stages)}")
            stages[table] = set_field(stages[table], field, value)
        return replace(self, stages=tuple(stages.values()))

    def place(self, where: Mapping[str, Any]) -> "Recipe":
        """The recipe with the fields that say where a stage works put in, wherever a stage has them."""
        settings = {f"{s.makes.name}.{f.name}": getattr(s, f.name) for s in self.stages for f in _fields(s)}
        return replace(self, stages=tuple(_sharing(placed(stage, where), settings) for stage in self.stages))

    def until(self, table: str | None) -> list[str]:
        """The tables up to and with one, less trainings that it does not need; all of them, if none is said.

        Raises:
            Mistake: the recipe makes no such table.
        """
        if table is None:
            return self.tables
        if table not in self.tables:
            raise Mistake(f"recipe {self.name} makes no table {table!r}{closest(table, self.tables)}")
        needed: list[Stage] = []
        for stage in reversed(self.stages[: self.tables.index(table) + 1]):
            taken = {taken.name for other in needed for taken in other.takes}
            if not needed or not stage.makes.lasting or stage.makes.name in taken:
                needed.append(stage)
        return [stage.makes.name for stage in reversed(needed)]

    def listings(self) -> Listings:
        """For each source, its shards, each with the listing of its files as JSON.

        Raises:
            Mistake: the corpus is not there.
        """
        try:
            return {stage.makes.name: source_shards(stage) for stage in self.stages if not stage.takes}
        except (ValueError, FileNotFoundError) as error:
            raise Mistake(str(error)) from error

    def wanted(self, listings: Listings | None = None) -> list[Wanted]:
        """What the recipe asks for, as data. The sources are listed anew unless their listings are given.

        Raises:
            Mistake: a setting names weights or a corpus that is not there.
        """
        listings = self.listings() if listings is None else listings
        try:
            prints = self.fingerprints()
            return [_wanted(stage, prints[stage.makes.name], listings) for stage in self.stages]
        except (ValueError, FileNotFoundError) as error:  # weights that are not there
            raise Mistake(str(error)) from error


def set_field(stage: Stage, name: str, value: str) -> Stage:
    """A stage with one field set from text, read as the field's type says."""
    from pydantic import TypeAdapter, ValidationError  # heavy, and only needed here

    table, known = stage.makes.name, {f.name: f for f in _fields(stage)}
    if name not in known:
        raise Mistake(f"{table} has no setting {name!r}{closest(name, known)}")
    if shared := known[name].metadata.get("same_as"):
        raise Mistake(f"{table}.{name} is the same as {shared}, so it is set there")
    if name in PLACES and not known[name].compare:
        raise Mistake(f"{table}.{name} says where, so a site says it, or the command line: --root, --audio, --site")
    hint = get_type_hints(type(stage))[name]
    if value.lower() in ("none", "null") and NoneType in get_args(hint):
        return replace(stage, **{name: None})  # type: ignore[type-var]
    adapter = TypeAdapter(hint)
    for read in (value, _as_json(value)):
        try:
            return replace(stage, **{name: adapter.validate_python(read)})  # type: ignore[type-var]
        except ValidationError:
            continue
        except ValueError as error:  # the stage's own check
            raise Mistake(f"{table}.{name}={value}: {error}") from error
    raise Mistake(f"{table}.{name} is {_type_name(hint)}, and {value!r} is not")


def source_listing(files: Mapping[str, tuple[int, int]] | None) -> str:
    """The files a source's shard is made from, as JSON: path to size and mtime."""
    return json.dumps({"files": dict(sorted((files or {}).items()))})


def source_shards(stage: Any) -> dict[str, str]:
    """A source's shards, each with the listing of its files."""
    shards = stage.shards()
    named = shards if isinstance(shards, Mapping) else dict.fromkeys(shards)
    if wrong := [shard for shard in named if shard.startswith(".") or "/" in shard]:
        raise ValueError(f"a shard cannot be called {wrong[0]!r}: its name is that of a file, and not of a hidden one")
    return {shard: source_listing(files) for shard, files in named.items()}


def placed(stage: Stage, where: Mapping[str, Any]) -> Stage:
    """A stage with those fields put in that say where it works, as far as it has them."""
    places = {f.name: where[f.name] for f in _fields(stage) if not f.compare and f.name in where}
    return replace(stage, **places)  # type: ignore[type-var]


def is_one_to_one(stage: Stage) -> bool:
    """Whether a stage gives one row for every kept row of the first table it takes."""
    keys = [table.key for table in (stage.makes, *stage.takes)]
    return len(keys) > 1 and bool(keys[0]) and keys[0] == keys[1] and not stage.gathers


def closest(word: str, known: Iterable[str]) -> str:
    """What may have been meant, as the end of a sentence."""
    known = list(known)
    match = get_close_matches(word, known, n=1)
    return f"; did you mean {match[0]!r}?" if match else f"; it has {', '.join(known)}"


def _wanted(stage: Stage, prints: dict[str, str], listings: Listings) -> Wanted:
    shards = named_shards(stage)
    files = listings.get(stage.makes.name, {})
    return Wanted(
        table=stage.makes.name,
        takes=tuple(table.name for table in stage.takes),
        gathers=shards,
        lasting=stage.makes.lasting,
        one_to_one=is_one_to_one(stage),
        fingerprints=prints,
        stages={shard: describe(stage, shard) for shard in (shards if len(shards) > 1 else (ANY,))},
        sources={shard: short_hash(listing) for shard, listing in files.items()},
        schema=b64encode(stage.makes.schema.serialize()).decode(),
    )


def _sharing(stage: Stage, settings: Mapping[str, Any]) -> Stage:
    """A stage with the settings that it shares with another."""
    shared = {f.name: f.metadata["same_as"] for f in _fields(stage) if f.metadata.get("same_as") in settings}
    return replace(stage, **{name: settings[other] for name, other in shared.items()})  # type: ignore[type-var]


def _fields(stage: Stage) -> tuple[Field[Any], ...]:
    return fields(stage)  # type: ignore[arg-type]  # a stage is a dataclass, which no Protocol can say


def _as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return [part.strip() for part in text.split(",")]


def _type_name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint)) if not get_args(hint) else str(hint)
