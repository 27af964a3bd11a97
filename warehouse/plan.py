"""Which shards are current, and why the others are not. Data in, data out; nothing is opened here.

A shard is current when its fingerprint is the one the recipe asks for and its
inputs are as they were: for a source the files it is made from, else the digest
of each shard it reads. So a shard made again with equal rows stops the ripple.
"""

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from warehouse.fingerprint import ANY, short_hash
from warehouse.store import Artifact

MISSING, CHANGED, WAITS, AGAIN = "missing", "changed", "waits", "again"
_TUPLES = ("takes", "gathers", "excused")  # lists, as JSON has them

Artifacts = Mapping[tuple[str, str, str], Artifact]  # by table, shard, fingerprint
Current = Mapping[str, Mapping[str, Artifact]]  # by table, then shard
Shards = Set[tuple[str, str]]  # table, shard


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One stage of a recipe, as data that outlives the process that ran it."""

    table: str
    takes: tuple[str, ...]
    gathers: tuple[str, ...]  # the shards it makes out of all shards; none where it follows the shards it reads
    lasting: bool
    one_to_one: bool
    fingerprints: Mapping[str, str]
    stages: Mapping[str, str]  # descriptions, JSON, by the same keys
    sources: Mapping[str, str]  # for a source: shard -> hash of the listing of its files
    schema: str = ""  # of the table's rows, as Arrow serializes it, in base64
    excused: tuple[str, ...] = ()  # shards that failed within the site's tolerance: what gathers does without them

    def fingerprint(self, shard: str) -> str:
        """The fingerprint that a shard of this table should have."""
        return self.fingerprints.get(shard) or self.fingerprints[ANY]

    def stage(self, shard: str) -> str:
        """The description of what makes a shard."""
        return self.stages.get(shard) or self.stages[ANY]

    @property
    def version(self) -> str:
        """The table's fingerprint, for people: several where its shards have their own."""
        return "+".join(dict.fromkeys(self.fingerprints.values()))


@dataclass(frozen=True)
class Pending:
    """A shard that is not current, and why."""

    shard: str
    why: str  # MISSING, CHANGED, WAITS or AGAIN
    reason: str  # in words
    inputs: str | None  # JSON; null while a shard it reads is itself pending


@dataclass(frozen=True)
class StagePlan:
    """What there is of a table, and what is to be made."""

    wanted: Wanted
    shards: list[str]  # that the table should have
    current: dict[str, Artifact] = field(default_factory=dict)
    pending: dict[str, Pending] = field(default_factory=dict)
    newer_data: set[str] = field(default_factory=set)  # lasting shards whose data has grown

    def has(self, shard: str) -> bool:
        """Whether the table should have this shard."""
        return shard in self.current or shard in self.pending

    @property
    def gathered(self) -> list[str]:
        """The shards that a stage which gathers reads: all but those that are pending and excused."""
        excused = set(self.wanted.excused) & self.pending.keys()
        return [shard for shard in self.shards if shard not in excused] if excused else self.shards


def plan(recipe: list[Wanted], artifacts: Artifacts, again: Shards = frozenset()) -> list[StagePlan]:
    """Every stage of a recipe against what exists. `again` are shards to make although they are current."""
    plans: dict[str, StagePlan] = {}
    for wanted in recipe:
        plans[wanted.table] = plan_stage(wanted, plans, artifacts, again)
    return list(plans.values())


def plan_stage(
    wanted: Wanted, above: Mapping[str, StagePlan], artifacts: Artifacts, again: Shards = frozenset()
) -> StagePlan:
    """One stage against what exists, given the plans of the tables it takes."""
    result = StagePlan(wanted, shards_of(wanted, above))
    for shard in result.shards:
        artifact = artifacts.get((wanted.table, shard, wanted.fingerprint(shard)))
        waits = _waits_for(wanted, shard, above)
        inputs = None if waits else inputs_of(wanted, shard, above)
        if artifact and (wanted.table, shard) in again:
            result.pending[shard] = Pending(shard, AGAIN, "asked for", inputs)
        elif artifact and wanted.lasting:
            result.current[shard] = artifact
            if waits or inputs != artifact.inputs:
                result.newer_data.add(shard)
        elif waits:
            result.pending[shard] = Pending(shard, WAITS, f"waits for {waits}", None)
        elif artifact is None:
            result.pending[shard] = Pending(shard, MISSING, "missing", inputs)
        elif _same_inputs(wanted, artifact, inputs):
            result.current[shard] = artifact
        else:
            result.pending[shard] = Pending(shard, CHANGED, _changed(wanted, artifact, inputs), inputs)
    return result


def shards_of(wanted: Wanted, above: Mapping[str, StagePlan]) -> list[str]:
    """The shards a table should have: those it names, its source's, or those of the first table it takes."""
    if wanted.gathers:
        return list(wanted.gathers)
    return above[wanted.takes[0]].shards if wanted.takes else sorted(wanted.sources)


def reads(wanted: Wanted, shard: str, above: Mapping[str, StagePlan]) -> Iterator[tuple[StagePlan, list[str]]]:
    """For each table taken, the shards that a shard is made from: the one of its name, or else all but the excused."""
    for table in wanted.takes:
        follows = not wanted.gathers and above[table].has(shard)
        yield above[table], [shard] if follows else above[table].gathered


def inputs_of(wanted: Wanted, shard: str, above: Mapping[str, StagePlan]) -> str:
    """What a shard is made from, as JSON: for a source the hash of its listing, else path to digest."""
    if not wanted.takes:
        return wanted.sources[shard]
    read = (plan.current[name] for plan, names in reads(wanted, shard, above) for name in names)
    return json.dumps({artifact.path: artifact.digest for artifact in read}, sort_keys=True)


def excuse_again(recipe: list[Wanted], before: list[Wanted]) -> list[Wanted]:
    """A recipe with the shards excused that were so the last time, where their table is made as it was then."""
    known = {wanted.table: wanted for wanted in before}
    return [
        replace(wanted, excused=known[wanted.table].excused)
        if wanted.table in known and known[wanted.table].fingerprints == wanted.fingerprints
        else wanted
        for wanted in recipe
    ]


def stale_settings(
    recipe: list[Wanted], artifacts: Artifacts, latest: Mapping[tuple[str, str], Artifact]
) -> dict[tuple[str, str], str]:
    """For each shard made by other settings than the recipe's: which settings, as `codes.model 1 -> 2`."""
    by_table = {wanted.table: wanted for wanted in recipe}
    memory: dict[str, dict[str, str]] = {}
    reasons: dict[tuple[str, str], str] = {}
    for (table, shard), artifact in latest.items():
        if table in by_table and artifact.fingerprint != by_table[table].fingerprint(shard):
            found = _differences(artifact, by_table, artifacts, memory)
            reasons[table, shard] = ", ".join(found.values()) or "a stage above it changed"
    return reasons


def _differences(
    old: Artifact, recipe: Mapping[str, Wanted], artifacts: Artifacts, memory: dict[str, dict[str, str]]
) -> dict[str, str]:
    """Settings that differ between what made a shard and the recipe, here and upstream, by their names."""
    if old.path in memory:
        return memory[old.path]
    found: dict[str, str] = {}
    memory[old.path] = found
    if old.table_name in recipe:
        found |= _setting_changes(old.table_name, old.stage, recipe[old.table_name].stage(old.shard))
    for path in _shard_inputs(old):
        table, fingerprint, name = path.removesuffix(".parquet").split("/", 2)
        if above := artifacts.get((table, name, fingerprint)):
            found |= _differences(above, recipe, artifacts, memory)
    return found


def _setting_changes(table: str, old: str, new: str) -> dict[str, str]:
    was, is_ = json.loads(old), json.loads(new)
    changes = {}
    for name in ("stage", "version"):
        if was[name] != is_[name]:
            changes[f"{table}.{name}"] = f"{table}.{name} {was[name]} -> {is_[name]}"
    for name in sorted(was["settings"].keys() | is_["settings"].keys()):
        before, after = was["settings"].get(name), is_["settings"].get(name)
        if before != after:
            changes[f"{table}.{name}"] = f"{table}.{name} {_brief(before)} -> {_brief(after)}"
    return changes


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _shard_inputs(artifact: Artifact) -> dict[str, str]:
    inputs = json.loads(artifact.inputs)
    return {} if "files" in inputs else inputs


def _same_inputs(wanted: Wanted, artifact: Artifact, inputs: str | None) -> bool:
    return (short_hash(artifact.inputs) if not wanted.takes else artifact.inputs) == inputs


def _waits_for(wanted: Wanted, shard: str, above: Mapping[str, StagePlan]) -> str | None:
    for plan, names in reads(wanted, shard, above):
        for name in names:
            if name in plan.pending:
                return f"{plan.wanted.table}/{name}"
    return None


def _changed(wanted: Wanted, artifact: Artifact, inputs: str | None) -> str:
    if not wanted.takes:
        return "its files changed"
    before, after = json.loads(artifact.inputs), json.loads(inputs or "{}")
    changed = [path for path, digest in after.items() if before.get(path) != digest]
    first = [*changed, *sorted(before.keys() - after.keys()), *after][0]
    table, _, shard = first.removesuffix(".parquet").split("/", 2)
    return f"{table}/{shard} changed" + (f" and {len(changed) - 1} more" if len(changed) > 1 else "")


def to_json(recipe: list[Wanted]) -> list[dict[str, Any]]:
    """A recipe as plain data."""
    return [asdict(wanted) for wanted in recipe]


def from_json(stages: list[dict[str, Any]]) -> list[Wanted]:
    """What `to_json` wrote."""
    return [Wanted(**stage | {name: tuple(stage.get(name, ())) for name in _TUPLES}) for stage in stages]
