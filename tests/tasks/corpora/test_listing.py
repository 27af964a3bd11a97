"""Listing: shards that stay as they are when others come, found without opening a file."""

import os
from collections import Counter
from pathlib import Path

import pytest

from flows.engine.recipe import Recipe
from tasks.corpora.listing import CorpusError, may_hold
from tasks.recordings import Recordings
from tests.small_corpus import BOOK, audio, chapter, folder, librilight, rows
from warehouse.errors import Mistake


def test_a_shard_is_a_speaker_and_stays_when_another_comes(tmp_path):
    chapter(tmp_path, "100")
    before = librilight(tmp_path).shards()
    chapter(tmp_path, "10")
    after = librilight(tmp_path).shards()
    assert list(before) == ["small-100"]
    assert after["small-100"] == before["small-100"]
    assert set(after) == {"small-10", "small-100"}
    path, about = sorted(before["small-100"])
    assert (path, about) == (f"small/100/{BOOK}/01_baum.flac", f"small/100/{BOOK}/01_baum.json")
    stat = (tmp_path / path).stat()
    assert before["small-100"][path] == (stat.st_size, stat.st_mtime_ns)


def test_a_long_shard_is_split_by_book_and_a_long_book_by_name(tmp_path):
    for number in range(8):
        path = chapter(tmp_path, name=f"{number:02d}")
    hours = path.stat().st_size / 16_800 / 3600  # as guessed from bytes
    audio(tmp_path / "small/100/other_book/01.flac")
    whole = rows(librilight(tmp_path))
    books = librilight(tmp_path, max_shard_hours=8.5 * hours)
    assert set(books.shards()) == {f"small-100-{BOOK}", "small-100-other_book"}
    parts = librilight(tmp_path, max_shard_hours=2.5 * hours)
    assert f"small-100-{BOOK}-1of4" in parts.shards()
    assert rows(books) == rows(parts) == whole
    assert sorted(path for files in parts.shards().values() for path in files) == sorted(
        path for files in librilight(tmp_path).shards().values() for path in files
    )


@pytest.mark.parametrize("layout", ["folder", "librispeech", "librilight"])
def test_a_link_to_itself_costs_itself_alone(tmp_path, layout):
    audio(tmp_path / "small/1/7/1-7-0001.flac")
    for place in ("small/self", "small/1/self", "small/1/7/self.flac"):
        (tmp_path / place).symlink_to(tmp_path / place)
    stage = Recordings(layout=layout, audio=tmp_path)
    found = {row["audio_path"]: row["dropped"] for row in rows(stage).values()}
    assert found["small/1/7/1-7-0001.flac"] is None
    assert found["small/1/7/self.flac"] == "unreadable"
    assert set(found.values()) == {None, "unreadable"}


def test_folders_whose_names_would_be_the_same_make_shards_of_their_own(tmp_path):
    for path in ("a/b.wav", "a-b/x.wav", "a/b/x.wav", "ä b/x.wav", f"{'long' * 50}/{'name' * 50}/x.wav", "x.wav"):
        audio(tmp_path / path, 1)
    stage = folder(tmp_path)
    assert len(rows(stage)) == 6
    assert all(len(shard) < 140 and shard.isascii() for shard in stage.shards())
    assert "top" in stage.shards()
    assert "a" in stage.shards()


def test_no_folder_is_passed_over_in_search_of_a_shard():
    assert may_hold("small/1", "small-1-book")
    assert may_hold("small", "small-1-book")
    assert not may_hold("small/10", "small-1-book")
    assert not may_hold("medium", "small-1-book")


def test_some_hours_of_a_corpus_are_whole_shards_that_more_hours_keep(tmp_path):
    for speaker in range(20):
        path = chapter(tmp_path, str(speaker))
    hour = path.stat().st_size / 16_800 / 3600  # of one shard, as guessed from bytes
    every = librilight(tmp_path).shards()
    few, more = (librilight(tmp_path, max_hours=hours * hour).shards() for hours in (4.5, 9.5))
    assert (len(few), len(more)) == (5, 10)
    assert set(few) < set(more) < set(every)
    assert list(few) == sorted(few)
    assert list(few) != list(every)[:5]
    assert all(more[shard] == every[shard] for shard in more)
    assert len(librilight(tmp_path, max_hours=1e-9).shards()) == 1
    assert librilight(tmp_path, max_hours=1e9).shards() == every


def test_how_many_hours_are_wanted_changes_no_shard(tmp_path):
    chapter(tmp_path)
    some, every = librilight(tmp_path, max_hours=1e-9), librilight(tmp_path)
    assert some("small-100") == every("small-100")
    assert Recipe((some,)).fingerprints() == Recipe((every,)).fingerprints()


def test_hours_are_a_setting_and_none_takes_all():
    (stage,) = Recipe((librilight(Path("x")),)).set(["recordings.max_hours=10"]).stages
    assert stage.max_hours == 10
    (stage,) = Recipe((stage,)).set(["recordings.max_hours=none"]).stages
    assert stage.max_hours is None
    for hours in ("0", "-1", "nan"):
        with pytest.raises(Mistake, match="max_hours"):
            Recipe((stage,)).set([f"recordings.max_hours={hours}"])


def test_files_added_changed_and_removed_change_their_shard_alone(tmp_path):
    stage = librilight(tmp_path)
    for speaker in ("1", "2", "3", "4"):
        chapter(tmp_path, speaker)
    before = stage.shards()
    chapter(tmp_path, "1", name="02_baum")
    os.utime(chapter(tmp_path, "2"), (1, 1))
    (tmp_path / f"small/3/{BOOK}/01_baum.json").unlink()
    after = stage.shards()
    assert {shard for shard in before if before[shard] != after[shard]} == {"small-1", "small-2", "small-3"}


@pytest.mark.parametrize("layout", ["folder", "librispeech", "librilight"])
def test_a_shard_is_made_without_listing_the_others(tmp_path, monkeypatch, layout):
    for speaker in range(10, 40):
        audio(tmp_path / f"small/{speaker}/7/{speaker}-7-0001.flac")
    listed = []
    scandir = os.scandir
    monkeypatch.setattr("os.scandir", lambda path: (listed.append(str(path)), scandir(path))[1])
    stage = Recordings(layout=layout, audio=tmp_path)
    shard = "small-12-7" if layout == "folder" else "small-12"
    assert stage(shard).num_rows == 1
    assert {path.removeprefix(str(tmp_path)).strip("/") for path in listed} <= {"", "small", "small/12", "small/12/7"}


@pytest.mark.parametrize("layout", ["folder", "librispeech", "librilight"])
def test_a_corpus_that_is_not_there_or_holds_nothing_is_said_in_one_sentence(tmp_path, layout):
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(CorpusError, match=str(root)) as caught:
            Recordings(layout=layout, audio=root).shards()
        assert "\n" not in str(caught.value)


def test_of_a_large_corpus_each_folder_is_listed_once_and_no_file_is_opened(tmp_path, monkeypatch):
    for speaker in range(100):
        book = tmp_path / f"small/{speaker}/book"
        book.mkdir(parents=True)
        for number in range(50):
            (book / f"{number}.flac").touch()
            (book / f"{number}.json").touch()
    listed: Counter[str] = Counter()
    real = os.scandir
    with monkeypatch.context() as looked:
        looked.setattr(os, "scandir", lambda folder: listed.update([str(folder)]) or real(folder))
        for name in ("io.open", "builtins.open", "os.open", "os.listdir", "soundfile.SoundFile"):
            looked.setattr(name, lambda *_, name=name: pytest.fail(f"{name} is called"))
        shards = librilight(tmp_path).shards()
    assert len(shards) == 100
    assert set(listed.values()) == {1}
    assert len(listed) == 1 + 100 + 100, "the subset, its speakers and their books"


@pytest.mark.parametrize("layout", ["folder", "librispeech"])
@pytest.mark.parametrize("left", [["catalogue.duckdb"], ["ledger/1.json", "recipes/folder.json"]])
def test_a_warehouse_within_the_corpus_is_no_part_of_it(tmp_path, layout, left):
    audio(tmp_path / "dev/1/7/1-7-0001.flac")
    stage = Recordings(layout=layout, audio=tmp_path)
    before = stage.shards()
    for path in (*left, "codes/0123456789ab/1.parquet", "audio/1/7/1-7-0001.flac"):
        for root in ("warehouse-data", "dev/warehouse-data", "dev/1/warehouse-data"):
            (tmp_path / root / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / root / path).touch()
    assert stage.shards() == before
    with pytest.raises(CorpusError, match="warehouse-data is a warehouse, and no corpus"):
        Recordings(layout=layout, audio=tmp_path / "warehouse-data").shards()
