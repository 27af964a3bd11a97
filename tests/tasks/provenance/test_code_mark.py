"""The mark in the codes of a file: found behind the codec, told beside what the file says of itself."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from model.valle.mark import mark
from tasks.audio.resynthesis import decode, encode
from tasks.provenance.code_mark import STRENGTH, Listener
from tests.conftest import Said
from tests.speech import sentences


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener("embedded")


@pytest.fixture(scope="module")
def codes(listener: Listener) -> np.ndarray:
    """Ten seconds of speech."""
    said = np.concatenate([waveform for _, waveform in sentences(6, 24_000)])
    return encode(listener.codec, said[: 10 * 24_000])


def speech(listener: Listener, codes: np.ndarray, *, marked: bool) -> np.ndarray:
    """As the codec makes it sound; with a mark, each first code is the nearest green one."""
    entries = listener.codec.codebooks[0]
    green = mark(entries, STRENGTH).green
    nearest = torch.cdist(entries, entries).masked_fill(~green, float("inf")).argmin(1).numpy()
    first = nearest[codes[:1]] if marked else codes[:1]
    return decode(listener.codec, np.concatenate([first, codes[1:]]).astype(np.uint16))


def test_it_is_found_behind_the_codec_wherever_the_file_was_cut(listener, codes):
    waveform = speech(listener, codes, marked=True)
    assert listener.trace(waveform).found
    assert listener.trace(waveform[137:]).found
    assert not listener.trace(speech(listener, codes, marked=False)).found


def test_a_file_without_credentials_is_known_by_its_codes(listener, codes, valle: Callable[..., Said], tmp_path: Path):
    files = {
        "marked": speech(listener, codes, marked=True),
        "other": speech(listener, codes, marked=False),
        "short": np.zeros(99),
    }
    for name, waveform in files.items():
        soundfile.write(tmp_path / f"{name}.wav", waveform, 24_000)
    code, out, err = valle("detect", *(tmp_path / f"{name}.wav" for name in files), "--json")
    assert code == 0, err
    marked, other, short = json.loads(out)
    assert (marked["verdict"], marked["marks"]) == ("synthetic", ["codes"])
    assert marked["chance"] < 1e-3 < other["chance"]
    assert (other["verdict"], other["marks"]) == ("no mark", [])
    assert (short["verdict"], short["chance"]) == ("no mark", None)
    assert "too short" in short["why"]


def test_a_codec_that_is_not_there_is_a_sentence(valle: Callable[..., Said], tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", np.zeros(9), 24_000)
    code, _, err = valle("detect", tmp_path / "a.wav", "--codec", "none")
    assert code == 2
    assert "there is no codec none" in err
