"""Which utterance gives a voice, and where it is cut."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tasks.text.phonemization import phonemize
from tasks.voices import utterance_prompt
from warehouse.tables import CODES

PHONES = ("a", "b", " ", "c", "d", "e", " ", "f", "g", "h")


def utterance(num_frames: int) -> utterance_prompt.Utterance:
    codes = np.arange(8 * num_frames, dtype=np.uint16).reshape(8, num_frames)
    return utterance_prompt.Utterance("u#0-9", "u.wav", 0, 9, "words", PHONES, np.arange(10, dtype=np.uint16), codes)


def test_a_prompt_is_never_the_target_itself() -> None:
    assert utterance_prompt.choose("a", [("a", 3.0)]) is None
    assert utterance_prompt.choose("a", [("a", 3.0), ("b", 12.0)]) == "b"


@pytest.mark.parametrize(
    ("better", "worse"),
    [(2.5, 9.0), (3.0, 3.1), (2.0, 1.9), (9.0, 1.5)],
    ids=["whole before cut", "exactly whole", "long enough", "cut before short"],
)
def test_an_utterance_whose_phones_are_known_whole_is_the_better_prompt(better: float, worse: float) -> None:
    for seed in range(8):  # whatever the draw
        assert utterance_prompt.choose(f"target {seed}", [("worse", worse), ("better", better)]) == "better"


def test_less_than_a_third_of_the_length_gives_no_voice() -> None:
    assert utterance_prompt.choose("a", [("b", 0.99)]) is None
    assert utterance_prompt.choose("a", [("b", 0.99)], seconds=1.0) == "b"


def test_targets_draw_different_prompts_and_each_the_same_one_again() -> None:
    others = [(f"other {i}", 2.5) for i in range(10)]
    drawn = [utterance_prompt.choose(f"target {i}", others) for i in range(20)]
    assert len(set(drawn)) > 5
    assert drawn == [utterance_prompt.choose(f"target {i}", reversed(others)) for i in range(20)]


def test_a_whole_utterance_brings_all_its_phones_and_frames() -> None:
    begun = utterance(num_frames=200).beginning(225)
    assert begun.phone_ids.tolist() == list(range(10))
    assert begun.codes.shape == (8, 200)
    assert (begun.text, begun.cut) == ("words", "whole")


@pytest.mark.parametrize(("num_frames", "end"), [(1000, 2), (600, 2), (500, 6), (240, 10)])
def test_a_part_brings_whole_words_the_nearest_to_its_share_of_the_time(num_frames: int, end: int) -> None:
    begun = utterance(num_frames).beginning(225)
    assert begun.phone_ids.tolist() == list(range(end))
    assert np.array_equal(begun.codes, utterance(num_frames).codes[:, :225])
    assert begun.cut == "share"


def timed(*words: tuple[str, float, float], num_frames: int = 600) -> utterance_prompt.Utterance:
    """An utterance whose transcript has the times of its words."""
    rows = tuple({"word": word, "start": start, "end": end, "prob": 1.0} for word, start, end in words)
    return replace(utterance(num_frames), text="".join(word for word, *_ in words).strip(), words=rows)


WORDS = (
    (" He", 0.2, 0.5),
    (" saw", 0.5, 1.1),
    (" a", 1.2, 1.4),
    (" bird.", 1.8, 2.6),
    (" It", 3.2, 3.3),
    (" sang", 3.4, 4),
)


@pytest.mark.parametrize(
    ("seconds", "text", "end"),
    [(3.0, "He saw a bird.", 2.9), (2.7, "He saw a bird.", 2.7), (2.5, "He saw a", 1.6), (3.25, "He saw a bird.", 2.9)],
    ids=["in the middle of the pause", "as long as it may be", "before a word that is cut", "not within a word"],
)
def test_a_prompt_ends_behind_a_word_and_brings_the_words_that_are_in_it(seconds: float, text: str, end: float) -> None:
    begun = timed(*WORDS).beginning(round(seconds * 75))
    assert (begun.text, begun.cut) == (text, "word")
    assert begun.codes.shape == (8, int(end * 75 + 1e-9))
    assert begun.phone_ids.tolist() == list(phonemize(text).phone_ids)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ((" Oh", 0.2, 0.5), (" dear", 1.2, 3.5)),  # behind the first word lies a third of nothing
        ((" Well", 0.2, 3.1), (" then", 3.2, 3.5)),
        ((" 語", 0.2, 2.8), (" then", 3.2, 3.5)),
        ((" late", 4.0, 5.0), (" early", 1.0, 2.0)),
    ],
    ids=["no times", "too little", "no word ends in time", "words that cannot be said", "times out of order"],
)
def test_where_times_give_no_cut_the_share_of_the_text_does_and_it_is_said(
    words: tuple[tuple[str, float, float], ...],
) -> None:
    begun = timed(*words).beginning(225)
    assert begun.cut == "share"
    assert begun.codes.shape == (8, 225)


def test_only_kept_rows_with_these_ids_are_picked(tmp_path: Path) -> None:
    for shard, ids in {"one": "ab", "two": "cd"}.items():
        rows = [{"utterance_id": name, "dropped": "silence" if name == "b" else None} for name in ids]
        pq.write_table(pa.Table.from_pylist(rows, schema=CODES.schema), tmp_path / f"{shard}.parquet")
    rows = ds.dataset([tmp_path / "one.parquet", tmp_path / "two.parquet"])
    assert utterance_prompt.pick(rows, {"b", "c", "x"}, ["utterance_id"]) == [{"utterance_id": "c"}]
