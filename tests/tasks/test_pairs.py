"""Pairs, found by what they are."""

from pathlib import Path

import pytest

from model.checkpoint import CheckpointError
from model.codec import identity
from tasks import pairs
from tests.tasks import evaluation


def test_a_pair_is_named_by_its_weights_wherever_it_lies(tmp_path: Path) -> None:
    for place in ("here", "there", "other"):
        for seed, half in enumerate(pairs.HALVES):
            evaluation.save_half(tmp_path / place / half, half, "codec@1", seed=seed + (place == "other"))
    here, there, other = (pairs.identify(tmp_path / place) for place in ("here", "there", "other"))
    assert here == there != other


def test_a_folder_without_a_pair_is_told(tmp_path: Path) -> None:
    evaluation.save_half(tmp_path / "ar", "ar", "codec@1")
    with pytest.raises(CheckpointError, match="nar is no checkpoint"):
        pairs.identify(tmp_path)


def test_the_embedded_pair_has_a_name_for_a_folder(tmp_path: Path) -> None:
    assert pairs.folder(pairs.EMBEDDED).parts[-2:] == ("embedded", "valle")
    assert pairs.folder(str(tmp_path)) == tmp_path


def test_a_codec_is_known_by_its_weights_under_any_name(tmp_path: Path) -> None:
    mine, other = evaluation.save_codec(tmp_path / "mine"), evaluation.save_codec(tmp_path / "other", seed=1)
    digest = identity(mine).rpartition("@")[2]
    assert pairs.codec_of(f"another-name@{digest}", [str(tmp_path / "gone.pt"), other, mine]) == mine
    assert pairs.codec_of(f"another-name@{digest}", [other]) is None
