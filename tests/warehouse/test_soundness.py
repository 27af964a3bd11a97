"""Soundness: each kind of damage is found and named, and what can be mended is."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.made_up import attempt
from tests.small_warehouse import make_warehouse
from warehouse import ledger, soundness
from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake
from warehouse.ledger import Record
from warehouse.mending import ASIDE, mend
from warehouse.query import select
from warehouse.soundness import Finding, look
from warehouse.store import write_shard
from warehouse.tables import CHECKPOINTS

LONG_AGO = 1_000_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sound warehouse, with weights in it."""
    make_warehouse(tmp_path / "root", tmp_path / "audio")
    folder = tmp_path / "root" / "checkpoints" / ("c" * 12) / "ar"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"weights")
    row = {"checkpoint_id": "ar-1", "path": f"checkpoints/{'c' * 12}/ar"}
    row["sha256"] = soundness._sha256(folder / "weights.safetensors")
    rows = pa.Table.from_pylist([row], schema=CHECKPOINTS.schema)
    artifact = write_shard(tmp_path / "root", CHECKPOINTS, "ar", "c" * 12, rows, stage="{}", inputs="{}")
    ledger.emit(tmp_path / "root", Record(attempt(artifact), artifact))
    Catalogue(tmp_path / "root").take_up()
    return tmp_path / "root"


def shard(root: Path, table: str, name: str = "a") -> Path:
    [path] = (root / table).glob(f"*/{name}.parquet")
    return path


def flip(path: Path, place: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[place] ^= 1
    path.write_bytes(whole)


def said(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.kind, finding.path) for finding in findings}


def remove(root: Path) -> str:
    path = shard(root, "utterances")
    path.unlink()
    return str(path)


def cut(root: Path) -> str:
    path = shard(root, "recordings", "b")
    path.write_bytes(path.read_bytes()[:-100])
    return str(path)


def flip_a_page(root: Path) -> str:
    path = shard(root, "codes")
    flip(path, 40)
    return str(path)


def flip_the_footer(root: Path) -> str:
    path = shard(root, "transcripts", "b")
    flip(path, path.read_bytes().index(b"made_at"))
    return str(path)


def put_under_another_fingerprint(root: Path) -> str:
    path = shard(root, "phones")
    path.parent.with_name("d" * 12).mkdir()
    path.parent.with_name("d" * 12).joinpath("a.parquet").write_bytes(path.read_bytes())
    return str(path.parent.with_name("d" * 12) / "a.parquet")


def put_a_table_of_somebodys(root: Path) -> str:
    path = shard(root, "examples").with_name("mine.parquet")
    pq.write_table(pa.table({"x": [1]}), path)
    return str(path)


def put_a_note(root: Path) -> str:
    path = shard(root, "examples").with_name("notes.txt")
    path.write_text("do not forget")
    return str(path)


def leave_half_a_file(root: Path) -> str:
    path = shard(root, "examples").with_name(".a.parquet.0123.tmp")
    path.write_bytes(b"PAR1")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return str(path)


def tear_the_ledger(root: Path) -> str:
    path = ledger.kept(root)[0]
    path.write_text(path.read_text() + '{"attempt": {"run_i')
    return str(path)


def damage_a_recipe(root: Path) -> str:
    path = root / "recipes" / "other.json"
    path.write_text("{")
    return str(path)


def damage_weights(root: Path) -> str:
    path = root / "checkpoints" / ("c" * 12) / "ar" / "weights.safetensors"
    flip(path, 0)
    return str(path)


def make_without_a_record(root: Path) -> str:
    rows = pq.read_table(shard(root, "phones", "b"))
    told = json.loads(pq.read_metadata(shard(root, "phones", "b")).metadata[b"artifact"])
    from warehouse.tables import PHONES

    artifact = write_shard(root, PHONES, "z", told["fingerprint"], rows, stage="{}", inputs="{}")
    return str(root / artifact.path)


DAMAGE: dict[Callable[[Path], str], str] = {
    remove: soundness.MISSING,
    cut: soundness.CUT,
    flip_a_page: soundness.DAMAGED,
    flip_the_footer: soundness.DAMAGED,
    put_under_another_fingerprint: soundness.MISPLACED,
    put_a_table_of_somebodys: soundness.FOREIGN,
    put_a_note: soundness.FOREIGN,
    leave_half_a_file: soundness.HALF,
    tear_the_ledger: soundness.LEDGER,
    damage_a_recipe: soundness.RECIPE,
    damage_weights: soundness.FILES,
    make_without_a_record: soundness.UNKNOWN,
}


def test_a_sound_warehouse_has_no_finding(root: Path) -> None:
    assert look(root) == look(root, quick=True) == []


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_each_kind_of_damage_is_found_and_mended(root: Path, damage: Callable[[Path], str]) -> None:
    path = Path(damage(root)).relative_to(root).as_posix()
    findings = look(root)
    assert said(findings) == {(DAMAGE[damage], path)}
    assert path in findings[0].line
    assert findings[0].todo in findings[0].line
    mended = mend(root, findings)
    assert [finding.mended for finding in mended] == [damage is not put_a_note], "a stranger's file is not ours to move"
    assert look(root) == ([] if damage is not put_a_note else mended)


def test_all_of_it_at_once(root: Path) -> None:
    expected = {(kind, Path(damage(root)).relative_to(root).as_posix()) for damage, kind in DAMAGE.items()}
    assert len(expected) == 12
    assert said(look(root)) == expected
    findings = mend(root, look(root))
    assert said(findings) == expected
    assert [finding.path for finding in findings if not finding.mended] == [
        path for _, path in sorted(expected) if path.endswith("notes.txt")
    ]
    aside = [path.relative_to(root / ASIDE) for path in (root / ASIDE).rglob("*") if path.is_file()]
    assert len(aside) == 7, "two damaged, one cut, misplaced, somebody's, a recipe, and the rows that name weights"
    plans = {plan.wanted.table: plan for plan in Catalogue(root).plan(Catalogue(root).artifacts())}
    assert "a" in plans["utterances"].pending
    assert "b" in plans["recordings"].pending


def test_a_catalogue_that_is_gone_or_damaged_is_made_anew(root: Path) -> None:
    before = select(root, "select table_name, shard, digest, sha256 from artifacts order by all").to_pylist()
    for name in ("catalogue.duckdb", ".catalogue.duckdb"):
        (root / name).write_bytes(b"no database")
        findings = look(root)
        assert said(findings) == {(soundness.CATALOGUE, name)}
        assert all(finding.mended for finding in mend(root, findings))
    (root / "catalogue.duckdb").unlink()
    assert all(finding.mended for finding in mend(root, look(root)))
    assert select(root, "select table_name, shard, digest, sha256 from artifacts order by all").to_pylist() == before


def test_rows_of_the_catalogue_that_say_otherwise_are_found(root: Path) -> None:
    for name in ("catalogue.duckdb", ".catalogue.duckdb"):
        with duckdb.connect(root / name) as db:
            db.execute("update artifacts set num_dropped = 7 where table_name = 'codes'").fetchall()
    [finding] = look(root)
    assert (finding.kind, "num_dropped" in finding.what) == (soundness.OTHERWISE, True)
    assert [one.mended for one in mend(root, [finding])] == [True]


def test_damage_of_the_same_size_is_found_in_shards_older_than_their_sums(root: Path) -> None:
    with duckdb.connect(root / "catalogue.duckdb") as db:
        db.execute("update artifacts set sha256 = ''").fetchall()
    assert look(root) == []
    flip_a_page(root)
    put_back = shard(root, "transcripts", "b")
    flip(put_back, put_back.read_bytes().index(b'"stage'))
    assert {finding.kind for finding in look(root)} == {soundness.DAMAGED}
    assert len(look(root)) == 2


def test_quick_reads_no_file(root: Path) -> None:
    flip_a_page(root)
    assert look(root, quick=True) == []
    cut(root)
    assert {finding.kind for finding in look(root, quick=True)} == {soundness.CUT}


def test_what_is_being_made_is_no_finding(root: Path) -> None:
    path = shard(root, "examples").with_name(".a.parquet.0123.tmp")
    path.write_bytes(b"PAR1")
    rows = pq.read_table(shard(root, "phones", "b"))
    from warehouse.tables import PHONES

    artifact = write_shard(root, PHONES, "z", "e" * 12, rows, stage="{}", inputs="{}")
    ledger.emit(root, Record(attempt(artifact), replace(artifact)))
    assert look(root) == [], "a record that waits is known"


def test_a_shard_that_a_second_attempt_has_made_and_left_no_record_of_is_sound(root: Path) -> None:
    from warehouse.tables import PHONES

    path = shard(root, "phones", "b")
    told = json.loads(pq.read_metadata(path).metadata[b"artifact"])
    before = path.read_bytes()
    words = {name: told[name] for name in ("stage", "inputs")}
    write_shard(root, PHONES, "b", told["fingerprint"], pq.read_table(path), **words)
    assert path.read_bytes() != before
    assert look(root) == []
    flip(path, 100)
    assert [finding.path for finding in look(root)] == [path.relative_to(root).as_posix()], "unless it is damaged"


def test_no_warehouse_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="is not a warehouse"):
        look(tmp_path)
