"""FLAC's own checksum: the one in the header is that of the samples, whatever their depth and channels."""

import hashlib

import numpy as np
import pytest
import soundfile

from tasks.audio.audio_files import examine
from tasks.audio.flac import BITS, stated_md5

RATE = 16_000  # Hz


def noise(num_samples: int, num_channels: int, bits: int) -> np.ndarray:
    """Every kind of sample of so many bits, left-aligned in int32: the lowest and the highest among them."""
    most = 1 << (bits - 1)
    samples = np.random.default_rng(bits).integers(-most, most, (num_samples, num_channels))
    samples[:2] = [[-most], [most - 1]]
    return (samples << (32 - bits)).astype(np.int32)


@pytest.mark.parametrize("subtype", BITS)
@pytest.mark.parametrize("num_channels", [1, 2, 8])
def test_what_the_header_states_is_the_sum_of_what_is_decoded(tmp_path, monkeypatch, subtype, num_channels):
    monkeypatch.setattr("tasks.audio.audio_files._BLOCK", 4_000)
    path = tmp_path / "a.flac"
    samples = noise(3_001, num_channels, BITS[subtype])
    soundfile.write(path, samples, RATE, subtype=subtype)
    own = samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 4 - BITS[subtype] // 8 :]
    assert stated_md5(path) == examine(path, md5=True).md5 == hashlib.md5(own.tobytes()).hexdigest()


def test_a_tag_before_the_header_is_passed_over(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(100, 1, 16), RATE, subtype="PCM_16")
    md5 = stated_md5(path)
    path.write_bytes(b"ID3\x03\x00\x00\x00\x00\x02\x01" + bytes(257) + path.read_bytes())
    assert stated_md5(path) == md5 == examine(path, md5=True).md5


def test_blocks_before_the_one_that_should_be_first_are_passed_over(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(100, 1, 16), RATE, subtype="PCM_16")
    md5, content = stated_md5(path), path.read_bytes()
    path.write_bytes(b"fLaC\x01\x00\x00\x03pad" + content[4:])
    assert stated_md5(path) == md5
    path.write_bytes(b"fLaC\x81\x00\x00\x03pad" + content[4:])  # the last block, it says
    assert stated_md5(path) is None


@pytest.mark.parametrize("content", [b"", b"fLaC", b"RIFF" + bytes(60), b"fLaC" + bytes(60), b"ID3\x03" + bytes(3)])
def test_a_file_without_a_sum_states_none(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert stated_md5(tmp_path / "a") is None


def test_no_sum_is_counted_unless_it_is_asked_for_or_where_there_is_none(tmp_path):
    for name in ("a.flac", "a.wav"):
        soundfile.write(tmp_path / name, noise(100, 1, 16), RATE)
    assert examine(tmp_path / "a.flac").md5 is None
    assert examine(tmp_path / "a.wav", md5=True).md5 is None
