"""Held-out speakers: LibriSpeech's own 146, and nobody of the sample corpus."""

import pytest

from tasks.corpora.held_out import LIBRISPEECH, NAMES, held_out
from tasks.corpora.librispeech import SPEAKERS
from warehouse.errors import Mistake


def test_every_reader_of_librispeechs_dev_and_test_sets_is_held_out_once():
    readers = {subset: speakers.split() for subset, speakers in LIBRISPEECH.items()}
    assert {subset: len(speakers) for subset, speakers in readers.items()} == {
        "dev-clean": 40,
        "dev-other": 33,
        "test-clean": 40,
        "test-other": 33,
    }
    assert len({speaker for speakers in readers.values() for speaker in speakers}) == 146
    assert all(speakers == sorted(speakers, key=int) for speakers in readers.values())


def test_a_reader_has_the_split_of_the_set_that_holds_it():
    splits = held_out("librispeech")
    assert (splits["1089"], splits["8461"]) == ("test", "test")
    assert (splits["84"], splits["8288"]) == ("dev", "dev")
    assert sorted(set(splits.values())) == ["dev", "test"]


@pytest.mark.parametrize("speaker", ["19", "7177", "01089", "libri-1089", "1089 ", ""])
def test_only_whole_ids_count(speaker):
    assert speaker not in held_out("librispeech")


def test_nobody_is_held_out_where_that_is_asked_for():
    assert held_out("none") == {}


def test_another_word_is_a_mistake_that_names_those_allowed():
    with pytest.raises(Mistake, match="'librivox'; it may be librispeech or none"):
        held_out("librivox")
    assert all(held_out(name) is not None for name in NAMES)


def test_real_readers_of_test_other_are_held_out(speech):
    folder = speech / "librispeech-mini/LibriSpeech"
    readers = {path.name for path in (folder / "test-other").iterdir()}
    assert readers <= set(LIBRISPEECH["test-other"].split())
    listed = [line.split("|") for line in (folder / SPEAKERS).read_text().splitlines() if not line.startswith(";")]
    assert readers == {line[0].strip() for line in listed}
