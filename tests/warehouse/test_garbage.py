"""What `valle gc` lists and frees: nothing that a recipe, the newest training or a sample rests on."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tests.conftest import Said
from tests.small_warehouse import make_warehouse
from warehouse.catalogue import Catalogue
from warehouse.garbage import OLDER, UNFINISHED, UNWANTED, Garbage, free, garbage
from warehouse.query import select
from warehouse.store import Artifact, write_shard
from warehouse.tables import CHECKPOINTS, SAMPLES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A warehouse whose codes were made twice, by other settings each time."""
    make_warehouse(tmp_path / "root", tmp_path / "corpus")
    make_warehouse(tmp_path / "root", tmp_path / "corpus", where=(("silence", "seconds > 1"),))
    return tmp_path / "root"


def train(root: Path, fingerprint: str, half: str, folders: list[str], inputs: dict[str, str]) -> Artifact:
    """A training with a folder each time that it was made again; its rows name the last."""
    for number, name in enumerate(folders):
        folder = root / "checkpoints" / fingerprint / name
        folder.mkdir(parents=True)
        (folder / "settings.json").write_text(json.dumps({"sha256": f"{fingerprint}{number}".ljust(64, "0")}))
        (folder / "weights.safetensors").write_bytes(bytes(1_000))
        (folder.parent / f".{name}.inputs.json").write_text("{}")
    row = {"checkpoint_id": f"{half}-1-x", "path": f"checkpoints/{fingerprint}/{folders[-1]}"}
    rows = pa.Table.from_pylist([row], schema=CHECKPOINTS.schema)
    return write_shard(root, CHECKPOINTS, half, fingerprint, rows, stage="{}", inputs=json.dumps(inputs))


def speak(root: Path, checkpoint_id: str, inputs: dict[str, str]) -> None:
    """A sample of two halves."""
    rows = pa.Table.from_pylist([{"sample_id": "valle/a/0", "checkpoint_id": checkpoint_id}], schema=SAMPLES.schema)
    write_shard(root, SAMPLES, "all", "spoken", rows, stage="{}", inputs=json.dumps(inputs))


def listed(root: Path) -> dict[str, str]:
    return {one.path: one.why for one in garbage(root)}


def shards(root: Path, table: str) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in (root / table).glob("*/*.parquet"))


def test_shards_of_settings_that_no_recipe_asks_for_are_listed_and_nothing_else(root: Path) -> None:
    before = shards(root, "examples")
    current = select(root, "select path from artifacts join wanted using (table_name, shard, fingerprint)").to_pylist()
    stale = set(before) - {row["path"] for row in current}
    assert stale
    assert listed(root) == dict.fromkeys(stale, UNWANTED)
    assert all(one.bytes == (root / one.path).stat().st_size for one in garbage(root))


def test_what_the_newest_training_and_any_sample_came_from_is_kept(root: Path) -> None:
    [stale] = listed(root)
    older = train(root, "first", "ar", ["ar", "ar~2", "ar~3"], {stale: "digest"})
    train(root, "second", "nar", ["nar"], {})
    train(root, "third", "nar", ["nar"], {})
    assert listed(root) == {
        "checkpoints/first/ar": OLDER,
        "checkpoints/first/ar~2": OLDER,
        "checkpoints/second/nar": UNWANTED,
        "checkpoints/second/nar.parquet": UNWANTED,
    }
    train(root, "fourth", "ar", ["ar"], {})
    assert listed(root)[stale] == UNWANTED, "nothing that is kept was made from it any more"
    speak(root, "ar-1-first1000000+nar-1-second000000", {older.path: older.digest})
    assert listed(root) == {"checkpoints/first/ar": OLDER, "checkpoints/second/nar.parquet": UNWANTED}


def test_a_training_that_never_ended_is_told_as_such(root: Path) -> None:
    (root / "checkpoints" / "gone" / "ar" / "states").mkdir(parents=True)
    train(root, "whole", "nar", ["nar"], {})
    assert listed(root)["checkpoints/gone/ar"] == UNFINISHED


def test_the_notes_of_a_training_go_with_it_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / ("f" * 12)
    for name in ("[ar]", "a"):
        (folder / name).mkdir(parents=True)
        (folder / f".{name}.inputs.json").touch()
    free(tmp_path, [Garbage((folder / "[ar]").relative_to(tmp_path).as_posix(), 0, OLDER)])
    assert sorted(path.name for path in folder.iterdir()) == [".a.inputs.json", "a"]


def test_names_with_dots_are_names_of_their_own(root: Path) -> None:
    folder = root / "checkpoints" / "first"
    for name in ("ar", "ar.v2"):
        (folder / name).mkdir(parents=True)
        (folder / f".{name}.inputs.json").write_text("{}")
    free(root, [Garbage("checkpoints/first/ar", 0, OLDER)])
    assert [path.name for path in folder.iterdir()] == [".ar.v2.inputs.json", "ar.v2"] or not list(
        folder.glob(".ar.i*")
    )
    assert (folder / ".ar.v2.inputs.json").exists()


def test_neither_a_writer_nor_what_is_not_ours_is_garbage(root: Path) -> None:
    before = listed(root)
    (next((root / "codes").iterdir()) / ".a.parquet.tmp").symlink_to("gone")
    (root / "checkpoints" / "pretrained" / "ar").mkdir(parents=True)
    assert listed(root) == before


def test_the_command_lists_asks_and_frees(root: Path, valle: Callable[..., Said]) -> None:
    train(root, "old", "ar", ["ar"], {})
    train(root, "new", "ar", ["ar"], {})
    paths = list(listed(root))
    code, out, err = valle("gc", "--root", root, "--json")
    assert (code, [row["path"] for row in json.loads(out)]) == (0, paths)
    assert "nothing was freed, `--yes` frees it" in err
    assert list(listed(root)) == paths
    kept = {path: (root / path).read_bytes() for path in shards(root, "codes")}
    assert valle("gc", "--root", root, "--yes")[0] == 0
    assert not (root / "checkpoints" / "old").exists()
    assert {path: (root / path).read_bytes() for path in shards(root, "codes")} == kept
    known = {artifact.path for artifact in Catalogue(root).artifacts().values()}
    assert known.isdisjoint(paths)
    assert valle("gc", "--root", root)[2] == "nothing to free\n"
    assert valle("gc", "--root", root / "nowhere")[0] == 2
