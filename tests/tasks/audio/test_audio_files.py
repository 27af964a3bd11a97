"""Audio files: what is read is what is there, and a bad file is one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.audio.audio_files import Unreadable, examine, must_be_there, read

RATE = 16_000  # Hz


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def written(path: Path, samples: np.ndarray, rate: int = RATE, **how: object) -> Path:
    soundfile.write(path, samples, rate, **how)
    return path


def test_a_file_reads_as_it_was_written(tmp_path):
    path = written(tmp_path / "a.wav", tone(1), subtype="FLOAT")
    np.testing.assert_array_equal(read(path, RATE), tone(1))


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_a_stretch_is_the_same_part_of_the_whole(tmp_path, suffix):
    path = written(tmp_path / f"a.{suffix}", tone(2))
    whole, stretch = read(path, RATE), read(path, RATE, 5_000, 9_000)
    assert len(stretch) == 4_000
    np.testing.assert_allclose(stretch, whole[5_000:9_000], atol=1e-5)


def test_a_stretch_of_an_mp3_that_saves_up_bits_is_the_same_part_of_the_whole(tmp_path):
    bursts = tone(8) * (np.sin(np.arange(8 * RATE) / RATE * 4) > 0)
    path = written(tmp_path / "a.mp3", bursts, bitrate_mode="VARIABLE", compression_level=0.5)
    whole = read(path, RATE)
    for start in range(1_001, 7 * RATE, 7_919):
        np.testing.assert_allclose(read(path, RATE, start, start + 2_000), whole[start : start + 2_000], atol=1e-5)


@pytest.mark.parametrize(
    ("form", "subtype"),
    [("WAV", "GSM610"), ("WAV", "G721_32"), ("WAV", "NMS_ADPCM_16"), ("AU", "G723_24"), ("AIFF", "DWVW_16")],
)
def test_a_stretch_of_a_codec_that_cannot_seek_is_the_same_part_of_the_whole(tmp_path, form, subtype):
    path = written(tmp_path / "a", tone(2, 8_000), 8_000, format=form, subtype=subtype)
    whole = read(path, 8_000)
    assert len(whole) == pytest.approx(16_000, abs=400)
    for start, stop in ((0, 100), (1, 700), (5_000, 9_000)):
        np.testing.assert_array_equal(read(path, 8_000, start, stop), whole[start:stop])


def test_an_mp3_read_in_many_blocks_equals_one_read_in_one(tmp_path, monkeypatch):
    noise = 0.3 * np.random.default_rng(1).standard_normal(RATE * 2).astype(np.float32)
    path = written(tmp_path / "a.mp3", noise)
    whole, _ = soundfile.read(path, dtype="float32")
    monkeypatch.setattr("tasks.audio.audio_files._BLOCK", 1_000)
    np.testing.assert_allclose(read(path, RATE), whole, atol=1e-5)


def test_another_rate_keeps_the_length_in_seconds(tmp_path):
    path = written(tmp_path / "a.wav", tone(1))
    assert len(read(path, 24_000)) == 24_000
    assert len(read(path, 24_000, 4_000, 8_000)) == 6_000


def test_channels_are_averaged(tmp_path):
    path = written(tmp_path / "a.wav", np.stack([tone(1), np.zeros_like(tone(1))], axis=1), subtype="FLOAT")
    np.testing.assert_allclose(read(path, RATE), tone(1) / 2, atol=1e-7)


def test_a_stretch_beyond_the_end_is_refused(tmp_path):
    path = written(tmp_path / "a.wav", tone(1))
    with pytest.raises(Unreadable, match="ends at sample 16,000"):
        read(path, RATE, 8_000, 20_000)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_counted_and_not_read(tmp_path, bad):
    samples = tone(1)
    samples[100] = bad
    path = written(tmp_path / "a.wav", samples, subtype="FLOAT")
    assert examine(path).num_not_finite == 1
    assert examine(path).peak == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(Unreadable, match="not finite"):
        read(path, RATE)
    assert len(read(path, RATE, 200, 300)) == 100


def test_a_flac_cut_in_mid_speech_is_refused(tmp_path):
    path = written(tmp_path / "a.flac", np.random.default_rng(1).uniform(-0.5, 0.5, RATE * 4))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Unreadable, match=r"a\.flac breaks off between samples 0 and 64,000: "):
        examine(path)
    assert len(read(path, RATE, 0, RATE)) == RATE, "what lies before the cut can be read"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "a.wav is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"just words\n", "text, not audio"),
        (b"\0\0\0\x20ftypM4A ", "MPEG-4"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81", "WebM"),
        (b"#!AMR\n" + bytes(99), "AMR"),
        (b"\xff\xf1\x50\x80" + bytes(99), "AAC"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Windows"),
        (bytes(range(256)), "no audio"),
    ],
)
def test_a_file_that_is_no_audio_is_named_for_what_it_is(tmp_path, content, sentence):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=sentence):
        examine(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.wav", tmp_path):
        with pytest.raises(Unreadable, match="cannot be opened"):
            read(path, RATE)


def test_a_corpus_that_is_gone_or_an_empty_folder_is_not_there(tmp_path):
    (tmp_path / "file").touch()
    must_be_there(tmp_path)
    (tmp_path / "empty").mkdir()
    for corpus in (tmp_path / "gone", tmp_path / "file", tmp_path / "empty"):
        with pytest.raises(OSError, match=f"there is no folder {corpus}"):
            must_be_there(corpus)


def test_the_suffix_does_not_matter(tmp_path):
    path = written(tmp_path / "a.flac", tone(1)).rename(tmp_path / "a.raw")
    assert examine(path).num_samples == RATE


def test_every_bad_file_is_examined_or_refused_and_what_is_examined_can_be_read(speech):
    refused = []
    for line in (speech / "bad/manifest.jsonl").read_text().splitlines():
        path = speech / "bad" / json.loads(line)["path"]
        try:
            found = examine(path)
        except Unreadable as error:
            refused.append((path.name, str(error).split(" ")[0]))
        else:
            assert len(read(path, found.sample_rate, 0, found.num_samples)) == found.num_samples
    assert len(refused) == 43
    assert all(name == named for name, named in refused)
