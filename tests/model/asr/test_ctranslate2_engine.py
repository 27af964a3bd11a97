"""CTranslate2's Whisper beside openai-whisper's: the same weights, the same evidence; skipped where it is missing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.asr import recognition
from tests.speech import sentences

pytest.importorskip("ctranslate2")


@pytest.fixture(scope="module")
def engines() -> tuple[recognition.Engine, recognition.Engine]:
    torch.set_num_threads(1)
    return recognition.load_asr("embedded"), recognition.load_asr("embedded", engine=recognition.FASTER)


@pytest.fixture(scope="module")
def waveforms() -> list[NDArray[np.float32]]:
    """Three sentences, silence, and a sentence backwards, which fails."""
    said = [waveform for _, waveform in sentences(3, recognition.SAMPLE_RATE)]
    return [*said, np.zeros(2 * recognition.SAMPLE_RATE, np.float32), said[0][::-1].copy()]


def test_both_engines_hear_the_same_and_are_as_sure(
    engines: tuple[recognition.Engine, recognition.Engine], waveforms: list[NDArray[np.float32]]
) -> None:
    ours, theirs = (recognition.transcribe(engine, waveforms[:4], words=True) for engine in engines)
    for one, other in zip(ours, theirs, strict=True):
        assert other.text == one.text
        assert other.discarded == one.discarded
        assert (other.language, other.language_prob, other.num_tokens) == ("en", None, one.num_tokens)
        assert other.avg_logprob == pytest.approx(one.avg_logprob, abs=1e-3)
        assert other.no_speech_prob == pytest.approx(one.no_speech_prob, abs=1e-3)
        assert (other.compression_ratio, other.temperature) == (one.compression_ratio, one.temperature)
        for a, b in zip(one.words or (), other.words or (), strict=True):
            assert (b.word, b.start, b.end) == (a.word, pytest.approx(a.start, abs=0.1), pytest.approx(a.end, abs=0.1))
            assert b.prob == pytest.approx(a.prob, abs=1e-2)


def test_a_second_try_is_seeded_by_the_id_and_not_by_what_came_before(
    engines: tuple[recognition.Engine, recognition.Engine], waveforms: list[NDArray[np.float32]]
) -> None:
    faster, backwards = engines[1], waveforms[4]
    (alone,) = recognition.transcribe(faster, [backwards], ids=["backwards"])
    beside = recognition.transcribe(faster, [backwards, waveforms[0], backwards], ids=["other", "speech", "backwards"])
    assert alone.temperature > 0
    assert beside[2].text == alone.text
    assert beside[0].text != alone.text


def test_second_tries_are_those_of_openai_whisper_and_load_no_model_again(
    engines: tuple[recognition.Engine, recognition.Engine],
    waveforms: list[NDArray[np.float32]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing = [waveforms[4], waveforms[4][: len(waveforms[4]) // 2]]
    ours, theirs = (recognition.transcribe(engine, failing, ids=["one", "two"]) for engine in engines)
    assert [(t.text, t.temperature) for t in theirs] == [(t.text, t.temperature) for t in ours]

    def loads(*_words: object, **_more: object) -> None:
        raise AssertionError("a model is loaded again")

    monkeypatch.setattr("model.asr.ctranslate2_engine.ctranslate2.models.Whisper", loads)
    monkeypatch.setattr("model.asr.ctranslate2_engine.load_converted", loads)
    assert recognition.transcribe(engines[1], failing, ids=["one", "two"]) == theirs


@pytest.mark.parametrize("quantization", ["int8", "int16", "bfloat16"])
def test_weights_of_few_bits_are_read_by_openai_whisper_too(tmp_path: Path, quantization: str) -> None:
    from ctranslate2.specs import whisper_spec

    from model.asr import ctranslate2_engine

    optimize = whisper_spec.WhisperSpec.optimize
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(whisper_spec.WhisperSpec, "optimize", lambda spec, **_: optimize(spec, quantization))
        ctranslate2_engine.convert(recognition.load_whisper("embedded"), tmp_path)
    light = recognition.load_whisper(str(tmp_path))
    for name, weights in recognition.load_whisper("embedded").state_dict().items():
        assert torch.allclose(light.state_dict()[name], weights, atol=0.02 * float(weights.abs().max())), name


def test_the_batch_size_changes_no_text_and_hardly_the_evidence(
    engines: tuple[recognition.Engine, recognition.Engine], waveforms: list[NDArray[np.float32]]
) -> None:
    ones, together = (recognition.transcribe(engines[1], waveforms[:4], batch_size=size) for size in (1, 16))
    assert [t.text for t in ones] == [t.text for t in together]
    assert [t.avg_logprob for t in ones] == pytest.approx([t.avg_logprob for t in together], abs=1e-5)


def test_a_folder_in_ctranslate2s_format_is_a_model_and_another_is_said(tmp_path: Path) -> None:
    from model.asr.ctranslate2_engine import convert

    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "model.bin").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="bad cannot be loaded as a Whisper of CTranslate2's"):
        recognition.load_asr(str(tmp_path / "bad"), engine=recognition.FASTER)
    (tmp_path / "good").mkdir()
    convert(recognition.load_whisper("embedded"), tmp_path / "good")
    assert recognition.identity(str(tmp_path / "good")).startswith("file@")
    assert recognition.load_asr(str(tmp_path / "good"), engine=recognition.FASTER).name == "faster-whisper"
