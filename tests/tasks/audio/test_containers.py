"""Containers: files joined byte by byte are read whole, and no header hides that a file is more or less."""

import io
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tasks.audio import containers
from tasks.audio.audio_files import Unreadable, examine, read
from tasks.audio.containers import Part, Window, missing_bytes, parts

RATE = 16_000  # Hz
LOSSY = (("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"))


def speech(seconds: float = 2.0, loudness: float = 0.3) -> np.ndarray:
    """Bursts of a tone."""
    time = np.arange(round(seconds * RATE)) / RATE
    return (loudness * np.sin(2 * np.pi * 300 * time) * np.sin(5 * time) ** 2).astype(np.float32)


def encoded(sound: np.ndarray, form: str, subtype: str, rate: int = RATE, **how: Any) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, sound, rate, format=form, subtype=subtype, **how)
    return content.getvalue()


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def without_header(content: bytes) -> bytes:
    """An MP3 without the frame that counts the others."""
    place = max(content.find(b"Xing"), content.find(b"Info"))
    start = next(place - side for side in (13, 21, 36) if content[place - side] == 0xFF)
    return content[content.find(content[start : start + 2], place) :]


@pytest.mark.parametrize(("form", "subtype"), [*LOSSY, ("WAV", "PCM_16")])
def test_files_that_were_joined_are_read_whole_and_each_part_as_if_alone(tmp_path, form, subtype):
    contents = [encoded(speech(seconds, level), form, subtype) for seconds, level in ((2, 0.3), (1.5, 0.1), (1, 0.4))]
    alone = [read(saved(tmp_path / f"{i}", content), RATE) for i, content in enumerate(contents)]
    joined = saved(tmp_path / "joined", b"".join(contents))
    found = examine(joined)
    assert (found.num_samples, found.doubt) == (4.5 * RATE, None)
    whole = read(joined, RATE)
    np.testing.assert_array_equal(whole, np.concatenate(alone))
    for start, stop in ((0, 9), (31_000, 33_000), (31_000, 57_000), (32_000, 56_000), (60_000, 72_000)):
        np.testing.assert_allclose(read(joined, RATE, start, stop), whole[start:stop], atol=1e-5)
    with pytest.raises(Unreadable, match="ends at sample 72,000, before sample 72,001"):
        read(joined, RATE, 60_000, 72_001)


@pytest.mark.parametrize("tags", [b"", b"TAG" + bytes(125), b"ID3\3\0\0\0\0\0\x0a" + bytes(10)])
def test_an_mp3_behind_another_needs_no_header_of_its_own(tmp_path, tags):
    first, second = encoded(speech(), *LOSSY[2]), without_header(encoded(speech(3), *LOSSY[2]))
    assert examine(saved(tmp_path / "a", first + tags + second)).seconds == pytest.approx(5, abs=0.1)
    assert examine(saved(tmp_path / "b", second + tags + first)).seconds == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
def test_an_mp3_without_a_header_is_as_long_as_its_frames(tmp_path, rate, mode):
    content = encoded(speech(12), *LOSSY[2], rate, bitrate_mode=mode, compression_level=0.6)
    path = saved(tmp_path / "a", without_header(content))
    found = examine(path)
    assert found.num_samples == pytest.approx(12 * RATE, abs=2_500)
    whole = read(path, rate)
    np.testing.assert_allclose(read(path, rate, 100_000, 101_000), whole[100_000:101_000], atol=1e-5)


def test_parts_of_different_kinds_are_refused(tmp_path):
    content = encoded(speech(), *LOSSY[0]) + encoded(np.stack([speech()] * 2, 1), *LOSSY[0], 24_000)
    with pytest.raises(Unreadable, match="a was joined of files of different kinds: 16,000 Hz in 1 and 24,000 Hz in 2"):
        examine(saved(tmp_path / "a", content))


def test_a_part_that_is_cut_off_is_named(tmp_path):
    first = encoded(speech(), *LOSSY[2])
    with pytest.raises(Unreadable, match=r"part 1 of . of a is cut off: .* of the 32,000 samples"):
        examine(saved(tmp_path / "a", first[: len(first) * 2 // 3] + first))


def test_streams_that_begin_together_are_one_part(tmp_path):
    pages = b"".join(b"OggS\0" + bytes([flags]) for flags in (2, 2, 0, 0, 4, 2, 2, 0, 1))
    assert parts(saved(tmp_path / "a", pages)) == (Part(0, 30), Part(30, 54, unended=True))


def test_marks_are_found_across_the_blocks_that_a_file_is_looked_through_in(tmp_path, monkeypatch):
    contents = [encoded(speech(), *LOSSY[0])] * 3
    path = saved(tmp_path / "a", b"".join(contents))
    edges = [len(contents[0]) * i for i in range(4)]
    for block in (7, 64, 1_000):
        monkeypatch.setattr(containers, "_BLOCK", block)
        containers._parts.cache_clear()
        assert [(part.start, part.stop) for part in parts(path)] == list(pairwise(edges))


def test_a_window_is_a_file_of_its_own(tmp_path):
    path = saved(tmp_path / "a", b"0123456789")
    with path.open("rb") as file:
        window = Window(file, Part(3, 7, head=b"ab"))
        assert window.read(100) == b"ab3456"
        assert (window.seek(1), window.read(2), window.tell()) == (1, b"b3", 3)
        assert (window.seek(-1, 2), window.read(9), window.read(9)) == (5, b"6", b"")


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_that_was_streamed_is_read_to_its_end(tmp_path, size):
    content = bytearray(encoded(speech(), "WAV", "PCM_16"))
    content[40:44] = struct.pack("<I", size)
    for riff in {min(size + 36, 0xFFFFFFFF), size}:
        content[4:8] = struct.pack("<I", riff)
        path = saved(tmp_path / f"{riff}", bytes(content))
        assert examine(path).num_samples == 2 * RATE
        np.testing.assert_allclose(read(path, RATE, 100, 200), speech()[100:200], atol=1e-4)


def test_a_wav_that_holds_nothing_but_other_chunks_is_empty(tmp_path):
    content = b"RIFF" + struct.pack("<I", 48) + encoded(speech(0), "WAV", "PCM_16")[8:44] + b"LIST\4\0\0\0INFO"
    assert examine(saved(tmp_path / "a", content)).num_samples == 0


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "MS_ADPCM"),
        ("WAVEX", "FLOAT"),
        ("RF64", "PCM_16"),
        ("W64", "PCM_16"),
        ("AIFF", "PCM_24"),
        ("AU", "ULAW"),
        ("NIST", "PCM_16"),
        LOSSY[2],
    ],
)
def test_a_file_that_is_cut_off_is_refused(tmp_path, form, subtype):
    content = encoded(speech(), form, subtype)
    assert examine(saved(tmp_path / "whole", content)).seconds == pytest.approx(2, abs=0.05)
    path = saved(tmp_path / "half", content[: len(content) // 2])
    with pytest.raises(Unreadable, match="half is cut off: "):
        examine(path)
    assert len(read(path, RATE, 0, 4_000)) == 4_000, "what lies before the cut can be read"


def test_a_header_that_counts_itself_as_samples_does_no_harm(tmp_path):
    content = bytearray(encoded(speech(), "WAV", "PCM_16"))
    content[40:44] = struct.pack("<I", len(content))
    assert examine(saved(tmp_path / "a", bytes(content))).num_samples == 2 * RATE


def test_an_ogg_stream_without_a_last_page_is_kept_and_told_of(tmp_path):
    content = encoded(np.random.default_rng(1).uniform(-0.5, 0.5, 10 * RATE), *LOSSY[0])
    found = examine(saved(tmp_path / "a", content[: len(content) // 2]))
    assert 3 < found.seconds < 7
    assert found.doubt == "its Ogg stream has no last page, so its end may be missing"


def test_what_a_header_promises_is_read_in_the_log_of_libsndfile():
    assert missing_bytes("RIFF : 9 (should be 5)\n  data : 32000 (should be 15978)\n") == 16_022
    assert missing_bytes("data : 4294967295 (should be 15978)\n") == 0
    assert missing_bytes("data : 0 (should be 15978)\n") == 0
