"""A stage whose shards fail for one and the same reason is given up, and not before."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.engine.patience import Patience, reason
from flows.engine.shards import Failure
from tests.flows.engine.test_lanes import Machine
from tests.toy import write_corpus
from warehouse.errors import WorkFailed
from warehouse.query import select
from warehouse.store import Artifact

MADE = object.__new__(Artifact)


WRONG = "ValueError: 7 rows of shard-{i} in '/x/{i}.flac' are wrong"


def failure(i: int, error: str = WRONG, *, may_pass: bool = False) -> Failure:
    return Failure(f"codes/{i}", error.format(i=i), may_pass=may_pass)


def patience(*outcomes: Failure | Artifact, is_last: bool = False) -> Patience:
    made = Patience("codes")
    for i, outcome in enumerate(outcomes):
        made.note(f"codes/{i}", outcome, is_last=is_last)
    return made


def test_five_failures_for_one_reason_are_enough_where_nothing_is_made() -> None:
    assert patience(*map(failure, range(4))).says(7_439) is None
    assert patience(*map(failure, range(5))).says(7_439) == (
        "codes is given up, for 5 of the 5 shards that were tried failed for one reason, ValueError: 7 rows of shard-4 "
        "in '/x/4.flac' are wrong; 7,434 were not tried, and `valle run` tries them again"
    )


def test_half_of_what_was_tried_is_not_most_of_it() -> None:
    assert not patience(*[MADE] * 5, *map(failure, range(5, 10))).is_given_up
    assert patience(*[MADE] * 5, *map(failure, range(5, 11))).is_given_up


def test_failures_for_different_reasons_say_nothing_of_the_next_shard() -> None:
    kinds = ("ValueError: a", "ValueError: b", "KeyError: a")
    assert not patience(*(failure(i, kinds[i % 3]) for i in range(12))).is_given_up


def test_what_may_pass_looks_bad_until_its_last_retry() -> None:
    away = [failure(i, "OSError: [Errno 116] Stale file handle: '/data/{i}'", may_pass=True) for i in range(5)]
    first = patience(*away)
    assert first.looks_bad
    assert not first.is_given_up
    for i in range(5):
        first.note(f"codes/{i}", MADE, is_last=False)
    assert not first.looks_bad, "it has passed"
    assert patience(*away, is_last=True).is_given_up


def test_a_reason_is_what_errors_have_in_common() -> None:
    one, other = (f"OSError: [Errno 28] No space left on device: '/w/codes/f/.{x}.tmp'" for x in ("a81", "b92"))
    assert reason(one) == reason(other) != reason("OSError: [Errno 5] Input/output error")


def test_a_stage_stops_early_and_says_how_many_shards_it_has_not_tried(
    pipeline: Callable[..., dict[str, int]], tmp_path: Path
) -> None:
    write_corpus(tmp_path / "audio", **{f"s{i:02}": "pause wrong" for i in range(40)})
    with pytest.raises(WorkFailed) as error:
        pipeline(until="utterances", max_failed_share=0.9)
    said = re.search(
        r"failed for one reason, ValueError: these are no utterances; (\d+) were not tried", str(error.value)
    )
    assert said
    root = tmp_path / "root"
    [row] = select(root, "select count(*) as tried from runs where state = 'failed'").to_pylist()
    assert 5 <= row["tried"] <= 7, "no more than were in hand"
    assert int(said[1]) == 40 - row["tried"]


def test_what_may_pass_is_retried_before_more_is_begun(
    pipeline: Callable[..., dict[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "flows.engine.materialization.Workers", Machine()
    )  # no processes, which take seconds to replace
    monkeypatch.setattr("flows.engine.lane.MOST_TASKS", 2)
    write_corpus(tmp_path / "audio", **{f"s{i:02}": "pause broken" for i in range(40)})
    with pytest.raises(WorkFailed, match="OSError: the disk is on fire; [0-9]+ were not tried"):
        pipeline(until="utterances", keys="retries = 1\n")
    [row] = select(tmp_path / "root", "select count(distinct shard) as tried from runs").to_pylist()
    assert row["tried"] <= 12
