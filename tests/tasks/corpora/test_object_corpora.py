"""A corpus on an object store: listed, fetched and read as one in a folder is."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from flows.commands.corpus_size import corpus_size
from flows.engine.recipe import Recipe
from tasks.audio.audio_files import must_be_there, read
from tasks.corpora.corpus_name import settle
from tasks.corpora.listing import CorpusError
from tasks.recordings import Recordings
from tests.small_corpus import audio, chapter, rows
from tests.warehouse.fake_objects import Client, FakeStore
from warehouse import copies, corpus_copy
from warehouse.errors import Mistake
from warehouse.objects import Objects, Stat, Unanswered

URL = "s3://bucket/corpus"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    """What the copy in `there` is a copy of."""
    found = FakeStore(0)
    monkeypatch.setattr(corpus_copy, "_looked", {})
    monkeypatch.setattr(corpus_copy.COPIES, "bound", {})
    corpus_copy.bind_to(tmp_path / "there", Objects(URL, Client(found), pause=lambda _: None))
    return found


def send(folder: Path, store: FakeStore) -> None:
    """A copy of a folder, hidden files and all."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.write(path.relative_to(folder).as_posix(), path.read_bytes(), "overwrite")


def test_every_layout_gives_the_rows_of_a_folder(tmp_path: Path, store: FakeStore) -> None:
    corpus = tmp_path / "corpus"
    chapter(corpus, "100")
    chapter(corpus, "10", name="02")
    (corpus / "small/10/lost.json").write_text("{}")
    audio(corpus / "small/100/a.wav")
    audio(corpus / "dev-clean/7/1/7-1-0001.flac")
    (corpus / "dev-clean/7/1/7-1.trans.txt").write_text("7-1-0001 SAID\n7-1-0002 LOST\n")
    (corpus / "SPEAKERS.TXT").write_text("7 | F | dev-other | 1 | Somebody\n")
    (corpus / "small/10/empty.wav").touch()
    (corpus / ".hidden").mkdir()
    audio(corpus / ".hidden/a.wav")
    for name in ("ledger/1.json", "recipes/a.json", "codes/0123456789ab/1@0123456789abcdef.parquet"):
        (corpus / "small" / "warehouse" / name).parent.mkdir(parents=True, exist_ok=True)
        (corpus / "small" / "warehouse" / name).write_text("{}")
    send(corpus, store)
    for layout in ("librilight", "folder", "librispeech"):
        here, there = (Recordings(layout=layout, audio=tmp_path / name) for name in ("corpus", "there"))
        listed, found = here.shards(), there.shards()
        assert {shard: {path: size for path, (size, _) in files.items()} for shard, files in found.items()} == {
            shard: {path: size for path, (size, _) in files.items()} for shard, files in listed.items()
        }
        for shard in listed:
            ours, theirs = ({row["audio_path"]: row for row in stage(shard).to_pylist()} for stage in (here, there))
            if layout == "folder":  # called as its folder, or as its URL
                for row in (*ours.values(), *theirs.values()):
                    row["corpus"] = None
            assert theirs == ours, (layout, shard)
    manifest = {"path": f"{URL}/small/100/a.wav", "speaker": "somebody", "text": "Said."}
    store.write("small/100/manifest.jsonl", f"{json.dumps(manifest)}\n".encode(), "overwrite")
    said = rows(Recordings(layout="folder", audio=tmp_path / "there"))
    [row] = [row for row in said.values() if row["audio_path"] == "small/100/a.wav"]
    assert (row["speaker_id"], row["text"], row["dropped"]) == ("somebody", "Said.", None), "its manifest says a URL"


def test_only_what_is_asked_for_is_fetched_and_what_was_replaced_is_fetched_again(
    tmp_path: Path, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, there = tmp_path / "corpus", tmp_path / "there"
    for name in ("a/1.wav", "b/1.wav"):
        audio(corpus / name)
    send(corpus, store)
    stage = Recordings(layout="folder", audio=there)
    before = stage.shards()
    stage("a")
    assert [path.name for path in there.iterdir() if path.is_dir()] == ["a"]
    heard = read(there / "a/1.wav", 16_000)
    audio(corpus / "a/1.wav", 2.0)
    store.write("a/1.wav", (corpus / "a/1.wav").read_bytes(), "overwrite")
    store.written["a/1.wav"] += 5_000_000_000
    assert stage.shards()["a"] != before["a"]
    assert len(read(there / "a/1.wav", 16_000)) == len(heard), "as it was less than a minute ago"
    monkeypatch.setattr(corpus_copy, "_BELIEVED", 0.0)
    assert len(read(there / "a/1.wav", 16_000)) == 32_000
    monkeypatch.setattr(Objects, "fetch", lambda *_: pytest.fail("it is here"))
    time.sleep(0.01)
    assert len(read(there / "a/1.wav", 16_000)) == 32_000


def test_what_cannot_be_fetched_this_time_fails_its_shard_and_drops_nothing(
    tmp_path: Path, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JSON that is not answered for is none that is missing."""
    chapter(tmp_path / "corpus")
    send(tmp_path / "corpus", store)
    stage, fetch = Recordings(layout="librilight", audio=tmp_path / "there"), Objects.fetch
    for suffix in (".json", ".flac"):

        def unanswered(objects: Objects, name: str, path: Path, suffix: str = suffix) -> Stat:
            if name.endswith(suffix):
                raise Unanswered(name)
            return fetch(objects, name, path)

        monkeypatch.setattr(Objects, "fetch", unanswered)
        shutil.rmtree(tmp_path / "there")
        with pytest.raises(Unanswered):
            stage("small-100")
    monkeypatch.setattr(Objects, "fetch", fetch)
    [row] = stage("small-100").to_pylist()
    assert (row["dropped"], row["detail"]) == (None, None)


def test_what_another_lets_go_for_lack_of_room_is_not_taken_for_missing(
    tmp_path: Path, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that were here for long, some of which are not, in a cache that is too small for them."""
    for number in range(40):
        chapter(tmp_path / "corpus", "100", name=f"{number:03d}")
    send(tmp_path / "corpus", store)
    there = tmp_path / "there"
    stage = Recordings(layout="librilight", audio=there)
    stage("small-100")
    files = [path for path in there.rglob("*") if path.is_file() and not path.name.startswith(".")]
    whole = sum(path.stat().st_size for path in files)
    for most in (1_000, whole - sum(path.stat().st_size for path in files if path.suffix == ".json") // 2):
        monkeypatch.setenv("VALLE_CACHE_BYTES", str(most))
        for _ in range(3):
            corpus_copy._looked.clear()
            copies.fetched.clear()
            for path in filter(Path.exists, files):
                age = 5_000 if path.suffix == ".json" else 4_000
                os.utime(path, ns=(time.time_ns() - age * 10**9, path.stat().st_mtime_ns))
            for path in sorted(there.rglob("*.json"))[::10]:
                path.unlink()
            assert {(row["dropped"], row["detail"]) for row in stage("small-100").to_pylist()} == {(None, None)}


def test_a_file_that_has_gone_from_here_says_nothing_of_the_corpus(
    tmp_path: Path, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has removed the copy while it is read: the shard fails, and may go well the next time."""
    chapter(tmp_path / "corpus")
    send(tmp_path / "corpus", store)
    stage, here = Recordings(layout="librilight", audio=tmp_path / "there"), corpus_copy.file_here

    def and_gone(path: Path) -> Path:
        found = here(path)
        path.unlink()
        return found

    for module in ("tasks.corpora.librilight.file_here", "warehouse.corpus_copy.file_here"):
        with monkeypatch.context() as removing:
            removing.setattr(module, and_gone)
            with pytest.raises(FileNotFoundError):
                stage("small-100")
    assert [row["dropped"] for row in stage("small-100").to_pylist()] == [None]


def test_names_that_are_long_or_odd_are_names(tmp_path: Path, store: FakeStore) -> None:
    names = ("語" * 80 + ".wav", "%41#x y\\z?.wav", "a*é.wav")
    for name in names:
        audio(tmp_path / "corpus" / "a" / name)
    send(tmp_path / "corpus", store)
    store.write("b", (tmp_path / "corpus" / "a" / names[0]).read_bytes(), "overwrite")
    store.write("b/1.wav", (tmp_path / "corpus" / "a" / names[0]).read_bytes(), "overwrite")
    store.write("c", b"", "overwrite")  # by which some tools mark a folder
    store.write("c/1.wav", (tmp_path / "corpus" / "a" / names[0]).read_bytes(), "overwrite")
    stage = Recordings(layout="folder", audio=tmp_path / "there")
    assert set(stage.shards()) == {"a", "b", "c", "top"}
    found = {shard: [row["dropped"] for row in stage(shard).to_pylist()] for shard in ("a", "b", "c", "top")}
    assert found == {"a": [None, None, None], "b": [None], "c": [None], "top": ["unreadable"]}


def test_a_shard_is_made_of_what_its_listing_says(tmp_path: Path, store: FakeStore) -> None:
    """However short ago this process has looked at a file that was replaced since."""
    audio(tmp_path / "corpus/a/1.wav", 1.0)
    send(tmp_path / "corpus", store)
    stage = Recordings(layout="folder", audio=tmp_path / "there")
    stage("a")
    audio(tmp_path / "corpus/a/1.wav", 2.0)
    send(tmp_path / "corpus", store)
    [row] = stage("a").to_pylist()
    assert row["seconds"] == 2.0


def test_hours_are_guessed_from_files_there(tmp_path: Path, store: FakeStore) -> None:
    audio(tmp_path / "corpus/a/1.wav", 2.0)
    send(tmp_path / "corpus", store)
    stage = Recordings(layout="folder", audio=tmp_path / "there")
    assert corpus_size(Recipe((stage,)), tmp_path / "there").hours == pytest.approx(2 / 3600, rel=0.01)


def test_a_corpus_that_is_gone_says_nothing_of_its_files(tmp_path: Path, store: FakeStore) -> None:
    chapter(tmp_path / "corpus")
    send(tmp_path / "corpus", store)
    must_be_there(tmp_path / "there")
    store.objects.clear()
    with pytest.raises(FileNotFoundError, match=f"there is nothing in {URL} any more"):
        must_be_there(tmp_path / "there")
    with pytest.raises(CorpusError, match=f"there is no folder {URL}"):
        Recordings(layout="folder", audio=tmp_path / "there").shards()


def test_the_sample_corpus_and_a_warehouse_are_refused_there(tmp_path: Path, store: FakeStore) -> None:
    with pytest.raises(Mistake, match=f"unpacked into a folder, and not into {URL}"):
        Recordings(layout="sample", audio=tmp_path / "there").provide()
    store.write("ledger/1.json", b"", "overwrite")
    store.write("recipes/1.json", b"", "overwrite")
    with pytest.raises(CorpusError, match=f"{URL} is a warehouse, and no corpus"):
        Recordings(layout="folder", audio=tmp_path / "there").shards()


def test_a_corpus_is_called_as_the_end_of_its_url(tmp_path: Path, store: FakeStore) -> None:
    stage = Recordings(layout="folder", audio=tmp_path / "there", root=tmp_path / "root")
    stage.provide()
    assert not (tmp_path / "root" / "corpus.json").exists(), "a URL at which nothing lies names nothing"
    audio(tmp_path / "corpus" / "a" / "1.wav")
    send(tmp_path / "corpus", store)
    settle(tmp_path / "root", tmp_path / "there")
    stage = Recordings(layout="folder", audio=tmp_path / "there", root=tmp_path / "root")
    assert {row["corpus"] for row in rows(stage).values()} == {"corpus"}
