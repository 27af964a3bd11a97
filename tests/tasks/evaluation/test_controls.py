"""Controls are silent where all is as it should be, and name themselves where it is not."""

import pytest

from tasks.evaluation.controls import broken
from tasks.evaluation.systems import RESYNTHESIS, TRUTH
from tests.tasks.evaluation.sound_scores import SABOTAGE, WER, changed, heard, sound


def test_a_sound_evaluation_breaks_none() -> None:
    assert list(broken(sound(), 0.146)) == []
    assert list(broken(sound(2, 3), 0.146)) == []
    assert list(broken([], 0.146)) == []


@pytest.mark.parametrize("says", SABOTAGE)
def test_each_that_is_sabotaged_names_itself_and_its_judge(says: str) -> None:
    said, *others = broken(SABOTAGE[says](sound()), 0.146)
    assert len(others) == says.startswith("known-truth"), "only then is the codec's speech better than the truth, too"
    assert said.startswith(says)
    assert said.endswith(("by whisper@1", "by resemblyzer@1"))


@pytest.mark.parametrize(("where", "broken_are"), [("every speaker", ["resynthesis"]), ("s0", [])])
def test_what_chance_could_have_done_breaks_none(where: str, broken_are: list[str]) -> None:
    rows = changed(sound(), TRUTH, WER, lambda _: heard(WER, 1))
    rows = changed(
        rows, RESYNTHESIS, WER, lambda row: heard(WER, 0 if where in ("every speaker", row["speaker_id"]) else 1)
    )
    assert [said.partition(":")[0] for said in broken(rows, 0.146)] == broken_are


def test_too_few_utterances_say_nothing_where_chance_plays_a_part_and_all_of_silence() -> None:
    for says, sabotage in SABOTAGE.items():
        found = list(broken(sabotage(sound(1, 6)), 0.146))
        assert bool(found) == says.startswith(("shuffled", "silence")), says


def test_judges_and_sets_are_looked_at_apart() -> None:
    good = [row | {"evaluation_set": "1"} for row in sound()]
    bad = [
        row | {"evaluation_set": "2", "judge": "deaf@1"}
        for row in changed(sound(), TRUTH, WER, lambda _: heard(WER, 15))
    ]
    found = list(broken([*good, *bad], 0.146))
    assert found
    assert all("deaf@1" in said for said in found)
