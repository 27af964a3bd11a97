"""How a model fails, in a word each."""

import pytest

from tasks.evaluation.failures import failures

TEXT = "the old man walked slowly along the river"


@pytest.mark.parametrize(
    ("heard", "classes"),
    [
        (TEXT, []),
        ("the old man talked slowly along a river", []),
        ("", ["empty"]),
        ("the old man walked slowly slowly along the river", []),  # as people and judges do
        ("the old man walked slowly slowly slowly along the river", ["repeated"]),
        ("the old the old man walked slowly along the river", ["repeated"]),
        ("the old man walked slowly along the river the river", ["repeated"]),
        (f"{TEXT} {TEXT}", ["repeated"]),
        ("the old man along the river", []),
        ("the old the river", ["skipped"]),
        ("the old man walked", ["skipped"]),
        ("the old fox jumped quickly over the river", []),  # wrong, and not skipped
        ("river", ["skipped"]),
    ],
)
def test_a_failure_is_told_from_a_word_that_is_wrong(heard: str, classes: list[str]) -> None:
    assert failures(TEXT, heard) == classes


def test_what_the_text_itself_repeats_is_no_failure() -> None:
    assert failures("never never never again", "never never never again") == []
    assert failures("never never never again", "never never never never never again") == ["repeated"]


@pytest.mark.parametrize(
    ("prompt", "heard", "leaked"),
    [
        ("he saw a bird there", f"a bird there {TEXT}", True),
        ("he saw a bird there", f"bird there {TEXT}", False),
        ("and along the river he went", TEXT, False),  # the text has these words, too
        ("oh dear", f"oh dear {TEXT}", True),
        ("oh dear", f"oh {TEXT}", False),
        ("", f"oh dear {TEXT}", False),
        (None, f"a bird there {TEXT}", False),
    ],
)
def test_words_of_the_prompt_are_leaked_where_the_text_has_them_not(
    prompt: str | None, heard: str, leaked: bool
) -> None:
    assert failures(TEXT, heard, prompt=prompt) == (["leaked"] if leaked else [])


def test_a_sample_may_fail_in_several_ways() -> None:
    heard = "he saw a bird there there there there"
    assert failures(TEXT, heard, prompt="he saw a bird", ended=False) == ["endless", "repeated", "leaked"]


def test_a_short_text_is_skipped_where_all_of_it_is_missing_and_other_words_were_said_before() -> None:
    assert failures("go home", "", ended=False) == ["empty", "endless"]
    assert failures("", "") == ["empty"]
    assert failures("", "words") == []
