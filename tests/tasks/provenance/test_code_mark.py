"""The mark in the codes of a file, told beside what the file says of itself."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.valle.mark import leads
from tasks.audio.resynthesis import encode
from tasks.provenance.code_mark import Listener
from tasks.provenance.credentials import tag
from tests.conftest import Said
from tests.speech import sentences


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener("embedded")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Six seconds."""
    return np.concatenate([waveform for _, waveform in sentences(4, 24_000)])[: 6 * 24_000]


def led_by(listener: Listener, waveform: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the key the one that would have led to this very speech."""
    heard = leads(encode(listener.codec, waveform), listener.codec.codebooks)
    monkeypatch.setattr("model.valle.mark.coins", lambda *_: np.where(heard > 0, 1, -1))


def test_it_is_found_wherever_the_file_was_cut(listener, speech, monkeypatch):
    assert not listener.trace(speech).found
    led_by(listener, speech, monkeypatch)
    assert listener.trace(speech).found
    assert listener.trace(speech[137:]).found
    assert listener.trace(speech[:24_000]).found is None


def test_a_file_is_known_by_its_codes_whatever_it_says(
    listener, speech, valle: Callable[..., Said], tmp_path: Path, monkeypatch
):
    soundfile.write(tmp_path / "plain.wav", speech, 24_000)
    soundfile.write(tmp_path / "short.wav", speech[:99], 24_000)
    with soundfile.SoundFile(tmp_path / "tagged.wav", "w", 24_000, 1) as file:
        tag(file)
        file.write(speech)
    files = [tmp_path / f"{name}.wav" for name in ("plain", "tagged", "short")]
    code, out, err = valle("detect", *files, "--json")
    assert code == 0, err
    assert [row["verdict"] for row in json.loads(out)] == ["no mark", "synthetic", "no mark"]
    led_by(listener, speech, monkeypatch)
    plain, tagged, short = json.loads(valle("detect", *files, "--json")[1])
    assert (plain["verdict"], plain["marks"]) == ("synthetic", ["codes"])
    assert (tagged["verdict"], tagged["marks"]) == ("synthetic", ["tag", "codes"])
    assert plain["chance"] < 1e-3
    assert (short["verdict"], short["marks"], short["chance"]) == ("no mark", [], None)
    assert "too short" in short["why"]


def test_a_codec_that_is_not_there_is_a_sentence(valle: Callable[..., Said], tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", np.zeros(9), 24_000)
    code, _, err = valle("detect", tmp_path / "a.wav", "--codec", "none")
    assert code == 2
    assert "there is no codec none" in err
