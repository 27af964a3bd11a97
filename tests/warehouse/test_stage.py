"""What all stages share: a setting that is out of its range is one sentence, at the command line too."""

import math
from collections.abc import Callable

import pytest

from tests.conftest import Said
from warehouse.errors import Mistake
from warehouse.stage import in_range


@pytest.mark.parametrize("value", [0, 0.5, 1, 1.0])
def test_a_number_in_its_range_is_fine_and_so_are_its_ends(value: float) -> None:
    in_range("codes.check_share", value, 0, 1)


@pytest.mark.parametrize("value", [-1, 1.5, math.nan, math.inf, -math.inf, 10**400])
def test_a_number_out_of_its_range_is_a_mistake_that_names_all(value: float) -> None:
    with pytest.raises(Mistake, match=rf"codes\.check_share is {value}; it must be from 0 to 1"):
        in_range("codes.check_share", value, 0, 1)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_range_may_leave_out_its_end_and_be_open_above(value: float) -> None:
    with pytest.raises(Mistake, match="; it must be above 0$"):
        in_range("codes.batch_seconds", value, 0, above=True)
    in_range("codes.batch_seconds", 1e300, 0, above=True)


def test_at_the_command_line_it_ends_with_2_and_one_sentence(valle: Callable[..., Said]) -> None:
    for setting, says in (
        ("utterances.margin_seconds=-1", "utterances.margin_seconds is -1.0; it must be 0 or more"),
        ("recordings.max_shard_hours=0", "recordings.max_shard_hours is 0.0; it must be 0.0001 or more"),
        ("transcripts.batch_size=0", "transcripts.batch_size is 0; it must be 1 or more"),
    ):
        code, out, err = valle("plan", "--set", setting)
        assert (code, out) == (2, "")
        assert says in err
        assert err.count("\n") == 1
