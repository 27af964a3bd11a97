"""What is odd about a text, by examples worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.plausibility import MAX_TOKENS, chars_per_second, hallucination_flags, plain, repeats

PROSE = "The sea was calm that morning, and nobody spoke of the day before."  # 66 characters


def test_prose_at_a_readers_pace_is_not_odd() -> None:
    assert hallucination_flags(PROSE, 5.0) == []


@pytest.mark.parametrize(
    ("text", "is_loop"),
    [
        ("never never never", False),  # 1 word x 3: three words are fewer than four
        ("no no no no", True),  # 1 x 4
        ("tick tock tick tock", False),  # 2 x 2
        ("and so and so and so", True),  # 2 x 3
        ("he said that and so and so and so on", True),  # in the middle
        ("and so and so and or", False),  # broken off within the third
        ("i want to go i want to go", False),  # 4 x 2
        ("i want to go i want to go i want to go", True),  # 4 x 3
        ("ha ha ha he ha ha ha", False),  # twice three
        ("", False),
    ],
)
def test_a_loop_is_a_phrase_three_times_in_a_row_and_four_words_at_least(text: str, is_loop: bool) -> None:
    assert repeats(text.split()) is is_loop


@given(st.lists(st.sampled_from("ab"), max_size=14))
def test_loops_are_found_as_by_trying_every_phrase_everywhere(words: list[str]) -> None:
    phrases = [
        (words[i : i + n], words[i : i + n * k], n, k)
        for n in range(1, 5)
        for k in range(3, 15)
        for i in range(len(words) - n * k + 1)
    ]
    assert repeats(words) is any(stretch == phrase * k and n * k >= 4 for phrase, stretch, n, k in phrases)


def test_case_and_punctuation_hide_no_loop() -> None:
    assert "repeats" in hallucination_flags("Thank you, Sir. Thank you, sir; THANK YOU, SIR!", 4.0)


@pytest.mark.parametrize(
    ("text", "seconds", "flag"),
    [
        ("one two one two one", 1.5, "few_words"),  # 2 of 5 are different: 0.4
        ("Aaaaaaaaaaaaaaaaaaaaaaaaa!", 3.0, "long_word"),  # 25 letters
        (PROSE, 1.6, "too_fast"),  # 41 a second
        ("Yes, we did.", 3.1, "too_slow"),  # 12 in 3.1 s: 3.9 a second
        ("Thank you for watching!", 3.0, "known_phrase"),
        ("Subtitles by the Amara.org community", 3.0, "known_phrase"),
        ("Thank you.", 1.5, "known_phrase"),
        ("This is a LibriVox recording.", 3.0, "boilerplate"),
        ("All LibriVox recordings are in the public domain.", 4.0, "boilerplate"),
        ("For more information, or to volunteer, please visit librivox.org", 5.0, "boilerplate"),
        ("End of chapter 7.", 2.0, "boilerplate"),
        ("End of Chapter Seven", 2.0, "boilerplate"),
        ("Recording by Jane Smith", 2.0, "boilerplate"),
    ],
)
def test_each_doubt_by_itself(text: str, seconds: float, flag: str) -> None:
    assert hallucination_flags(text, seconds) == [flag]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("one two three one two", 1.5),  # 3 of 5
        ("Aaaaaaaaaaaaaaaaaaaaaaaa!", 3.0),  # 24 letters
        (PROSE, 1.7),  # 39 a second
        ("Yes, we did.", 3.0),  # 4 a second
        ("Oh!", 1.0),  # 3 a second, but of a short one
        ("He said thank you and went.", 2.0),  # a phrase that people say, within a sentence
        ("This was the end of the chapter that he liked.", 4.0),
        ("The title by which he was known", 3.0),
    ],
)
def test_just_beside_a_doubt_there_is_none(text: str, seconds: float) -> None:
    assert hallucination_flags(text, seconds) == []


def test_a_text_that_used_up_its_tokens_has_no_end() -> None:
    assert hallucination_flags(PROSE, 5.0, num_tokens=MAX_TOKENS) == ["unfinished"]
    assert hallucination_flags(PROSE, 5.0, num_tokens=MAX_TOKENS - 1) == []


def test_words_are_not_judged_where_none_are_spaced() -> None:
    japanese = "これはとてもとてもとてもとてもながいながいぶんしょうです"
    assert hallucination_flags(japanese, 5.0, language="ja") == []
    assert hallucination_flags(japanese, 5.0, language="en") == ["long_word"]


def test_doubts_come_in_a_fixed_order() -> None:
    assert hallucination_flags("thanks for watching " * 9, 2.0) == ["repeats", "few_words", "too_fast", "known_phrase"]


def test_a_pace_is_characters_over_seconds() -> None:
    assert chars_per_second(" Yes, we did. ", 3.0) == 4.0
    assert chars_per_second("Yes", 0.0) is None


def test_plain_text_is_words_in_small_letters() -> None:
    assert plain("Don't, LibriVox.org -- é!") == "don t librivox org é"
