"""The sample corpus: the same bytes every time, laid out as LibriLight, and told truly."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from deploy.embedded import kokoro
from tasks.audio.audio_files import examine, read
from tasks.corpora import sample_corpus
from tasks.corpora.held_out import held_out
from tasks.utterances import Utterances, split
from tests.speech import HELD_OUT
from warehouse.errors import Mistake


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
    monkeypatch.setattr(sample_corpus, "_write", lambda path: pytest.fail("a chapter was written"))
    sample_corpus.make(corpus)


def test_a_failed_making_leaves_nothing(tmp_path, monkeypatch):
    def failing(path):
        raise OSError("no space left on device")

    monkeypatch.setattr(sample_corpus, "_write", failing)
    with pytest.raises(OSError, match="no space"):
        sample_corpus.make(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_corpus_is_left_alone(tmp_path):
    (tmp_path / "small" / "100").mkdir(parents=True)
    with pytest.raises(Mistake, match="another corpus.*--audio"):
        sample_corpus.make(tmp_path)


def test_every_chapter_is_mono_with_a_librilight_json_beside_it(corpus):
    chapters = sorted(corpus.rglob("*.flac"))
    assert {path.relative_to(corpus).parts[1] for path in chapters} == set(sample_corpus.readers())
    for path in chapters:
        assert len(path.relative_to(corpus).parts) == 4
        found = examine(path)
        about = json.loads(path.with_suffix(".json").read_text())
        assert (found.sample_rate, found.num_channels) == (24_000, 1)
        assert about["file_length_sec"] == found.seconds
        assert about["speaker"] == path.parts[-3]
        for start, end in about["voice_activity"]:
            assert start / 0.08 == pytest.approx(round(start / 0.08))
            assert end / 0.08 == pytest.approx(round(end / 0.08))


def test_it_is_about_eight_minutes(corpus):
    assert 420 < sum(examine(path).seconds for path in corpus.rglob("*.flac")) < 600


def test_the_truth_says_where_speech_is_and_the_rest_is_silent(corpus):
    told: dict[str, list[tuple[int, int]]] = {}
    for recording_id, start, end, _ in sample_corpus.truth(corpus):
        told.setdefault(recording_id, []).append((start, end))
    assert len(told) == 2 * len(sample_corpus.readers())
    for recording_id, stretches in told.items():
        sound = read(corpus / f"{recording_id}.flac", 24_000)
        for start, end in stretches:
            assert np.abs(sound[start:end]).max() > 0.05
            sound[start - 240 : end + 240] = 0  # a lossy codec smears 10 ms
        assert np.abs(sound).max() < 0.02


def test_no_sentence_is_said_twice(corpus):
    texts = [text for *_, text in sample_corpus.truth(corpus)]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
def test_a_split_by_speaker_leaves_no_split_empty(share):
    assert {split(speaker, share, share) for speaker in sample_corpus.readers()} == {"train", "dev", "test"}


def test_no_voice_has_the_id_of_a_reader_who_is_held_out():
    assert sample_corpus.readers().keys().isdisjoint(held_out("librispeech"))


def test_the_readers_that_no_embedded_model_has_heard_are_in_dev_and_test():
    voices = {speaker: reader["voice"] for speaker, reader in sample_corpus.readers().items()}
    stage = Utterances()
    heldout = {speaker for speaker in voices if split(speaker, stage.dev_share, stage.test_share) != "train"}
    assert heldout == set(HELD_OUT)
    assert {voices[speaker] for speaker in heldout} <= set(kokoro.HELD_OUT)
    assert not any(name in voices[speaker] for name in kokoro.HELD_OUT for speaker in voices if speaker not in heldout)
