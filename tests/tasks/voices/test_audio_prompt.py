"""Voices: which seconds of a file are taken, what is said of them, and what is refused."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from model.asr import recognition
from model.codec import encodec
from tasks.corpora.sample_corpus import readers
from tasks.text.espeak import SAMPLE_RATE, synthesize
from tasks.text.phonemization import phonemize
from tasks.voices import audio_prompt
from tasks.voices.audio_prompt import Excerpt, take
from tests.tasks import small_evaluation
from tests.tasks.small_evaluation import LONG, SHORT, VOICES
from warehouse.errors import Mistake

Waveform = NDArray[np.float32]


def pause(seconds: float) -> Waveform:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def save(folder: Path, *parts: str | Waveform, rate: int = SAMPLE_RATE, name: str = "prompt.wav") -> Path:
    """A file in which anna says these texts, with these sounds between them."""
    spoken = [synthesize(part, VOICES["anna"]) if isinstance(part, str) else part for part in parts]
    soundfile.write(folder / name, np.concatenate(spoken), rate)
    return folder / name


def taken(path: Path, **how: bool) -> Excerpt:
    return take(path, audio_prompt.examine(path), **how)


def refusal(path: Path) -> str:
    with pytest.raises(Mistake) as told:
        taken(path)
    assert str(path) in str(told.value)
    return str(told.value)


def warned(path: Path, word: str) -> bool:
    return any(word in warning for warning in taken(path).warnings)


def near(excerpt: Excerpt, start: float, end: float, by: float = 0.25) -> bool:
    rate = excerpt.sample_rate
    return abs(excerpt.start / rate - start) < by and abs(excerpt.end / rate - end) < by


def test_a_prompt_begins_where_speech_begins_and_ends_at_a_pause(tmp_path: Path) -> None:
    seconds = len(synthesize(LONG, VOICES["anna"])) / SAMPLE_RATE
    excerpt = taken(save(tmp_path, pause(1.5), LONG, pause(0.8), SHORT))
    assert near(excerpt, 1.5, 1.5 + seconds)
    assert not excerpt.is_whole
    assert excerpt.warnings == ()


def test_speech_without_pauses_is_cut_near_three_seconds_where_it_is_quietest() -> None:
    rate = 1000
    asked: list[tuple[int, int]] = []

    def quietest(start: int, stop: int) -> int:
        asked.append((start, stop))
        return start + 300

    assert audio_prompt.best([(100, 20_100)], rate, quietest) == (100, 100 + 2_800)
    assert asked == [(100 + 2_500, 100 + 3_500)]


@pytest.mark.parametrize(
    ("speech", "expected"),
    [
        ([(0, 1500), (1600, 3100), (5000, 9000)], (0, 3100)),  # two stretches and the pause between them
        ([(0, 1000), (2500, 3000), (5000, 8000)], (5000, 8000)),  # rather one that is filled
        ([(0, 1200), (9000, 10_500)], (9000, 10_500)),  # the longer, where none is long enough
        ([(0, 3000), (4000, 7000)], (0, 3000)),  # the earlier of equals
    ],
)
def test_the_stretch_nearest_to_three_seconds_with_the_least_of_pauses(
    speech: Sequence[tuple[int, int]], expected: tuple[int, int]
) -> None:
    assert audio_prompt.best(list(speech), 1000, lambda start, stop: (start + stop) // 2) == expected


def test_a_short_file_is_taken_whole(tmp_path: Path) -> None:
    path = save(tmp_path, pause(0.3), LONG, pause(0.5))
    assert taken(path).is_whole
    assert taken(path, whole=True).is_whole
    apart = save(tmp_path, SHORT, pause(0.4), SHORT, name="apart.wav")
    assert taken(apart, whole=True).is_whole


def test_an_excerpt_reads_as_it_lies_in_the_file(tmp_path: Path) -> None:
    excerpt = taken(save(tmp_path, pause(1.0), LONG))
    sound, _ = soundfile.read(excerpt.path, dtype="float32")
    assert np.array_equal(excerpt.read(SAMPLE_RATE), sound[excerpt.start : excerpt.end])
    assert len(excerpt.read(16_000)) == pytest.approx(excerpt.seconds * 16_000, abs=1)


def test_what_is_silent_or_nearly_so_is_refused(tmp_path: Path) -> None:
    assert "it is silent" in refusal(save(tmp_path, pause(3.0)))
    noise = np.random.default_rng(0).normal(0, 0.01, 3 * SAMPLE_RATE).astype(np.float32)
    assert "nobody is heard to speak in it" in refusal(save(tmp_path, noise))
    assert "of speech are heard in it, and 1 s is the least" in refusal(save(tmp_path, pause(1.0), "Go.", pause(1.0)))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is empty"), (b"hello", "is text, not audio"), (b"RIFF\0\0\0\0WAVE", "is a damaged WAV file")],
)
def test_what_is_no_audio_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    assert says in refusal(tmp_path / "x.wav")


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    speech = synthesize(LONG, VOICES["anna"])
    speech[1000] = np.nan
    soundfile.write(tmp_path / "x.wav", speech, SAMPLE_RATE, subtype="FLOAT")
    assert "not finite numbers" in refusal(tmp_path / "x.wav")


def test_only_the_first_minute_is_looked_at_and_that_is_said(tmp_path: Path) -> None:
    assert warned(save(tmp_path, LONG, pause(59.0), LONG), "lasts 6")
    assert "nobody is heard to speak in its first 60 s" in refusal(
        save(tmp_path, np.full(61 * SAMPLE_RATE, 1e-3, np.float32), LONG)
    )


def test_little_speech_is_told(tmp_path: Path) -> None:
    assert warned(save(tmp_path, SHORT), "s of speech; with 3 s its voice is met better")
    assert not warned(save(tmp_path, LONG, pause(0.3), LONG), "of speech")


def test_a_narrow_band_is_told(tmp_path: Path) -> None:
    speech = synthesize(LONG, VOICES["anna"])[::2]
    assert warned(save(tmp_path, speech, rate=SAMPLE_RATE // 2), "11,025 Hz: nothing of the voice is known above 5.5")


def test_clipped_faint_and_noisy_speech_is_told_and_clean_speech_is_not(tmp_path: Path) -> None:
    speech = np.concatenate([synthesize(f"{LONG} {SHORT}", VOICES["anna"]), pause(0.5)])
    speech *= 0.5 / np.abs(speech).max()
    assert taken(save(tmp_path, speech)).warnings == ()
    assert warned(save(tmp_path, (speech * 20).clip(-1, 1)), "is clipped")
    assert warned(save(tmp_path, speech / 40), "is faint")
    noise = np.random.default_rng(0).normal(0, np.sqrt(np.mean(speech**2) / 4), len(speech)).astype(np.float32)
    assert warned(save(tmp_path, speech + noise), "is noisy")


def test_a_voice_is_named_by_its_sound_and_not_by_its_file(tmp_path: Path) -> None:
    speech = synthesize(SHORT, VOICES["anna"])
    wav, flac = save(tmp_path, speech), save(tmp_path, speech, name="copy.flac")
    other = save(tmp_path, LONG, name="other.wav")
    assert audio_prompt.examine(wav).digest == audio_prompt.examine(flac).digest != audio_prompt.examine(other).digest


def test_a_machine_is_known_by_its_corpus_and_its_name() -> None:
    name = next(iter(readers()))
    assert audio_prompt.is_machine(audio_prompt.speaker("sample", name))
    assert not audio_prompt.is_machine(audio_prompt.speaker("sample", "jane")), "in a person's folder that is called so"
    assert not audio_prompt.is_machine(audio_prompt.speaker("librispeech", name))


def test_a_prompt_has_the_phones_of_its_text_and_the_codes_of_its_sound(tmp_path: Path) -> None:
    excerpt = taken(save(tmp_path, pause(0.5), LONG))
    prompt = audio_prompt.prompt(excerpt, LONG, encodec.load_codec(small_evaluation.save_codec(tmp_path)), "en-us")
    assert prompt.phones == phonemize(LONG).phones
    assert prompt.codes.shape == (8, -(-len(excerpt.read(24_000)) // 320))
    assert prompt.codes.dtype == np.uint16
    assert prompt.seconds == excerpt.seconds
    with pytest.raises(Mistake, match=r"'你好', has no phones of en-us .* --prompt-text"):
        audio_prompt.prompt(excerpt, "你好", encodec.load_codec(small_evaluation.save_codec(tmp_path)), "en-us")


def test_a_prompt_in_which_whisper_hears_no_word_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    excerpt = taken(save(tmp_path, LONG))
    heard = SimpleNamespace(text="")
    monkeypatch.setattr(recognition, "warm_asr", lambda *_: None)
    monkeypatch.setattr(recognition, "transcribe", lambda *_, **__: [heard])
    with pytest.raises(Mistake, match="no words are heard .* --prompt-text"):
        audio_prompt.hear(excerpt, "embedded", "cpu", "en")


def test_real_speech_of_many_kinds_gives_a_prompt(speech: Path) -> None:
    found = [
        taken(path)
        for folder in ("jfk", "commonvoice", "ljspeech", "libritts")
        for path in sorted((speech / "open" / folder).rglob("*.*"))[:2]
        if path.suffix in (".wav", ".flac", ".mp3")
    ]
    assert len(found) > 4
    assert all(1.0 <= excerpt.seconds <= 4.0 for excerpt in found)


def test_bad_files_give_a_prompt_or_a_refusal(speech: Path) -> None:
    for path in sorted((speech / "bad").rglob("*.*"))[::4]:
        if path.suffix in (".jsonl", ".md"):
            continue
        with suppress(Mistake):  # anything else is a crash
            assert taken(path).seconds >= 1.0


def test_samples_that_are_not_what_was_recorded_are_refused(tmp_path):
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, SAMPLE_RATE).astype(np.float32)
    for sound, word in ((noise * 32_768, "times full scale"), (np.stack([noise, -noise], 1), "opposite phase")):
        soundfile.write(tmp_path / "x.wav", sound, SAMPLE_RATE, subtype="FLOAT")
        with pytest.raises(Mistake, match=f"x.wav cannot be used: .*{word}"):
            audio_prompt.examine(tmp_path / "x.wav")
