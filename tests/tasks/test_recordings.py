"""Recordings: a row for every file, whatever it is."""

import errno
import json
import math
import os
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tasks.audio import flac
from tasks.audio.audio_files import examine, sha256
from tasks.corpora import sample_corpus
from tasks.corpora.listing import CorpusError
from tasks.recordings import Recordings
from tests.small_corpus import BOOK, RATE, audio, chapter, folder, librilight, rows
from warehouse.errors import Mistake


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_file_that_cannot_be_read_this_time_fails_its_shard_and_is_not_dropped(tmp_path, monkeypatch, number):
    path = chapter(tmp_path)
    path.with_suffix(".txt").write_text("Said.")
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


def test_a_corpus_that_vanishes_while_a_shard_is_made_drops_nothing(tmp_path, monkeypatch):
    chapter(tmp_path / "corpus")

    def vanish(path: Path) -> str:
        shutil.rmtree(tmp_path / "corpus")
        return sha256(path)

    monkeypatch.setattr("tasks.recordings.sha256", vanish)
    with pytest.raises(OSError, match="there is no folder .*corpus"):
        librilight(tmp_path / "corpus")("small-100")


@pytest.mark.parametrize("wrong", [{"max_shard_hours": 0.0}, {"max_shard_hours": -1.0}, {"max_shard_hours": math.nan}])
def test_a_shard_of_no_length_is_a_mistake(tmp_path, wrong):
    with pytest.raises(Mistake, match=r"recordings\.max_shard_hours is .*; it must be 0\.0001 or more"):
        folder(tmp_path, **wrong)


@pytest.mark.parametrize("seconds", [-0.5, math.nan])
def test_a_least_length_that_is_none_is_a_mistake(tmp_path, seconds):
    with pytest.raises(Mistake, match=r"recordings\.min_seconds is .*; it must be 0 or more"):
        folder(tmp_path, min_seconds=seconds)


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


def test_a_line_of_librispeech_that_is_no_text_costs_its_own_text(tmp_path):
    chapter = tmp_path / "LibriSpeech/test-clean/1089/134686"
    for number in range(2):
        audio(chapter / f"1089-134686-000{number}.flac")
    lines = b"1089-134686-0000 CAF\xc9 \x81\n1089-134686-0001 CAF\xc9\n"
    (chapter / "1089-134686.trans.txt").write_bytes(lines)
    first, second = rows(Recordings(layout="librispeech", audio=tmp_path)).values()
    assert first["text"] is None
    assert first["detail"] == "its line in a .trans.txt is neither UTF-8 nor Windows-1252"
    assert (second["text"], second["detail"]) == ("CAFÉ", None)


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
        "manifest.jsonl/3": (tmp_path.name, None, "no_audio"),
        "manifest.jsonl/4": (tmp_path.name, None, "no_audio"),
    }
    assert {row["corpus"] for row in found.values()} == {tmp_path.name}
    assert set(folder(tmp_path).shards()["anna"]) == {"anna/one.wav", "anna/two.mp3", "anna/two.txt", "manifest.jsonl"}


def test_a_folders_corpus_is_called_as_it_was_first_and_never_as_librivoxs(tmp_path):
    audio(tmp_path / "mine/one.wav")
    root = tmp_path / "warehouse"
    before = Recordings(layout="folder", audio=tmp_path / "mine", root=root)
    before.provide()
    (tmp_path / "mine").rename(tmp_path / "moved")
    after = Recordings(layout="folder", audio=tmp_path / "moved", root=root)
    after.provide()
    assert {row["corpus"] for row in rows(after).values()} == {"mine"}
    assert after == before
    (tmp_path / "moved").rename(tmp_path / "librispeech")
    own = Recordings(layout="folder", audio=tmp_path / "librispeech")
    assert {row["corpus"] for row in rows(own).values()} == {"librispeech (folder)"}


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


@pytest.mark.parametrize(("factor", "dropped"), [(2, None), (8, None), (128, "wrong_scale"), (1e30, "wrong_scale")])
def test_whole_numbers_written_as_floating_point_are_dropped_and_loud_speech_is_kept(tmp_path, factor, dropped):
    sound = np.sin(np.arange(RATE) / 20, dtype=np.float32) * np.float32(factor)
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    (row,) = rows(folder(tmp_path)).values()
    assert row["dropped"] == dropped
    assert not dropped or f"its loudest sample is {np.abs(sound).max():,.0f} times full scale" in row["detail"]


def test_how_alike_the_channels_are_is_told(tmp_path):
    one, other = np.random.default_rng(1).uniform(-0.5, 0.5, (2, RATE))
    for name, channels in {
        "same": (one, one),
        "call": (one, other),
        "near": (one, 0.5 * one + 0.1 * other + 0.2),
        "left": (one, np.zeros(RATE)),
        "faint": (one, 0.01 * other),
        "mono": (one,),
        "opposite": (one, -one),
        "nearly": (one, 0.01 * other - one),
        "three": (one, one, -one),
    }.items():
        soundfile.write(tmp_path / f"{name}.wav", np.stack(channels, 1), RATE)
    found = rows(folder(tmp_path, check_md5=True))
    assert {name: row["dropped"] for name, row in found.items() if row["dropped"]} == {
        "opposite": "out_of_phase",
        "nearly": "out_of_phase",
    }
    alike = {name: row["channel_correlation"] for name, row in found.items()}
    assert [name for name, value in alike.items() if value is None] == ["faint", "left", "mono"]
    assert (alike["same"], alike["opposite"]) == (pytest.approx(1), pytest.approx(-1))
    assert (alike["call"], alike["near"]) == (pytest.approx(0, abs=0.05), pytest.approx(0.98, abs=0.02))
    assert [name for name, row in found.items() if row["detail"]] == ["call", "nearly", "opposite", "three"]
    assert found["call"]["detail"].startswith("its channels differ (correlation ")


def test_a_name_that_is_no_text_is_a_row_all_the_same(tmp_path):
    audio(tmp_path / "good.wav").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    (row,) = rows(folder(tmp_path)).values()
    assert (row["recording_id"], row["dropped"]) == ("caf\\udce9", "unreadable")


@pytest.mark.parametrize("settings", [{"layout": "vinyl"}, {"layout": "librilight", "subset": "tiny"}])
def test_a_wrong_setting_is_named(settings):
    with pytest.raises(CorpusError, match="recordings\\."):
        Recordings(**settings)


def test_the_sample_corpus_is_planned_before_it_is_made(tmp_path):
    stage = Recordings(layout="sample", audio=tmp_path / "audio")
    assert stage.shards() == {f"small-{speaker}": {} for speaker in sample_corpus.readers()}
    assert not stage.audio.exists()
    stage.provide()
    assert set(stage.shards()) == {f"small-{speaker}" for speaker in sample_corpus.readers()}
    assert all(len(files) == 4 for files in stage.shards().values())
    assert {row["dropped"] for row in stage("small-2120").to_pylist()} == {None}


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


def test_a_file_that_nobody_expected_costs_itself_and_what_most_files_do_fails_the_shard(tmp_path, monkeypatch):
    for name in ("01_a", "02_b", "03_c", "04_d"):
        chapter(tmp_path, name=name)

    def stumble(path: Path, md5: bool) -> Any:
        if path.stem in stones:
            raise IndexError("list index out of range")
        return examine(path, md5=md5)

    monkeypatch.setattr("tasks.recordings.examine", stumble)
    stones = {"02_b"}
    found = list(rows(librilight(tmp_path)).values())
    assert [row["dropped"] for row in found] == [None, "error", None, None]
    assert (found[1]["detail"], found[1]["title"]) == ("IndexError: list index out of range", "The Sea Fairies")
    stones = {"01_a", "02_b", "03_c"}
    with pytest.raises(IndexError):
        rows(librilight(tmp_path))


def test_files_that_are_left_out_are_not_opened_and_say_why(tmp_path, monkeypatch):
    well, deadly = chapter(tmp_path), chapter(tmp_path, name="02_baum")
    chapter(tmp_path, name="03_none").unlink()
    stage = librilight(tmp_path)
    paths = [str(path.relative_to(tmp_path)) for path in (well, deadly)]
    assert sorted(stage.items("small-100")) == paths
    monkeypatch.setattr(
        "tasks.recordings.sha256", lambda path: pytest.fail("it was opened") if path == deadly else sha256(path)
    )
    found = stage("small-100", without={paths[1]: "the worker died"}).to_pylist()
    assert [(row["dropped"], row["detail"], row["speaker_id"]) for row in found[:2]] == [
        (None, None, "100"),
        ("poison", "the worker died", "100"),
    ]
