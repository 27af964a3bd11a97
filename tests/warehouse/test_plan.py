"""The plan: a pure function of what is wanted and what exists."""

import json
from dataclasses import replace

from warehouse.plan import Wanted, from_json, plan, stale_settings, to_json
from warehouse.store import Artifact


def wanted(table: str, *takes: str, step: int = 1, print_: str | None = None, **more: object) -> Wanted:
    said = {
        "table": table,
        "takes": takes,
        "gathers": (),
        "lasting": False,
        "one_to_one": True,
        "fingerprints": {"*": print_ or table},
        "stages": {"*": json.dumps({"stage": table, "version": 1, "settings": {"step": step}})},
        "sources": {},
    }
    return Wanted(**{**said, **more})  # type: ignore[arg-type]


def artifact(want: Wanted, shard: str, inputs: dict[str, str] | str, digest: str = "d") -> Artifact:
    return Artifact(
        table_name=want.table,
        shard=shard,
        fingerprint=want.fingerprint(shard),
        path=f"{want.table}/{want.fingerprint(shard)}/{shard}.parquet",
        num_rows=1,
        num_dropped=0,
        seconds=None,
        dropped="{}",
        bytes=1,
        digest=digest,
        stage=want.stage(shard),
        inputs=inputs if isinstance(inputs, str) else json.dumps(inputs),
        made_at="",
    )


FILES = json.dumps({"files": {"a.flac": [1, 2]}})


def source(files: str = FILES) -> Wanted:
    from warehouse.fingerprint import short_hash

    return wanted("recordings", sources={"a": short_hash(files)})


CODES = wanted("codes", "recordings")
HALF = json.dumps({"stage": "Halves", "version": 1, "settings": {"steps": 1}})
ALL = wanted(
    "checkpoints",
    "codes",
    gathers=("ar", "nar"),
    fingerprints={"ar": "f1", "nar": "f2"},
    lasting=True,
    stages={"ar": HALF, "nar": HALF},
)


def made(*artifacts: Artifact) -> dict[tuple[str, str, str], Artifact]:
    return {(a.table_name, a.shard, a.fingerprint): a for a in artifacts}


def everything(digest: str = "d") -> dict[tuple[str, str, str], Artifact]:
    codes = artifact(CODES, "a", {"recordings/recordings/a.parquet": "d"}, digest)
    halves = [artifact(ALL, half, {"codes/codes/a.parquet": "d"}) for half in ("ar", "nar")]
    return made(artifact(source(), "a", FILES), codes, *halves)


def reasons(recipe: list[Wanted], artifacts: dict[tuple[str, str, str], Artifact], **more: object) -> dict[str, str]:
    return {
        f"{stage.wanted.table}/{shard}": pending.reason
        for stage in plan(recipe, artifacts, **more)  # type: ignore[arg-type]
        for shard, pending in stage.pending.items()
    }


RECIPE = [source(), CODES, ALL]


def test_nothing_is_pending_where_all_is_made() -> None:
    assert reasons(RECIPE, everything()) == {}


def test_where_nothing_is_made_the_source_is_missing_and_the_rest_waits() -> None:
    assert reasons(RECIPE, {}) == {
        "recordings/a": "missing",
        "codes/a": "waits for recordings/a",
        "checkpoints/ar": "waits for codes/a",
        "checkpoints/nar": "waits for codes/a",
    }


def test_a_changed_file_and_a_changed_shard_are_named() -> None:
    assert reasons([source("other"), CODES, ALL], everything())["recordings/a"] == "its files changed"
    changed = everything() | made(artifact(source(), "a", FILES, digest="new"))
    assert reasons(RECIPE, changed) == {"codes/a": "recordings/a changed"}


def test_a_lasting_shard_stays_when_its_data_grows_and_says_so() -> None:
    [_, _, halves] = plan(RECIPE, everything(digest="new"))
    assert halves.pending == {}
    assert halves.newer_data == {"ar", "nar"}


def test_a_lasting_shard_is_made_again_by_name() -> None:
    assert reasons(RECIPE, everything(), again={("checkpoints", "ar")}) == {"checkpoints/ar": "asked for"}


def test_a_shard_that_its_source_no_longer_names_is_not_wanted() -> None:
    [recordings, codes, _] = plan([replace(source(), sources={}), CODES, ALL], everything())
    assert recordings.shards == codes.shards == []


def test_the_setting_that_made_a_shard_stale_is_found_upstream() -> None:
    new = [
        source(),
        wanted("codes", "recordings", step=2, print_="other"),
        replace(ALL, fingerprints={"ar": "f3", "nar": "f4"}),
    ]
    old = everything()
    latest = {(a.table_name, a.shard): a for a in old.values()}
    assert stale_settings(new, old, latest) == {
        ("codes", "a"): "codes.step 1 -> 2",
        ("checkpoints", "ar"): "codes.step 1 -> 2",
        ("checkpoints", "nar"): "codes.step 1 -> 2",
    }


def test_a_recipe_survives_as_data() -> None:
    assert from_json(json.loads(json.dumps(to_json(RECIPE)))) == RECIPE
