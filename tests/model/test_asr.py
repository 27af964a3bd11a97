"""Whisper by name and by path, and transcripts that depend on nothing but their own window."""

import hashlib
import shutil
from dataclasses import asdict
from pathlib import Path
from urllib.error import URLError

import jiwer
import numpy as np
import pytest
import torch
import whisper
from numpy.typing import NDArray
from whisper.model import ModelDimensions, Whisper
from whisper.normalizers import EnglishTextNormalizer

from deploy.embedded.speech import HELD_OUT_VOICES, sentences, speak
from model import asr

EVIDENCE = ("avg_logprob", "no_speech_prob", "compression_ratio", "temperature")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def embedded() -> Whisper:
    return asr.load_asr("embedded")


def untrained(folder: Path, num_vocab: int = 51_864) -> Path:
    """A checkpoint of Whisper's format with nothing learnt, so unsure of everything."""
    torch.manual_seed(0)
    model = Whisper(ModelDimensions(80, 1500, 16, 1, 1, num_vocab, 24, 16, 1, 1))
    torch.nn.init.normal_(model.decoder.positional_embedding)
    torch.nn.init.normal_(model.decoder.token_embedding.weight, std=0.02)  # else each token calls for itself
    path = folder / "untrained.pt"
    torch.save({"dims": asdict(model.dims), "model_state_dict": model.state_dict()}, path)
    return path


def noise(seconds: float, seed: int, level: float = 0.1) -> NDArray[np.float32]:
    pick = np.random.default_rng(seed)
    return (level * pick.standard_normal(round(seconds * asr.SAMPLE_RATE))).astype(np.float32)


def spoken(num: int) -> list[tuple[str, NDArray[np.float32]]]:
    """Unseen sentences in unseen voices."""
    texts = sentences(seed=77, held_out=True)
    return [
        (text, speak(text, voice, asr.SAMPLE_RATE))
        for text, voice in zip((next(texts) for _ in range(num)), HELD_OUT_VOICES[:num], strict=True)
    ]


def word_error_rate(said: list[str], heard: list[str]) -> float:
    normal = EnglishTextNormalizer()
    return float(jiwer.wer([normal(text) for text in said], [normal(text) for text in heard]))


def test_the_embedded_model_loads_and_decodes_as_any_other_whisper() -> None:
    model = whisper.load_model(str(asr.EMBEDDED), device="cpu")
    said = spoken(4)
    mels = [whisper.log_mel_spectrogram(whisper.pad_or_trim(waveform)) for _, waveform in said]
    options = whisper.DecodingOptions(language="en", without_timestamps=True, fp16=False)
    heard = [result.text for result in model.decode(torch.stack(mels), options)]
    assert word_error_rate([text for text, _ in said], heard) <= 0.4


def test_the_embedded_model_fits_in_sixteen_megabytes() -> None:
    assert asr.EMBEDDED.stat().st_size <= 16_000_000


def test_unseen_sentences_of_unseen_voices_are_heard_with_confidence(embedded: Whisper) -> None:
    said = spoken(6)
    heard = asr.transcribe(embedded, [waveform for _, waveform in said])
    assert word_error_rate([text for text, _ in said], [t.text for t in heard]) <= 0.4
    assert all(t.avg_logprob > asr.MIN_AVG_LOGPROB and t.no_speech_prob < 0.1 and t.temperature == 0.0 for t in heard)


def test_silence_is_heard_as_no_words(embedded: Whisper) -> None:
    (heard,) = asr.transcribe(embedded, [np.zeros(3 * asr.SAMPLE_RATE, np.float32)])
    assert heard.text == ""
    assert heard.no_speech_prob > asr.MAX_NO_SPEECH_PROB


def test_an_english_only_model_does_not_guess_the_language(embedded: Whisper) -> None:
    (heard,) = asr.transcribe(embedded, [spoken(1)[0][1]])
    assert (heard.language, heard.language_prob) == ("en", None)


def test_a_transcript_does_not_depend_on_its_neighbours(embedded: Whisper) -> None:
    waveforms = [waveform for _, waveform in spoken(3)]
    waveforms += [0.003 * waveforms[0], noise(2.0, seed=1, level=0.9)]  # loud beside quiet
    alone, threes, together = (asr.transcribe(embedded, waveforms, batch_size=size) for size in (1, 3, 16))
    for batched in (threes, together):
        assert [t.text for t in batched] == [t.text for t in alone]
        for name in EVIDENCE:
            ours, theirs = ([getattr(t, name) for t in these] for these in (batched, alone))
            assert ours == pytest.approx(theirs, abs=1e-3), name


def test_second_tries_are_seeded_by_the_id_and_not_by_the_neighbours(tmp_path: Path) -> None:
    model = asr.load_asr(str(untrained(tmp_path)))
    waveforms = [noise(1.0, seed) for seed in range(3)]
    alone = [asr.transcribe(model, [w], ids=[str(i)])[0] for i, w in enumerate(waveforms)]
    together = asr.transcribe(model, waveforms, ids=["0", "1", "2"])
    assert [t.text for t in together] == [t.text for t in alone]
    assert all(t.temperature == asr.TEMPERATURES[-1] and t.avg_logprob < asr.MIN_AVG_LOGPROB for t in together)
    assert asr.transcribe(model, waveforms[:1], ids=["another"])[0].text != alone[0].text


def test_transcribing_leaves_the_callers_randomness_alone(tmp_path: Path) -> None:
    model = asr.load_asr(str(untrained(tmp_path)))
    before = torch.random.get_rng_state()
    asr.transcribe(model, [noise(1.0, 0)])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_multilingual_model_says_which_language_and_how_sure_it_is(tmp_path: Path) -> None:
    model = asr.load_asr(str(untrained(tmp_path, num_vocab=51_865)))
    detected, forced = (asr.transcribe(model, [noise(1.0, 0)], language=language)[0] for language in (None, "de"))
    assert forced.language == "de"
    assert detected.language_prob is not None
    assert forced.language_prob is not None
    assert 0 < forced.language_prob <= detected.language_prob <= 1


def test_more_than_thirty_seconds_are_refused_by_name(tmp_path: Path) -> None:
    model = asr.load_asr(str(untrained(tmp_path)))
    with pytest.raises(ValueError, match="long-one is 30.5 s long"):
        asr.transcribe(model, [noise(30.5, 0)], ids=["long-one"])


def test_nothing_to_hear_is_nothing_heard(tmp_path: Path) -> None:
    assert asr.transcribe(asr.load_asr(str(untrained(tmp_path))), []) == []


def test_a_model_is_named_by_its_content_and_not_by_its_path(tmp_path: Path) -> None:
    path = untrained(tmp_path)
    moved = Path(shutil.copy(path, tmp_path / "moved.pt"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert asr.identity(str(path)) == asr.identity(str(moved)) == f"file@{digest[:8]}"
    moved.write_bytes(moved.read_bytes() + b" ")
    assert asr.identity(str(moved)) != asr.identity(str(path))
    assert asr.identity("embedded") == f"embedded@{hashlib.sha256(asr.EMBEDDED.read_bytes()).hexdigest()[:8]}"


def test_a_warm_model_is_loaded_once_and_again_when_its_file_changes(tmp_path: Path) -> None:
    path = untrained(tmp_path)
    first = asr.warm_asr(str(path))
    assert asr.warm_asr(str(path)) is first
    torch.save(torch.load(path) | {"note": "changed"}, path)
    assert asr.warm_asr(str(path)) is not first


def test_known_models_carry_their_publishers_digests() -> None:
    published = {name: url.split("/")[-2][:8] for name, url in whisper._MODELS.items()}
    ours = {name: asr.identity(name).split("@")[1] for name in published}
    assert ours == published
    assert asr.identity("turbo") == asr.identity("large-v3-turbo") == "large-v3-turbo@aff26ae4"


def test_a_name_that_is_neither_known_nor_a_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="'enormous'"):
        asr.identity("enormous")
    with pytest.raises(FileNotFoundError, match="large-v3-turbo"):
        asr.load_asr(str(tmp_path / "missing.pt"))


def test_weights_that_cannot_be_fetched_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, device: str) -> Whisper:
        raise URLError("no route to host")

    monkeypatch.setattr(whisper, "load_model", offline)
    with pytest.raises(ConnectionError, match="large-v3-turbo.*no route to host"):
        asr.load_asr("turbo")
