"""Pieces: where a text is cut, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text.phonemization import phonemize
from tasks.text.splitting import LONGEST_TEXT, Segment, ids, segments, split
from tasks.text.symbols import SYMBOLS
from warehouse.errors import Mistake

SENTENCE = "The old man, who was tired, walked slowly along the river and saw a bird there."


def test_a_short_text_is_one_piece_and_has_the_phones_of_the_whole() -> None:
    text = "Mr. Smith paid $3.50. He left."
    [segment] = segments(text)
    assert segment.text == "Mister Smith paid three dollars and fifty cents. He left."
    assert segment.phones == phonemize(text).phones


def test_a_long_text_is_cut_at_the_ends_of_its_sentences() -> None:
    found = split(" ".join([SENTENCE] * 40))
    assert " ".join(found) == " ".join([SENTENCE] * 40)
    assert all(part.endswith("there.") and 100 / 2 <= len(part) <= 200 for part in found)


def test_a_point_that_ends_no_sentence_ends_no_piece() -> None:
    text = " ".join(["They went to see Dr. Brown and Mrs. Jones at 3.5 miles, by the U.S. post road."] * 20)
    assert all(part.endswith("road.") for part in split(text))


def test_a_long_sentence_is_cut_at_a_comma_and_one_without_at_a_blank() -> None:
    assert all(part[-1] in ",." for part in split("walking slowly along the wide river, " * 20 + "they slept."))
    words = "river " * 200
    assert [word for part in split(words) for word in part.split()] == words.split()


def test_a_blank_line_ends_a_sentence() -> None:
    assert [segment.text for segment in segments("Chapter I\n\nIt rained\nall day.")] == [
        "Chapter one",
        "It rained all day.",
    ]


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet=st.sampled_from("abc .,!?\n\"'()"), max_size=600), st.integers(5, 200))
def test_nothing_is_lost_and_nothing_is_too_long(text: str, longest: int) -> None:
    found = split(text, longest=longest)
    assert all(len(part) <= longest for part in found)
    assert [letter for part in found for letter in part if letter.isalpha()] == [c for c in text if c.isalpha()]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the text is empty"),
        (" \n\t", "the text is empty"),
        ("!!! ... ?", "there is nothing to say in '!!! ... ?'"),
        ("Good 😀 and 你好.", "there are no phones of en-us for 你 好 😀"),
        ("a bell \x07 and \u202e", "for U+0007 U+202E"),
        ("".join(chr(0x4E00 + i) for i in range(20)), "丆 万 …"),
        ("a" * (LONGEST_TEXT + 1), "the text has 100,001 characters, and 100,000 can be said at once"),
    ],
)
def test_what_cannot_be_said_is_told_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(Mistake) as told:
        segments(text)
    assert says in str(told.value)


def test_punctuation_that_stands_alone_is_no_piece() -> None:
    assert [segment.text for segment in segments("Good day.\n\n* * *\n\n...\n\nGood night.")] == [
        "Good day.",
        "Good night.",
    ]


def test_a_word_without_an_end_is_said_in_parts() -> None:
    assert [len(segment.text) for segment in segments("a" * 400)] == [200, 200]


def test_phones_are_numbered_by_the_checkpoints_own_table() -> None:
    assert ids(["b", "a"], ["a", "b"]).tolist() == [1, 0]
    assert ids(phonemize(SENTENCE).phones, SYMBOLS).tolist() == list(phonemize(SENTENCE).phone_ids)
    with pytest.raises(Mistake, match="the checkpoint knows no phone 'ʒ'"):
        ids(["a", "ʒ"], ["a", "b"])


def test_a_pause_is_as_long_as_what_ends_before_it() -> None:
    marks = {"A bird.": 0.35, 'A bird?"': 0.35, "A bird,": 0.15, "A bird": 0.0}
    assert {text: Segment(text, ()).pause for text in marks} == marks
