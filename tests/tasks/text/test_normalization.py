"""What is written, and how it is said."""

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text.normalization import tidy, verbalize


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("It cost $3.50.", "It cost three dollars and fifty cents."),
        ("$1, $0.50, £1,000,000", "one dollar, fifty cents, one million pounds"),
        ("$2.5 million", "two point five million dollars"),
        ("born in 1899, died in 1905", "born in eighteen ninety-nine, died in nineteen oh-five"),
        ("the 1890s and the '90s", "the eighteen nineties and the nineties"),
        ("1914-1918", "nineteen fourteen to nineteen eighteen"),
        ("1,500 or 1500 men", "one thousand five hundred or fifteen hundred men"),
        ("21st, 2nd and 103rd", "twenty-first, second and one hundred and third"),
        ("5% of 3.14", "five percent of three point one four"),
        ("-5 degrees, agent 007", "minus five degrees, agent zero zero seven"),
        ("3/4 of it, 3½ cups, 24/7", "three quarters of it, three and one half cups, twenty-four seven"),
        ("at 3:05 p.m.", "at three oh five P-M."),
        ("at 3:00, or 10:30am", "at three o'clock, or ten thirty A-M"),
        ("B2, #1", "B two, number one"),
    ],
)
def test_numbers_are_said_in_words(written: str, said: str) -> None:
    assert verbalize(written) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Chapter IV. Act I", "Chapter four. Act one"),
        ("CHAPTER IV", "chapter four"),
        ("Henry VIII of England", "Henry the eighth of England"),
        ("King Olaf II's men", "King Olaf the second's men"),
        ("Charles I, king", "Charles the first, king"),
        ("World War II", "World War two"),
        ("in this chapter I wrote", "in this chapter I wrote"),
        ("IN THIS CHAPTER I WROTE", "in this chapter i wrote"),
        ("with Charles I went", "with Charles I went"),
    ],
)
def test_roman_numerals_are_read_where_they_are_numerals(written: str, said: str) -> None:
    assert verbalize(written) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Mr. Smith & Mrs Jones", "Mister Smith and Missus Jones"),
        ("St. James on Baker St.", "Saint James on Baker Street."),
        ("Dr. Who of Elm Dr. left", "Doctor Who of Elm Drive left"),
        ("U.S.A. and J. R. R. Tolkien", "U-S-A and J-R-R Tolkien"),
        ("and so on, etc.", "and so on, et cetera."),
        ("No. 5, vol. 2", "Number five, volume two"),
        ("No. It is not.", "No. It is not."),
        ("said I. Then he left", "said I. Then he left"),
    ],
)
def test_abbreviations_are_said_out_and_still_end_a_sentence(written: str, said: str) -> None:
    assert verbalize(written) == said


def test_marks_have_one_form_each() -> None:
    assert tidy("“Well...” -- he said – ‘no’ [sic]") == "\"Well…\" — he said — 'no' (sic)"


def test_music_and_blanks_say_nothing() -> None:
    assert verbalize(" ♪ ♪\n") == ""


_SCRAPS = "Chapter|IV|I|Henry|VIII|King|$|3|50|.|,|:|12|1899|s|'|-|/|½|%|Mr.|U.S.|a.m.|pm|&|#|No.|(|…|007| | | "


@pytest.mark.parametrize("form", ["The {}st", "{}", "${}", "${}.50", "{}s", "{}/3", "{}:30", "0.{}", "No. {}", "{}%"])
def test_a_number_that_nobody_says_as_one_is_said_digit_by_digit(form: str) -> None:
    for length in (16, 400, 5_000):
        assert "one two one two one" in verbalize(form.format("12" * (length // 2) + "1"))


def test_the_last_digit_of_a_very_long_ordinal_says_that_it_is_one() -> None:
    assert verbalize("the 1234567890123421st time").endswith(" three four two first time")


@settings(deadline=None)
@given(st.one_of(st.text(max_size=30), st.lists(st.sampled_from(_SCRAPS.split("|")), max_size=9).map("".join)))
def test_whatever_is_written_no_digit_remains(written: str) -> None:
    said = verbalize(written)
    assert not re.search(r"\d", said)
    assert said == " ".join(said.split())


@settings(deadline=None)
@given(st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=6), max_size=6).map(" ".join))
def test_plain_words_are_said_as_they_stand(written: str) -> None:
    assert verbalize(written) == written
