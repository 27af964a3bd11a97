"""`valle say`: which pair and which codec it speaks with, and what is wrong with those it cannot use."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model.valle.checkpoint import SETTINGS, WEIGHTS
from model.valle.synthesis import Request
from tasks.text.symbols import SYMBOLS
from tests.flows import spoken_warehouse
from tests.flows.spoken_warehouse import MACHINE, Say, pair_folder, stranger, utterance
from tests.tasks import small_evaluation
from tests.tasks.small_evaluation import LONG, World


def test_the_newest_pair_is_taken_unless_another_is_named(
    say: Say, world: World, tmp_path: Path, says: list[Request]
) -> None:
    def checkpoint_id(*words: object) -> str:
        code, out, err = say("Hello.", "--prompt", utterance(world, MACHINE), "--json", *words)
        assert code == 0, err
        return str(json.loads(out)[0]["checkpoint_id"])

    old = pair_folder(world, tmp_path / "old")
    assert checkpoint_id().startswith("ar-10-")
    spoken_warehouse.add_pair(world, step=30)
    assert checkpoint_id().startswith("ar-30-")
    named = checkpoint_id("--checkpoint", old)
    assert named == checkpoint_id("--checkpoint", shutil.copytree(old, tmp_path / "moved"))
    shutil.rmtree(world.root / str(world.tables["checkpoints"][1]["path"]))
    assert checkpoint_id() != named, "a half that is gone makes no pair"


def test_a_codec_is_found_by_its_weights_or_named(say: Say, world: World, tmp_path: Path) -> None:
    pair = ["Hello.", "--prompt", utterance(world, MACHINE), "--checkpoint", pair_folder(world, tmp_path / "pair")]
    other = small_evaluation.save_codec(tmp_path / "other", seed=1)
    code, _, err = say(*pair, "--codec", other)
    assert (code, "the checkpoint speaks codes of" in err, f"--codec {other} is" in err) == (2, True, True)
    assert say(*pair, "--codec", tmp_path / "gone.safetensors")[0] == 2
    stranger(Path())
    words = ["Hello.", "--prompt", "stranger.wav", "--prompt-text", LONG, "--consent", *pair[3:]]
    code, _, err = say(*words, root=tmp_path / "empty")
    assert (code, "name its file with --codec" in err) == (2, True)


def _swap_weights(pair: Path) -> None:
    (pair / "ar" / WEIGHTS).write_bytes((pair / "nar" / WEIGHTS).read_bytes())


def _change(pair: Path, **values: object) -> None:
    for half in ("ar", "nar"):
        path = pair / half / SETTINGS
        path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("break_", "says"),
    [
        (lambda pair: shutil.rmtree(pair), "is no checkpoint"),
        (lambda pair: (pair / "nar" / WEIGHTS).unlink(), "has no weights.safetensors"),
        (lambda pair: (pair / "ar" / SETTINGS).unlink(), "has no settings.json"),
        (lambda pair: (pair / "ar" / SETTINGS).write_text("{"), "is damaged"),
        (_swap_weights, "its sha256 differs"),
        (lambda pair: shutil.copytree(pair / "ar", pair / "nar", dirs_exist_ok=True), "is an AR, and a NAR is needed"),
        (lambda pair: _change(pair, format=99), "is of format 99"),
        (lambda pair: _change(pair, symbols=[s.replace("h", "#") for s in SYMBOLS]), "knows no phone 'h'"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_told_in_a_sentence(
    say: Say, world: World, tmp_path: Path, break_: Callable[[Path], object], says: str
) -> None:
    pair = pair_folder(world, tmp_path / "pair")
    break_(pair)
    code, out, err = say("Hello.", "--prompt", utterance(world, MACHINE), "--checkpoint", pair)
    assert (code, out) == (2, "")
    assert says in err.splitlines()[-1]


def test_where_there_is_no_pair_at_all_that_is_said(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.evaluation.checkpoint_pairs.folder", lambda _: tmp_path / "not-shipped")
    words = ["Hello.", "--prompt", stranger(Path()), "--prompt-text", LONG, "--consent"]
    code, _, err = say(*words, root=tmp_path / "nothing")
    assert (code, "there is no checkpoint" in err, "--checkpoint names one" in err) == (2, True, True)
