"""What makes and judges the embedded models, each script for seconds, with a voice of sines in Kokoro's place."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from deploy.embedded import codec, corpus, figures, judge, robots, sample_corpus, valle
from deploy.embedded.kokoro import HELD_OUT, Voice, alone
from tasks.evaluation import checkpoint_pairs
from tests.speech import said_by

Run = Callable[..., str]


class Sines:
    """Speaks as Kokoro does, in sines; counts what it says."""

    said = 0

    def __init__(self, folder: Path) -> None:
        assert folder.name == "parts"

    def mixed(self, pick: Any, accents: str) -> Voice:
        return alone(f"{accents[0]}f_{pick.randrange(100)}")

    def speak(self, text: str, voice: Voice, speed: float = 1.0) -> np.ndarray:
        type(self).said += 1
        return np.sin(np.arange(int(100 * len(text) / speed)) * 0.05).astype(np.float32) / 2


@pytest.fixture(autouse=True)
def sines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sines, "said", 0)
    monkeypatch.setattr(corpus, "Kokoro", Sines)
    monkeypatch.setattr(sample_corpus, "Kokoro", Sines)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def main_of(module: ModuleType, *words: object) -> str:
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
        module.main()
        return capsys.readouterr().out

    return main_of


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two voices that no embedded model has heard, laid out as the script lays them out."""
    folder = tmp_path_factory.mktemp("held-out")
    for speaker in ("2120", "2379"):
        (folder / speaker).mkdir()
        lines = []
        for number, (text, speech) in enumerate(said_by(speaker, 24_000)[:5]):
            soundfile.write(folder / speaker / f"{number}.flac", speech, 24_000)
            lines.append({"path": f"{number}.flac", "speaker": speaker, "text": text})
        corpus.tell(folder / speaker, lines)
    return folder


def test_held_out_voices_are_spoken_once_and_a_voice_that_is_not_whole_anew(run: Run, tmp_path: Path) -> None:
    words = (tmp_path, "--kokoro", tmp_path / "parts", "--held-out")
    run(corpus, *words)
    voices = sorted(path.parent.name for path in tmp_path.glob("held-out/*/manifest.jsonl"))
    assert voices == sorted(HELD_OUT)
    whole = Sines.said
    run(corpus, *words)
    assert Sines.said == whole
    (tmp_path / "held-out" / voices[0] / "manifest.jsonl").unlink()
    run(corpus, *words)
    assert Sines.said == whole + whole // len(HELD_OUT)


def test_speech_played_faster_or_slower_is_another_voice(run: Run, tmp_path: Path) -> None:
    (tmp_path / "audio" / "one").mkdir(parents=True)
    soundfile.write(tmp_path / "audio" / "one" / "0.ogg", np.zeros(24_000), 24_000, format="OGG", subtype="OPUS")
    corpus.tell(tmp_path / "audio" / "one", [{"path": "0.ogg", "speaker": "one", "text": "Hush."}])
    run(corpus, tmp_path, "--resample")
    run(corpus, tmp_path, "--resample")
    [other] = tmp_path.glob("audio/one~*")
    assert soundfile.info(other / "0.ogg").frames != 24_000
    assert json.loads((other / "manifest.jsonl").read_text())["text"] == "Hush."


def test_robots_say_words_and_texts(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wordfreq", reason="the script's own need, which the project does not ask for")
    monkeypatch.setattr(robots, "_VARIANTS", ["m1"])
    run(robots, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "robots" / "00-m1" / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == robots._WORDS + robots._TEXTS
    assert all(soundfile.info(tmp_path / "robots" / "00-m1" / line["path"]).duration > 0.2 for line in lines)


def test_a_sample_corpus_whose_making_was_ended_goes_on_and_is_the_same(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(sample_corpus, "--kokoro", tmp_path / "parts", "--folder", tmp_path / "whole")
    whole = Sines.said
    speak = Sines.speak

    def ends(self: Sines, *words: Any) -> np.ndarray:
        if Sines.said == whole + 20:
            raise KeyboardInterrupt
        return speak(self, *words)

    monkeypatch.setattr(Sines, "speak", ends)
    with pytest.raises(KeyboardInterrupt):
        run(sample_corpus, "--kokoro", tmp_path / "parts", "--folder", tmp_path / "broken")
    monkeypatch.setattr(Sines, "speak", speak)
    run(sample_corpus, "--kokoro", tmp_path / "parts", "--folder", tmp_path / "broken")
    assert Sines.said < 2 * whole + 20
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "broken").iterdir())
    assert (tmp_path / "whole" / "sample.json").read_text() == (tmp_path / "broken" / "sample.json").read_text()


def test_there_is_nothing_to_export_before_a_training(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no training to export"):
        run(codec, tmp_path, "--export", tmp_path / "codec.safetensors")


@pytest.mark.slow
def test_a_codec_is_judged_by_ears_and_figures(run: Run, held_out: Path) -> None:
    found = json.loads(run(figures, "embedded", held_out, "--most", 2))[held_out.name]
    assert 0.5 < found["stoi"] <= 1
    assert 1 <= found["visqol"] <= 5
    assert found["wer_original"] < 0.3


@pytest.mark.slow
def test_a_pair_is_judged_by_what_whisper_hears(run: Run, held_out: Path) -> None:
    found = json.loads(run(judge, held_out, "--sentences", 1))
    assert found["pieces"] == len(found["heard"]) == 2
    assert 0 <= found["nearest"] <= 1
    assert found["continual"]["pieces"] == 2


def test_the_pair_that_ships_is_written_as_it_is(run: Run, tmp_path: Path) -> None:
    shipped = checkpoint_pairs.folder(checkpoint_pairs.EMBEDDED)
    said = run(valle, shipped / "ar", shipped / "nar", "--folder", tmp_path)
    for half in ("ar", "nar"):
        digest = json.loads((shipped / half / "settings.json").read_text())["sha256"]
        assert f"{half} {digest}" in said
