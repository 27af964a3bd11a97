"""Speech: every segment in one voice, whatever stands beside it, and the best of several tries."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from model.asr import recognition
from model.codec import encodec
from model.valle import synthesis
from model.valle.checkpoint import build
from model.valle.settings import Settings, Size
from model.valle.synthesis import Generated, Pair, Request, load_pair
from tasks.evaluation import judges
from tasks.text.phonemization import phonemize
from tasks.text.splitting import Segment, segments
from tasks.text.symbols import BOUNDARY, SYMBOL_IDS, SYMBOLS
from tasks.voices.audio_prompt import Prompt
from tasks.voices.narration import Judge, Narrator, SpeechChunk, soft
from tests.tasks import small_evaluation
from warehouse.errors import Mistake

PROMPT = Prompt("anna", "He saw.", phonemize("He saw.").phones, np.full((8, 75), 5, np.uint16), 1.0)
TEXTS = segments("A bird.\n\nThe river.\n\nAn old man.")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pair")
    small_evaluation.save_half(folder / "ar", "ar", "codec@1")
    small_evaluation.save_half(folder / "nar", "nar", "codec@1")
    return load_pair(folder / "ar", folder / "nar")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> encodec.Codec:
    return encodec.load_codec(small_evaluation.save_codec(tmp_path_factory.mktemp("codec")))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What the model is asked for; it answers 15 frames of the code 7, and ends."""
    asked: list[Request] = []

    def generate(_pair: Pair, requests: Sequence[Request], *_: Any, **__: Any) -> list[Generated]:
        asked.extend(requests)
        return [Generated(np.full((8, 15), 7, np.uint16), True) for _ in requests]

    monkeypatch.setattr(synthesis, "generate", generate)
    return asked


def speaker(pair: Pair, decoder: encodec.Codec) -> Narrator:
    return Narrator(pair, decoder, PROMPT, "en-us")


def same(one: SpeechChunk, other: SpeechChunk) -> bool:
    return np.array_equal(one.waveform, other.waveform) and one.is_endless == other.is_endless


def test_the_model_reads_the_prompts_phones_before_those_of_each_piece(
    pair: Pair, decoder: encodec.Codec, said: list[Request]
) -> None:
    list(speaker(pair, decoder).say(TEXTS, [0]))
    for request, segment in zip(said, TEXTS, strict=True):
        expected = [SYMBOL_IDS[phone] for phone in (*PROMPT.phones, BOUNDARY, *segment.phones)]
        assert request.phones.tolist() == expected
        assert request.prompt_codes is PROMPT.codes


def test_every_rendition_says_every_piece_in_order(pair: Pair, decoder: encodec.Codec, said: list[Request]) -> None:
    found = list(speaker(pair, decoder).say(TEXTS, [4, 5, 6, 7]))  # twelve, more than are said at once
    assert [(segment.rendition, segment.place) for segment in found] == [(i, j) for i in range(4) for j in range(3)]
    assert [segment.seconds for segment in found] == pytest.approx([15 / 75 + 0.35, 15 / 75 + 0.35, 15 / 75] * 4)
    assert not any(segment.is_empty for segment in found)
    assert [request.seed for request in said[::3]] == [4, 5, 6, 7]
    assert len({request.seed for request in said}) == 12, "each segment has random numbers of its own"


def test_a_piece_does_not_depend_on_what_is_said_beside_it(pair: Pair, decoder: encodec.Codec) -> None:
    alone = next(speaker(pair, decoder).say(TEXTS[:2], [3]))
    together = list(speaker(pair, decoder).say(TEXTS, [2, 3]))
    assert same(together[3], alone)
    assert not same(together[0], alone)


def test_what_is_empty_and_what_never_ends_is_told(
    pair: Pair, decoder: encodec.Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [Generated(np.zeros((8, 0), np.uint16), False), Generated(np.zeros((8, 75), np.uint16), False)]
    monkeypatch.setattr(synthesis, "generate", lambda *_, **__: answers)
    empty, endless = speaker(pair, decoder).say(TEXTS[1:], [0])
    assert (empty.is_empty, empty.is_endless, empty.seconds) == (True, False, 0.0)
    assert (endless.is_empty, endless.is_endless, endless.seconds) == (False, True, 1.0)


def test_a_piece_that_is_streamed_comes_in_chunks_and_lasts_as_long(pair: Pair, decoder: encodec.Codec) -> None:
    whole = list(speaker(pair, decoder).say(TEXTS[:2], [3]))
    chunks = list(speaker(pair, decoder).stream(TEXTS[:2], 3))
    assert len(chunks) > 4
    for place, segment in enumerate(whole):
        mine = [chunk for chunk in chunks if chunk.place == place]
        assert sum(chunk.seconds for chunk in mine) == pytest.approx(segment.seconds)
        assert [chunk.is_endless for chunk in mine] == [False] * (len(mine) - 1) + [segment.is_endless]


def test_what_is_streamed_is_marked_as_well(
    pair: Pair, decoder: encodec.Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: list[Any] = []
    monkeypatch.setattr("model.valle.live.stream", lambda *words: iter(how.append(words[3].mark) or ()))
    for strength in (0.0, 2.0):
        marked = Narrator(pair, decoder, speaker(pair, decoder).prompt, "en-us", strength)
        list(marked.stream(TEXTS[:1], 0))
    assert how[0] is None
    assert how[1].strength == 2.0


def test_a_stream_of_nothing_says_so(pair: Pair, decoder: encodec.Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.valle.live.stream", lambda *_: iter(()))
    [chunk] = speaker(pair, decoder).stream(TEXTS[:1], 0)
    assert (chunk.is_empty, chunk.is_endless, chunk.seconds) == (True, False, 0.0)


def test_a_phone_that_the_model_does_not_know_is_named(pair: Pair, decoder: encodec.Codec) -> None:
    with pytest.raises(Mistake, match="knows no phone 'ℏ'"):
        list(speaker(pair, decoder).say([Segment("x", ("ℏ",))], [0]))


def test_a_language_that_the_model_does_not_speak_is_named(decoder: encodec.Codec) -> None:
    size = Size(num_layers=1, num_heads=2, width=16, ffn_width=16, dropout=0.0)
    ar, nar = (build(Settings(half, size, SYMBOLS, "codec@1", languages=("de", "fr"))) for half in ("ar", "nar"))
    Narrator(Pair(ar, nar), decoder, PROMPT, "de")  # type: ignore[arg-type]
    with pytest.raises(Mistake, match="speaks de, fr, and not en"):
        Narrator(Pair(ar, nar), decoder, PROMPT, "en-us")  # type: ignore[arg-type]


@pytest.fixture
def judge(decoder: encodec.Codec, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """A judge who hears `bird` in speech of 20 frames and `beard` in longer speech, and takes length for the voice."""

    def transcribe(_model: object, waveforms: Sequence[Any], **_: Any) -> list[SimpleNamespace]:
        text = "a bird" if len(waveforms[0]) < 16_000 * 25 / 75 else "a beard"
        return [SimpleNamespace(text=text)]

    monkeypatch.setattr(recognition, "warm_asr", lambda *_: None)
    monkeypatch.setattr(recognition, "transcribe", transcribe)
    monkeypatch.setattr(judges, "load_voice_encoder", lambda _: None)
    monkeypatch.setattr(judges, "embed", lambda _, speech: np.array([len(speech)], np.float32))
    return Judge(3, "embedded", "cpu", decoder, PROMPT)


def test_the_best_try_is_the_one_that_is_understood_and_then_the_one_of_the_likest_voice(
    pair: Pair, decoder: encodec.Codec, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = iter([0, 20, 40, 21, 20, 10])

    def generate(_pair: Pair, requests: Sequence[Request], *_: Any, **__: Any) -> list[Generated]:
        return [Generated(np.full((8, next(lengths)), 7, np.uint16), True) for _ in requests]

    monkeypatch.setattr(synthesis, "generate", generate)
    found = list(speaker(pair, decoder).say(TEXTS[:1], [0, 1], judge))
    assert [segment.seconds for segment in found] == [20 / 75, 21 / 75]


def test_an_empty_try_has_all_its_words_wrong(judge: Judge) -> None:
    assert judge.score("a bird sings", np.zeros((8, 0), np.uint16)) == (-3, -1.0)
    assert judge.score("a bird", np.zeros((8, 20), np.uint16))[0] == 0


def test_a_real_judge_scores_real_speech(decoder: encodec.Codec, tmp_path: Path) -> None:
    whisper = small_evaluation.save_whisper(tmp_path)
    errors, alike = Judge(2, whisper, "cpu", decoder, PROMPT).score("a bird", PROMPT.codes)
    assert errors <= 0
    assert alike == pytest.approx(1.0, abs=1e-3), "the prompt is most like itself"


def test_a_piece_begins_and_ends_without_a_click_and_has_its_pause_behind_it() -> None:
    loud = np.ones(1000, np.float32)
    segment = soft(loud, 0.01)
    assert len(segment) == 1240
    assert not segment[1000:].any()
    assert np.abs(np.diff(segment)).max() < 0.01
    assert segment[500] == 1.0
    assert loud.all()
    assert len(soft(loud[:1], 0.0)) == 1
