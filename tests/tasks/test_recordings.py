"""Recordings: a row for every file, whatever it is; shards that stay as they are when others come."""

import errno
import json
import os
import shutil
import time
import tracemalloc
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import soundfile

from flows.recipe import Recipe
from tasks import flac, sample_corpus
from tasks.audio import examine
from tasks.corpora.listing import CorpusError, may_hold
from tasks.recordings import Recordings
from warehouse.errors import Mistake
from warehouse.tables import RECORDINGS

RATE = 16_000  # Hz
BOOK = "sea_fairies_0812_librivox_64kb_mp3"
ABOUT = {
    "speaker": "100",
    "book_meta": {"id": "812", "title": "The Sea Fairies", "meta_genre": "Literature", "Dramatic Readings": False},
    "snr": 5.391,
    "voice_activity": [[0.08, 0.8], [0.96, 1.6]],
    "file_length_sec": 2.0,
}


def audio(path: Path, seconds: float = 2.0) -> Path:
    """A tone, of another phase for each path: no two files sound exactly alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    phase = crc32(os.fsencode(path))
    soundfile.write(path, 0.5 * np.sin(np.arange(round(seconds * RATE)) / 20 + phase), RATE)
    return path


def chapter(root: Path, speaker: str = "100", name: str = "01_baum", subset: str = "small", **about: Any) -> Path:
    path = audio(root / subset / speaker / BOOK / f"{name}.flac")
    path.with_suffix(".json").write_text(json.dumps(ABOUT | {"speaker": speaker} | about))
    return path


def rows(stage: Recordings) -> dict[str, dict[str, Any]]:
    """Every row of every shard by its id, which no other row has."""
    made = [stage(shard) for shard in stage.shards()]
    assert all(table.schema == RECORDINGS.schema for table in made)
    found = [row for table in made for row in table.to_pylist()]
    by_id = {row["recording_id"]: row for row in found}
    assert len(by_id) == len(found)
    return by_id


def folder(root: Path, **settings: Any) -> Recordings:
    return Recordings(layout="folder", audio=root, **settings)


def librilight(root: Path, **settings: Any) -> Recordings:
    return Recordings(layout="librilight", audio=root, **settings)


def test_a_chapter_of_librilight_carries_what_its_json_says(tmp_path):
    path = chapter(tmp_path)
    (row,) = rows(librilight(tmp_path)).values()
    assert row | {"sha256": None, "audio_digest": None} == {
        "recording_id": f"small/100/{BOOK}/01_baum",
        "corpus": "librilight",
        "subset": "small",
        "speaker_id": "100",
        "book_id": "812",
        "title": "The Sea Fairies",
        "genre": "Literature",
        "dramatic": False,
        "audio_path": str(path.relative_to(tmp_path)),
        "sample_rate": RATE,
        "num_channels": 1,
        "num_samples": 32_000,
        "seconds": 2.0,
        "peak_db": pytest.approx(-6.02, abs=0.01),
        "loudness_db": pytest.approx(-9.03, abs=0.01),
        "num_clipped": 0,
        "snr_db": pytest.approx(5.391),
        "speech": [{"start_sample": 1_280, "end_sample": 12_800}, {"start_sample": 15_360, "end_sample": 25_600}],
        "text": None,
        "sha256": None,
        "audio_digest": None,
        "dropped": None,
        "detail": None,
    }


def test_a_ratio_that_is_not_a_number_is_unknown(tmp_path):
    chapter(tmp_path, snr=float("nan"))
    (row,) = rows(librilight(tmp_path)).values()
    assert row["snr_db"] is None
    assert row["dropped"] is None


@pytest.mark.parametrize(
    ("content", "detail"),
    [(None, "no JSON beside it"), (b"", "empty"), (b'{"speaker": "1', "no JSON"), (b"[1]", "no JSON object")],
)
def test_a_chapter_without_good_json_is_kept_and_says_so(tmp_path, content, detail):
    about = chapter(tmp_path).with_suffix(".json")
    about.unlink() if content is None else about.write_bytes(content)
    (row,) = rows(librilight(tmp_path)).values()
    assert (row["speaker_id"], row["speech"], row["dropped"]) == ("100", None, None)
    assert detail in row["detail"]


def test_a_json_of_another_speaker_is_believed_and_said(tmp_path):
    chapter(tmp_path).with_suffix(".json").write_text(json.dumps(ABOUT | {"speaker": "101"}))
    (row,) = rows(librilight(tmp_path)).values()
    assert (row["speaker_id"], row["dropped"]) == ("101", None)
    assert row["detail"] == "its folder is that of speaker 100, and its JSON says 101"


def test_a_book_read_by_several_voices_is_known(tmp_path):
    for name, dramatic in (("1", True), ("2", "yes"), ("3", None)):
        chapter(tmp_path, name=name, book_meta={"Dramatic Readings": dramatic})
    assert [row["dramatic"] for row in rows(librilight(tmp_path)).values()] == [True, None, None]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_file_that_cannot_be_read_this_time_fails_its_shard_and_is_not_dropped(tmp_path, monkeypatch, number):
    path = chapter(tmp_path)
    well, broken = Path.open, {".flac"}

    def fail(self: Path, *words: Any, **more: Any) -> Any:
        if self.suffix in broken:
            raise OSError(number, os.strerror(number))
        return well(self, *words, **more)

    monkeypatch.setattr(Path, "open", fail)
    for broken in ({".flac"}, {".json"}, {".txt"}):
        stage, shard = (
            (folder(tmp_path), f"small-100-{BOOK}") if ".txt" in broken else (librilight(tmp_path), "small-100")
        )
        with pytest.raises(OSError, match=os.strerror(number)):
            stage(shard)
    broken = {".flac"}
    with pytest.raises(OSError, match=os.strerror(number)):
        examine(path)


@pytest.mark.parametrize("activity", ["all", [[0, 1, 2]], [["a", 1]], [0.5], None])
def test_voice_activity_that_makes_no_sense_is_unknown(tmp_path, activity):
    chapter(tmp_path, voice_activity=activity)
    (row,) = rows(librilight(tmp_path)).values()
    assert (row["speech"], row["dropped"]) == (None, None)


def test_voice_activity_ends_where_the_recording_ends(tmp_path):
    chapter(tmp_path, voice_activity=[[1.0, 9.0], [0.5, 1.2], [5.0, 6.0]])
    (row,) = rows(librilight(tmp_path)).values()
    assert row["speech"] == [{"start_sample": 8_000, "end_sample": 32_000}]
    assert "the file ends at 2.00 s" in row["detail"]


def test_a_chapter_whose_flac_is_cut_in_mid_speech_costs_itself_alone(tmp_path):
    whole, cut = chapter(tmp_path), chapter(tmp_path, name="02_baum")
    soundfile.write(cut, np.random.default_rng(1).uniform(-0.5, 0.5, 4 * RATE), RATE)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    found = {row["audio_path"]: row for row in rows(librilight(tmp_path)).values()}
    assert found[str(whole.relative_to(tmp_path))]["dropped"] is None
    refused = found[str(cut.relative_to(tmp_path))]
    assert (refused["dropped"], refused["title"], refused["num_samples"]) == ("unreadable", "The Sea Fairies", None)
    assert refused["sha256"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_sample_that_is_no_number_drops_a_recording(tmp_path, bad):
    sound = np.full(RATE, 0.25, np.float32)
    sound[7] = bad
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    (row,) = rows(folder(tmp_path)).values()
    assert (row["dropped"], row["detail"]) == ("not_finite", "1 samples are NaN or infinite")
    assert row["peak_db"] == pytest.approx(-12.04, abs=0.01)


def test_an_hour_is_described_in_the_memory_of_a_moment(tmp_path):
    rate, minute = 8_000, np.random.default_rng(1).integers(-2_000, 2_000, 60 * 8_000, dtype=np.int16)
    with soundfile.SoundFile(tmp_path / "hour.flac", "w", rate, 1) as file:
        for _ in range(60):
            file.write(minute)
    stage = folder(tmp_path)
    (shard,) = stage.shards()
    tracemalloc.start()
    (row,) = stage(shard).to_pylist()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (row["seconds"], row["dropped"]) == (3_600, None)
    assert most < 20 << 20  # bytes; the hour as float32 is 115 MB


def test_json_without_audio_is_a_row(tmp_path):
    chapter(tmp_path).unlink()
    (row,) = rows(librilight(tmp_path)).values()
    assert (row["recording_id"], row["dropped"]) == (f"small/100/{BOOK}/01_baum", "no_audio")


def test_subsets_are_nested(tmp_path):
    for subset in ("small", "medium", "large"):
        chapter(tmp_path, subset=subset)
    assert list(librilight(tmp_path, subset="small").shards()) == ["small-100"]
    assert set(librilight(tmp_path, subset="medium").shards()) == {"small-100", "medium-100"}
    assert len(librilight(tmp_path, subset="large").shards()) == 3


def test_a_missing_subset_is_named(tmp_path):
    chapter(tmp_path, subset="medium")
    with pytest.raises(CorpusError, match="no folder small, and medium means small \\+ medium"):
        librilight(tmp_path, subset="medium").shards()


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


def test_librispeech_brings_its_text(tmp_path):
    audio(tmp_path / "LibriSpeech/test-clean/1089/134686/1089-134686-0000.flac")
    audio(tmp_path / "LibriSpeech/test-clean/1089/134686/1089-134686-0001.flac")
    lines = "1089-134686-0000 HE HOPED THERE WOULD BE STEW\n1089-134686-0002 STUFF IT INTO YOU\n"
    (tmp_path / "LibriSpeech/test-clean/1089/134686/1089-134686.trans.txt").write_text(lines)
    stage = Recordings(layout="librispeech", audio=tmp_path)
    assert list(stage.shards()) == ["test-clean-1089"]
    assert any(path.endswith(".trans.txt") for path in stage.shards()["test-clean-1089"])
    first, second, third = rows(stage).values()
    assert (first["subset"], first["speaker_id"], first["book_id"]) == ("test-clean", "1089", "134686")
    assert (first["text"], first["dropped"]) == ("HE HOPED THERE WOULD BE STEW", None)
    assert (second["text"], second["detail"]) == (None, "no line in a .trans.txt")
    assert (third["text"], third["dropped"]) == ("STUFF IT INTO YOU", "no_audio")


def test_librispeech_believes_its_list_of_speakers_before_a_folders_name(tmp_path):
    for place in (tmp_path, tmp_path / "LibriSpeech"):
        audio(place / "mixed/1089/134686/1089-134686-0000.flac")
        audio(place / "mixed/61/70968/61-70968-0000.flac")
        list_of = "; a comment | with | bars\n1089 | M | test-clean | 8.03 | Peter Bishop | of Leeds\nnonsense\n"
        (place / "SPEAKERS.TXT").write_text(list_of)
        stage = Recordings(layout="librispeech", audio=tmp_path)
        assert [row["subset"] for row in rows(stage).values()] == ["test-clean", "mixed"]
        assert any(path.endswith("SPEAKERS.TXT") for path in stage.shards()["mixed-61"])


def test_a_manifest_or_a_text_beside_a_file_of_a_folder_is_read(tmp_path):
    audio(tmp_path / "anna/one.wav")
    audio(tmp_path / "anna/two.mp3")
    (tmp_path / "anna/two.txt").write_text("Second one.\n")
    audio(tmp_path / "ben/deep/three.wav")
    lines = [{"path": "ben/deep/three.wav", "speaker": "Ben", "text": "Third one."}, {"path": "anna/four.wav"}, ["odd"]]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n{broken")
    found = rows(folder(tmp_path))
    assert {name: (row["speaker_id"], row["text"], row["dropped"]) for name, row in found.items()} == {
        "anna/four": ("anna", None, "no_audio"),
        "anna/one": ("anna", None, None),
        "anna/two": ("anna", "Second one.", None),
        "ben/deep/three": ("Ben", "Third one.", None),
    }
    assert {row["corpus"] for row in found.values()} == {tmp_path.name}
    assert set(folder(tmp_path).shards()["anna"]) == {"anna/one.wav", "anna/two.mp3", "anna/two.txt", "manifest.jsonl"}


def test_files_that_differ_in_suffix_alone_keep_it_in_their_ids(tmp_path):
    for name in ("a.wav", "a.flac", "b.wav", "c.d.wav", "c.d", "c.wav"):
        audio(tmp_path / name) if name != "c.d" else (tmp_path / name).write_bytes(b"odd")
    assert set(rows(folder(tmp_path))) == {"a.wav", "a.flac", "b", "c.d", "c.d.wav", "c.wav"}


def test_each_refusal_has_its_reason(tmp_path):
    audio(tmp_path / "good.wav")
    audio(tmp_path / "too_short.wav", 0.1)
    audio(tmp_path / "empty.wav", 0)
    (tmp_path / "zero.flac").touch()
    (tmp_path / "unreadable.mp3").write_bytes(b"<html>" * 100)
    soundfile.write(tmp_path / "silent.flac", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "not_finite.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    found = rows(folder(tmp_path))
    assert {name: row["dropped"] for name, row in found.items()} == {
        "good": None,
        "too_short": "too_short",
        "empty": "empty",
        "zero": "empty",
        "unreadable": "unreadable",
        "silent": "silent",
        "not_finite": "not_finite",
        "gone": "unreadable",
    }
    assert all(row["detail"] for row in found.values() if row["dropped"])


def test_the_same_audio_is_kept_once_in_a_shard_whatever_its_name_format_and_tags(tmp_path):
    first = audio(tmp_path / "a/1.flac")
    sound, rate = soundfile.read(first, dtype="int16")
    shutil.copy(first, tmp_path / "a/0.txt.flac")
    soundfile.write(tmp_path / "a/2.wav", sound, rate)
    soundfile.write(tmp_path / "a/3.flac", sound, rate, compression_level=0)
    soundfile.write(tmp_path / "a/4.wav", sound, 2 * rate)
    soundfile.write(tmp_path / "a/5.wav", np.stack([sound, sound], axis=1), rate)
    soundfile.write(tmp_path / "a/6.wav", sound[1:], rate)
    (tmp_path / "b").mkdir()
    shutil.copy(first, tmp_path / "b/1.flac")
    found = rows(folder(tmp_path))
    assert {name: row["dropped"] for name, row in found.items()} == {
        "a/0.txt": None,
        "a/1": "duplicate",
        "a/2": "duplicate",
        "a/3": "duplicate",
        "a/4": None,
        "a/5": None,
        "a/6": None,
        "b/1": None,  # of another shard: the digest tells
    }
    assert found["a/2"]["detail"] == "the same audio as a/0.txt, which is kept"
    assert len({row["audio_digest"] for row in found.values()}) == 4
    assert found["b/1"]["audio_digest"] == found["a/0.txt"]["audio_digest"]


def test_a_copy_of_what_is_dropped_has_its_own_reason(tmp_path):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(RATE), RATE)
    assert [row["dropped"] for row in rows(folder(tmp_path)).values()] == ["silent", "silent"]


def test_a_sum_that_is_not_that_of_the_samples_is_damage_where_it_is_asked_for(tmp_path):
    good, bad, unset = (audio(tmp_path / f"{name}.flac") for name in ("good", "bad", "unset"))
    audio(tmp_path / "no_flac.wav")
    with bad.open("r+b") as file:
        file.seek(26)
        stated = bytes.fromhex("00112233445566778899aabbccddeeff")
        file.write(stated)
    with unset.open("r+b") as file:
        file.seek(26)
        file.write(bytes(16))
    found = rows(folder(tmp_path, check_md5=True))
    assert {name: row["dropped"] for name, row in found.items()} == dict.fromkeys(found) | {"bad": "damaged"}
    assert stated.hex() in found["bad"]["detail"]
    assert examine(bad, md5=True).md5 in found["bad"]["detail"]
    assert found["unset"]["detail"] == "its header states no md5 to check its samples by"
    assert found["good"]["detail"] is None
    assert {row["dropped"] for row in rows(folder(tmp_path)).values()} == {None}
    assert flac.stated_md5(good) == examine(good, md5=True).md5


def test_how_loud_a_recording_is_and_whether_it_is_clipped_is_told(tmp_path):
    sound = np.zeros((RATE, 2), np.float32)
    sound[: RATE // 2] = 0.5
    sound[:3, 1] = (1.0, -1.5, 0.999)
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    (row,) = rows(folder(tmp_path)).values()
    assert (row["num_channels"], row["num_clipped"]) == (2, 2)
    assert row["peak_db"] == pytest.approx(3.52, abs=0.01)
    assert row["loudness_db"] == pytest.approx(-9.03, abs=0.01)


def test_a_name_that_is_no_text_is_a_row_all_the_same(tmp_path):
    audio(tmp_path / "good.wav").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    (row,) = rows(folder(tmp_path)).values()
    assert (row["recording_id"], row["dropped"]) == ("caf\\udce9", "unreadable")


@pytest.mark.parametrize("layout", ["folder", "librispeech", "librilight"])
def test_a_corpus_that_is_not_there_or_holds_nothing_is_said_in_one_sentence(tmp_path, layout):
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(CorpusError, match=str(root)) as caught:
            Recordings(layout=layout, audio=root).shards()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"layout": "vinyl"}, {"layout": "librilight", "subset": "tiny"}])
def test_a_wrong_setting_is_named(settings):
    with pytest.raises(CorpusError, match="recordings\\."):
        Recordings(**settings)


def test_the_sample_corpus_is_planned_before_it_is_made(tmp_path):
    stage = Recordings(layout="sample", audio=tmp_path / "audio")
    assert stage.shards() == {f"small-{speaker}": {} for speaker in sample_corpus.VOICES}
    assert not stage.audio.exists()
    stage.provide()
    assert set(stage.shards()) == {f"small-{speaker}" for speaker in sample_corpus.VOICES}
    assert all(len(files) == 4 for files in stage.shards().values())
    assert {row["dropped"] for row in stage("small-2120").to_pylist()} == {None}


def test_a_large_corpus_is_listed_in_seconds(tmp_path):
    for speaker in range(100):
        book = tmp_path / f"small/{speaker}/book"
        book.mkdir(parents=True)
        for number in range(50):
            (book / f"{number}.flac").touch()
            (book / f"{number}.json").touch()
    start = time.monotonic()
    shards = librilight(tmp_path).shards()
    assert len(shards) == 100
    assert time.monotonic() - start < 5  # 10,000 files, here in about 0.1 s


@pytest.mark.parametrize("check_md5", [False, True])
def test_every_bad_file_is_exactly_one_row(speech, check_md5):
    found = rows(folder(speech / "bad", check_md5=check_md5))
    paths = {json.loads(line)["path"] for line in (speech / "bad/manifest.jsonl").read_text().splitlines()}
    assert {row["audio_path"] for row in found.values()} == paths
    assert len(found) == 97
    assert all(row["detail"] for row in found.values() if row["dropped"])


def test_real_corpora_are_kept_whole(speech):
    assert len([r for r in rows(librilight(speech / "librilight-mini")).values() if r["dropped"] is None]) == 10
    spoken = rows(Recordings(layout="librispeech", audio=speech / "librispeech-mini")).values()
    assert len([row for row in spoken if row["text"] and row["dropped"] is None]) == 100
