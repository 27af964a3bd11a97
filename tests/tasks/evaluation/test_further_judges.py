"""Further judges: each named with its digest, and a sentence where one cannot be had."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import soundfile

from model.asr import recognition
from tasks.audio import audio_files
from tasks.evaluation import further_judges
from tasks.evaluation.further_judges import identity, prosody
from tasks.evaluation.judges import RATE
from tasks.evaluation.scoring import WordScores
from tasks.scores import Scores
from tests.conftest import SPEECH
from tests.tasks import small_evaluation
from warehouse.errors import Mistake
from warehouse.tables import SAMPLES


def tone(hertz: float, seconds: float = 1.5, swing: float = 0.0) -> np.ndarray:
    """A voice of sorts: harmonics of a pitch that goes up and down by so many semitones."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    phase = 2 * np.pi * np.cumsum(hertz * 2 ** (swing * np.sin(2 * np.pi * time) / 12)) / 16_000
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 6))).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mos", "there is no judge 'mos'; there are hubert-ctc, moonshine, wavlm-sv, dnsmos, prosody"),
        ("hubert-ctc", "'hubert-ctc' must read hubert-ctc=FOLDER"),
        ("dnsmos=x", "'dnsmos=x' must read dnsmos"),
    ],
)
def test_a_judge_that_is_none_is_one_sentence(name: str, says: str) -> None:
    with pytest.raises(Mistake, match=says):
        identity(name)


def test_a_judge_that_is_not_installed_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(further_judges, "find_spec", lambda _: None)
    with pytest.raises(Mistake, match=r"dnsmos needs speechmos; pip install 'valle\[judges\]' brings it"):
        Scores(judges=("dnsmos",)).identity()
    monkeypatch.setattr(further_judges, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(Mistake, match="dnsmos needs onnxruntime"):
        identity("dnsmos")
    monkeypatch.setattr(further_judges, "find_spec", lambda _: None)
    with pytest.raises(Mistake, match=r"moonshine needs moonshine_voice; pip install 'valle\[moonshine\]' brings it"):
        identity("moonshine")


def test_a_wheel_without_weights_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    further_judges._digest.cache_clear()
    (tmp_path / "assets/tiny-en").mkdir(parents=True)
    (tmp_path / "assets/tiny-en/tokenizer.bin").touch()  # which is all that later wheels have
    monkeypatch.setattr(further_judges, "_package", lambda _: tmp_path)
    with pytest.raises(Mistake, match="moonshine_voice as it is installed holds no assets/tiny-en"):
        identity("moonshine")


def test_a_folder_without_a_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"scores\.judges: .* holds no model"):
        Scores(judges=(f"wavlm-sv={tmp_path}",)).identity()


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")  # of the libraries' own
def test_every_judge_scores_every_sample_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.model.published.tiny_judges import save_hubert, save_wavlm

    whisper = small_evaluation.save_whisper(tmp_path)
    monkeypatch.setattr(recognition, "TEMPERATURES", ())
    for name, hertz in (("one", 120.0), ("two", 180.0), ("prompt", 110.0)):
        soundfile.write(tmp_path / f"{name}.wav", tone(hertz, 2.3), 16_000)  # DNSMOS looks once where it can
    shared = {
        "speaker_id": "s",
        "prompt_seconds": 1.5,
        "prompt_path": "prompt.wav",
        "prompt_decoded_path": "prompt.wav",
    }
    shared |= {"evaluation_set": "1", "prompt_text": "Some words."}
    samples = [
        {"sample_id": "ground-truth/u/0", "system": "ground-truth", "text": "AB CD", "audio_path": "one.wav"},
        {"sample_id": "valle/u/0", "system": "valle", "text": "AB CD", "audio_path": "two.wav"},
        {"sample_id": "valle/v/0", "system": "valle", "text": "AB", "dropped": "empty"},
    ]
    folders = f"hubert-ctc={save_hubert(tmp_path / 'hubert')}", f"wavlm-sv={save_wavlm(tmp_path / 'wavlm')}"
    stage = Scores(root=tmp_path, judge=whisper, judges=(*folders, "moonshine", "dnsmos", "prosody"))
    table = pa.Table.from_pylist([shared | sample for sample in samples], schema=SAMPLES.schema)
    rows: list[dict[str, Any]] = stage(ds.dataset(table)).to_pylist()
    assert len({(row["sample_id"], row["metric"], row["judge"]) for row in rows}) == len(rows)
    names = [identity(name) for name in stage.judges]
    assert stage.identity()["judges"] == names
    begun = [name.partition("@")[0] for name in names]
    assert begun[:2] == ["hubert-ctc/folder", "wavlm-sv/folder"]
    assert begun[2].startswith("moonshine/0.0.")
    assert begun[3] == "dnsmos/0.0.1.1"
    metrics = {
        name: {row["metric"] for row in rows if row["judge"] == name and row["sample_id"] == "valle/u/0"}
        for name in names
    }
    assert list(metrics.values()) == [
        {"wer"},
        {"speaker_similarity", "speaker_similarity_decoded"},
        {"wer"},
        {"dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808"},
        {"f0_mean", "f0_std", "f0_shift", "f0_std_ratio", "rate", "rate_ratio"},
    ]
    assert {row["metric"] for row in rows if row["sample_id"] == "valle/v/0"} == {"wer"}
    assert all(1 <= row["value"] <= 5 for row in rows if row["metric"].startswith("dnsmos"))
    assert {row["system"] for row in rows if row["metric"] == "wer_silence"} == {"ground-truth"}


def test_pitch_and_rate_are_those_of_the_speech_against_those_of_its_prompt() -> None:
    sample = {"system": "valle", "text": "abcdef", "prompt_text": "abc"}
    found = prosody(sample, tone(200, 2.0, swing=2), tone(100, 2.0, swing=1))
    assert found["f0_mean"] == pytest.approx(200, rel=0.02)
    assert found["f0_shift"] == pytest.approx(12, abs=0.3)
    assert found["f0_std_ratio"] == pytest.approx(2, rel=0.1)
    assert (found["rate"], found["rate_ratio"]) == (3.0, 2.0)
    assert prosody(sample, tone(200), None)["f0_shift"] is None
    silent = prosody(sample, np.zeros(24_000, np.float32), tone(100))
    assert (silent["f0_mean"], silent["f0_shift"], silent["rate"]) == (None, None, 4.0)
    assert prosody(sample | {"system": "valle-continual"}, tone(100), tone(100))["rate"] is None


def test_another_ear_than_whisper_hears_recorded_speech() -> None:
    if not (SPEECH / "open").exists():
        pytest.skip("recorded speech is not here")
    lines = map(json.loads, (SPEECH / "open/manifest.jsonl").read_text("utf-8").splitlines())
    spoken = next(line for line in lines if line["path"].endswith("jfk.flac"))
    speech = audio_files.read(SPEECH / "open" / spoken["path"], RATE)
    judge = further_judges.load("moonshine", Path(), "cpu", {})
    sample = {"sample_id": "valle/j/0", "system": "valle", "speaker_id": "j", "protocol": "given", "detail": None}
    sample |= {"evaluation_set": "1", "text": spoken["text"], "prompt_text": None}
    assert isinstance(judge, WordScores)
    [score] = judge.score([(sample, speech)])
    assert score["value"] < 0.1, score["detail"]
