"""Judges: what is said the same is the same, whatever is written."""

from tasks.evaluation.judges import load_normalizer


def test_a_number_of_thousands_of_digits_is_compared_digit_by_digit() -> None:
    normalize = load_normalizer()
    for digits in ("12" * 2_500, "1,2" * 2_500):
        assert len(normalize(f"the ${digits}, and more")) >= 5_000
    assert normalize("1,000 of them") == normalize("one thousand of them")
