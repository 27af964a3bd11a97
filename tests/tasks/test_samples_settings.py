"""What is said of settings that make no sense, and which weights speak."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.codec import encodec
from tasks.evaluation.systems import VALLE
from tasks.samples import Samples
from tests.tasks import small_evaluation
from tests.tasks.small_evaluation import World
from tests.tasks.small_samples import by_system, make, stage
from warehouse.errors import Mistake
from warehouse.stage import Stage
from warehouse.tables import CHECKPOINTS


def test_it_keeps_the_contract_of_a_stage() -> None:
    assert isinstance(Samples(), Stage)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"min_seconds": -1.0}, r"samples\.min_seconds is -1\.0; it must be 0 or more"),
        ({"max_seconds": math.nan}, r"samples\.max_seconds is nan"),
        ({"prompt_seconds": 0.0}, r"samples\.prompt_seconds is 0\.0; it must be above 0"),
        ({"temperature": math.inf}, r"samples\.temperature is inf"),
        ({"top_k": -1}, r"samples\.top_k is -1"),
        ({"top_p": 0.0}, r"samples\.top_p is 0\.0; it must be above 0, and 1 at most"),
        ({"top_p": 1.5}, r"samples\.top_p is 1\.5"),
        ({"repetition_window": -1}, r"samples\.repetition_window is -1"),
        ({"repetition_threshold": math.nan}, r"samples\.repetition_threshold is nan"),
        ({"mark_strength": -1.0}, r"samples\.mark_strength is -1\.0"),
        ({"num_utterances": 0}, r"samples\.num_utterances is 0; it must be 1 or more"),
        ({"batch_size": 0}, r"samples\.batch_size is 0"),
        ({"shard_pairs": 0}, r"samples\.shard_pairs is 0"),
    ],
)
def test_a_number_that_makes_no_sense_is_a_mistake(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(Mistake, match=says):
        Samples(**wrong)


def test_lengths_that_no_utterance_has_are_a_mistake_once_both_are_said() -> None:
    with pytest.raises(Mistake, match="samples.max_seconds is 10, under samples.min_seconds"):
        Samples(min_seconds=12.0).identity()
    assert Samples(min_seconds=12.0, max_seconds=15.0).identity()


def test_without_a_seed_there_is_nothing_to_say() -> None:
    with pytest.raises(ValueError, match=r"samples\.seeds"):
        Samples(seeds=())


def test_a_split_without_examples_is_said_with_the_setting(world: World) -> None:
    with pytest.raises(ValueError, match=r"samples\.split.*'dev'"):
        make(world, stage(world, split="dev"))
    assert make(world, stage(world, split="all", num_utterances=1))


def test_a_length_that_nobody_speaks_is_said_with_the_setting(world: World) -> None:
    with pytest.raises(ValueError, match=r"samples\.min_seconds.* 4 to 10 s"):
        make(world, stage(world, min_seconds=4.0))


def test_checkpoints_are_taken_only_where_the_model_is_trained_here() -> None:
    assert CHECKPOINTS in Samples().takes
    assert CHECKPOINTS not in Samples(checkpoint="a/folder").takes


def test_the_newest_weights_that_were_kept_speak(world: World) -> None:
    mine = encodec.identity(world.codec)
    newer = small_evaluation.kept_weights(world.root, "ar", 20, mine)
    gone = {"checkpoint_id": "ar-30-gone", "half": "ar", "step": 30, "path": None, "sha256": None}
    tables = world.tables | {"checkpoints": [newer, *world.tables["checkpoints"], gone]}
    rows = by_system(make(replace(world, tables=tables), stage(world, num_utterances=1)), VALLE)
    nar = next(row["checkpoint_id"] for row in world.tables["checkpoints"] if row["half"] == "nar")
    assert {row["checkpoint_id"] for row in rows} == {f"{newer['checkpoint_id']}+{nar}"}


def test_a_half_without_weights_is_named(world: World) -> None:
    only_ar = [row for row in world.tables["checkpoints"] if row["half"] == "ar"]
    with pytest.raises(ValueError, match="'nar'"):
        make(replace(world, tables=world.tables | {"checkpoints": only_ar}), stage(world))


def test_a_model_of_another_codec_is_refused(world: World, tmp_path: Path) -> None:
    other = small_evaluation.save_codec(tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"samples\.codec"):
        make(world, stage(world, codec=other))


def test_a_folder_with_a_pair_is_named_by_its_weights_and_not_by_its_place(world: World, tmp_path: Path) -> None:
    mine = encodec.identity(world.codec)
    for folder, seed in (("one", 1), ("same", 1), ("other", 2)):
        small_evaluation.save_half(tmp_path / folder / "ar", "ar", mine, seed)
        small_evaluation.save_half(tmp_path / folder / "nar", "nar", mine, seed)
    one, same, other = (stage(world, checkpoint=str(tmp_path / name)) for name in ("one", "same", "other"))
    assert one.identity() == same.identity() != other.identity()
    rows = by_system(make(world, one), VALLE)
    assert rows[0]["checkpoint_id"] == one.identity()["checkpoint"]


def test_a_folder_without_a_pair_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no checkpoint"):
        stage(world, checkpoint=str(tmp_path)).identity()
