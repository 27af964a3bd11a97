"""Pairs, found by what they are."""

from pathlib import Path

import pytest

from model.codec.encodec import identity
from model.valle.checkpoint import CheckpointError
from tasks.evaluation import checkpoint_pairs
from tests.tasks import small_evaluation


def test_a_pair_is_named_by_its_weights_wherever_it_lies(tmp_path: Path) -> None:
    for place in ("here", "there", "other"):
        for seed, half in enumerate(checkpoint_pairs.HALVES):
            small_evaluation.save_half(tmp_path / place / half, half, "codec@1", seed=seed + (place == "other"))
    here, there, other = (checkpoint_pairs.identify(tmp_path / place) for place in ("here", "there", "other"))
    assert here == there != other


def test_a_folder_without_a_pair_is_told(tmp_path: Path) -> None:
    small_evaluation.save_half(tmp_path / "ar", "ar", "codec@1")
    with pytest.raises(CheckpointError, match="nar is no checkpoint"):
        checkpoint_pairs.identify(tmp_path)


def test_the_embedded_pair_has_a_name_for_a_folder(tmp_path: Path) -> None:
    assert checkpoint_pairs.folder(checkpoint_pairs.EMBEDDED).parts[-2:] == ("embedded", "valle")
    assert checkpoint_pairs.folder(str(tmp_path)) == tmp_path


def test_a_codec_is_known_by_its_weights_under_any_name(tmp_path: Path) -> None:
    mine, other = (
        small_evaluation.save_codec(tmp_path / "mine"),
        small_evaluation.save_codec(tmp_path / "other", seed=1),
    )
    digest = identity(mine).rpartition("@")[2]
    assert checkpoint_pairs.codec_of(f"another-name@{digest}", [str(tmp_path / "gone.pt"), other, mine]) == mine
    assert checkpoint_pairs.codec_of(f"another-name@{digest}", [other]) is None
