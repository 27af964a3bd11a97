"""Which pairs are said: bounded, evenly over speakers, the same each time, and read again from a file."""

from pathlib import Path
from typing import Any

import pytest

from tasks.protocols import evaluation_set
from tasks.protocols.evaluation_set import EvaluationSet, draw, part, read, shard_names
from warehouse.errors import Mistake


def utterances(**speakers: int) -> list[dict[str, Any]]:
    """So many utterances of 5 s by each speaker."""
    return [
        {"utterance_id": f"{name}/{place}", "speaker_id": name, "seconds": 5.0}
        for name, number in speakers.items()
        for place in range(number)
    ]


def drawn(known: list[dict[str, Any]], number: int | None = None) -> EvaluationSet:
    return draw(known, 4.0, 10.0, number, 3.0)


def test_a_reader_of_many_hours_is_no_more_than_one_voice() -> None:
    chosen = drawn(utterances(anna=500, ben=3, cleo=40), 9).choices
    speakers = [target.partition("/")[0] for target, _ in chosen]
    assert {name: speakers.count(name) for name in set(speakers)} == {"anna": 3, "ben": 3, "cleo": 3}


def test_where_one_has_no_more_to_say_the_others_go_on() -> None:
    speakers = [target.partition("/")[0] for target, _ in drawn(utterances(anna=50, ben=1), 10).choices]
    assert (speakers.count("anna"), speakers.count("ben")) == (9, 1)


def test_fewer_are_the_first_of_more_and_the_order_of_rows_is_none() -> None:
    known = utterances(anna=20, ben=20)
    assert drawn(known, 5).choices == drawn(known[::-1], 30).choices[:5]


def test_the_prompt_is_another_of_the_speaker_of_whatever_length_and_of_a_lonely_one_none() -> None:
    known = [*utterances(anna=2, ben=1), {"utterance_id": "anna/short", "speaker_id": "anna", "seconds": 2.5}]
    chosen = dict(drawn(known).choices)
    assert chosen == {"anna/0": "anna/short", "anna/1": "anna/short", "ben/0": None}


def test_the_digest_is_of_the_pairs_and_not_of_their_order() -> None:
    pairs = (("a", "b"), ("c", None), ("b", "a"))
    assert EvaluationSet(pairs).digest == EvaluationSet(pairs[::-1]).digest
    assert EvaluationSet(pairs).digest != EvaluationSet(pairs[:2]).digest


def test_a_frozen_set_is_read_again_with_the_same_digest(tmp_path: Path) -> None:
    chosen = drawn(utterances(anna=4, ben=1))
    lines = [f"ground-truth,{target},{prompt or ''}" for target, prompt in chosen.choices]
    (tmp_path / "set.csv").write_text("\n".join(["system,utterance_id,prompt_id", *lines]) + "\n")
    assert evaluation_set.is_frozen(tmp_path / "set.csv")
    assert read(tmp_path / "set.csv") == chosen


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("utterance_id,prompt_id\n", "has no pair in it"),
        ("utterance_id,prompt_id\na,b\na,c\n", "has 'a' twice"),
        ("utterance_id,prompt_id\n,b\n", "without an utterance_id"),
        ("utterance_id,prompt_id\na\n", "breaks off"),
    ],
)
def test_a_damaged_set_is_one_sentence(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text(content)
    with pytest.raises(Mistake, match=says):
        read(tmp_path / "set.csv")


def test_a_set_that_is_no_text_or_not_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "sound.wav").write_bytes(b"\xff\xfe\x00RIFF\xff")
    with pytest.raises(Mistake, match="is no text file"):
        evaluation_set.is_frozen(tmp_path / "sound.wav")
    with pytest.raises(Mistake, match="there is no file"):
        evaluation_set.is_frozen(tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("number", "size"), [(1, 50), (50, 50), (51, 50), (1_000, 50), (7, 2), (12_345, 10), (None, 5)]
)
def test_every_pair_is_in_exactly_one_shard(number: int | None, size: int) -> None:
    there = number or 133  # of an unknown number
    names = shard_names(number, size)
    assert len(set(names)) == len(names) == (1 if number and number <= size else len(names))
    found = [place for name in names for place in range(there)[part(there, name, size if number else None)]]
    assert found == list(range(there))


def test_a_small_set_has_the_shard_of_a_table_that_gathers() -> None:
    assert shard_names(6, 50) == ("all",)
    assert shard_names(1_000, 50)[::19] == ("00-of-20", "19-of-20")
    assert len(shard_names(None, 50)) == 20


def test_where_there_is_less_than_was_asked_for_the_last_shards_are_empty() -> None:
    sizes = [len(range(60)[part(60, name, 50)]) for name in shard_names(1_000, 50)]
    assert sizes == [50, 10] + 18 * [0]
