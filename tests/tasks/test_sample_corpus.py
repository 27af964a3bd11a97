"""The sample corpus: the same bytes every time, laid out as LibriLight, and told truly."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tasks import sample_corpus
from tasks.audio import examine, read
from tasks.held_out import held_out
from tasks.sentences import VOCABULARY
from tasks.utterances import split


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "audio"
    sample_corpus.make(folder)
    return folder


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in files
    }


def test_it_has_the_same_bytes_and_times_whenever_it_is_made(corpus, tmp_path):
    sample_corpus.make(tmp_path)
    assert digests(tmp_path) == digests(corpus)


def test_what_is_there_is_not_made_again(corpus, monkeypatch):
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("a process was started"))
    sample_corpus.make(corpus)


def test_a_failed_making_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(RuntimeError, match="could not be made"):
        sample_corpus.make(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_chapter_is_16_khz_mono_with_a_librilight_json_beside_it(corpus):
    chapters = sorted(corpus.rglob("*.flac"))
    assert {path.relative_to(corpus).parts[1] for path in chapters} == set(sample_corpus.VOICES)
    for path in chapters:
        assert len(path.relative_to(corpus).parts) == 4
        found = examine(path)
        about = json.loads(path.with_suffix(".json").read_text())
        assert (found.sample_rate, found.num_channels) == (16_000, 1)
        assert about["file_length_sec"] == found.seconds
        assert about["speaker"] == path.parts[-3]
        for start, end in about["voice_activity"]:
            assert start / 0.08 == pytest.approx(round(start / 0.08))
            assert end / 0.08 == pytest.approx(round(end / 0.08))


def test_it_is_about_six_minutes(corpus):
    assert 300 < sum(examine(path).seconds for path in corpus.rglob("*.flac")) < 420


def test_the_truth_says_where_speech_is_and_the_rest_is_silent(corpus):
    told: dict[str, list[tuple[int, int]]] = {}
    for recording_id, start, end, text in sample_corpus.truth(corpus):
        told.setdefault(recording_id, []).append((start, end))
        assert {word.strip(".,?").lower() for word in text.split()} <= VOCABULARY
    assert len(told) == 2 * len(sample_corpus.VOICES)
    for recording_id, stretches in told.items():
        sound = read(corpus / f"{recording_id}.flac", 16_000)
        for start, end in stretches:
            assert np.abs(sound[start:end]).max() > 0.05
            sound[start:end] = 0
        assert np.abs(sound).max() == 0


def test_no_sentence_is_said_twice(corpus):
    texts = [text for *_, text in sample_corpus.truth(corpus)]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
def test_a_split_by_speaker_leaves_no_split_empty(share):
    assert {split(speaker, share, share) for speaker in sample_corpus.VOICES} == {"train", "dev", "test"}


def test_no_voice_has_the_id_of_a_reader_who_is_held_out():
    assert sample_corpus.VOICES.keys().isdisjoint(held_out("librispeech"))
