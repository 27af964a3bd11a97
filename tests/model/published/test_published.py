"""Judges in the format of `transformers`: loaded from a folder, named by what is in it."""

from pathlib import Path

import numpy as np
import pytest

from model.published.model_folder import identity, library

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library's own, about random weights


def noise(seed: int, seconds: float = 1.0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(16_000 * seconds))).astype(np.float32)


def test_a_recognizer_hears_each_waveform_as_if_it_were_alone(tmp_path: Path) -> None:
    from model.published.ctc import CtcRecognizer
    from tests.model.published.tiny_judges import save_hubert

    judge = CtcRecognizer(save_hubert(tmp_path / "hubert"))
    waveforms = [noise(1), noise(2, 0.4), np.zeros(0, np.float32), noise(3)]
    heard = judge.transcribe(waveforms)
    assert heard == [judge.transcribe([one])[0] for one in waveforms]
    assert heard[2] == ""
    assert set("".join(heard)) <= set("ABCDE ")
    assert judge.spelt([5, 0, 5, 4, 3, 6, 1, 4]) == "AA B", "a blank parts equal letters, as in HELLO"
    assert CtcRecognizer(tmp_path / "hubert").transcribe(waveforms) == heard


def test_a_voice_is_a_direction_of_length_one(tmp_path: Path) -> None:
    from model.published.xvector import SpeakerVerifier
    from tests.model.published.tiny_judges import save_wavlm

    judge = SpeakerVerifier(save_wavlm(tmp_path / "wavlm"))
    voice = judge.embed(noise(1))
    assert voice.shape == (12,)
    assert np.linalg.norm(voice) == pytest.approx(1.0, abs=1e-5)
    assert np.array_equal(SpeakerVerifier(tmp_path / "wavlm").embed(noise(1)), voice)


def test_a_judge_is_named_by_what_is_in_its_folder_and_not_by_its_place(tmp_path: Path) -> None:
    from tests.model.published.tiny_judges import save_wavlm

    here, there = (save_wavlm(tmp_path / name) for name in ("here", "there"))
    assert identity(here) == identity(there) != identity(save_wavlm(tmp_path / "other", seed=1))
    (there / "preprocessor_config.json").write_text("{}")
    assert identity(here) != identity(there)


def test_a_folder_without_a_model_is_one_sentence(tmp_path: Path) -> None:
    from model.published.ctc import CtcRecognizer
    from model.published.xvector import SpeakerVerifier
    from tests.model.published.tiny_judges import SHAPE, save_hubert, save_wavlm

    with pytest.raises(ValueError, match="holds no model in transformers' format"):
        identity(tmp_path)
    with pytest.raises(ValueError, match="holds no recognizer by CTC"):
        CtcRecognizer(save_wavlm(tmp_path / "wavlm"))
    with pytest.raises(ValueError, match="holds no verifier of speakers: Unrecognized"):
        SpeakerVerifier(save_hubert(tmp_path / "hubert"))
    headless = library().WavLMModel(library().WavLMConfig(**SHAPE))
    headless.save_pretrained(tmp_path / "wavlm")
    with pytest.raises(ValueError, match="holds no verifier of speakers: it lacks"):
        SpeakerVerifier(tmp_path / "wavlm")
