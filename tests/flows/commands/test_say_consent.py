"""`valle say`: nobody is spoken for who has not agreed, and who has is remembered."""

import shutil
from pathlib import Path

import numpy as np
import soundfile

from model.valle.synthesis import Request
from tests.flows.spoken_warehouse import PERSON, Say, pair_folder, recording, stranger, utterance
from tests.tasks.small_evaluation import LONG, World
from warehouse.catalogue import Catalogue
from warehouse.query import select


def test_nobody_is_spoken_for_without_consent(say: Say, world: World, says: list[Request]) -> None:
    words = ["Hello.", "--prompt", stranger(Path()), "--prompt-text", LONG]
    code, out, err = say(*words)
    assert (code, out) == (2, "")
    assert "nobody has said that the speaker of stranger.wav agrees" in err
    assert "say it once with --consent" in err
    assert say(*words, "--consent")[0] == 0
    shutil.copy("stranger.wav", "copy.wav")
    assert say("Hello.", "--prompt", "copy.wav", "--prompt-text", LONG)[0] == 0, "it is remembered of the voice"


def test_consent_is_one_row_of_the_catalogue_and_outlives_it(say: Say, world: World, says: list[Request]) -> None:
    for _ in range(2):
        assert say("Hello.", "--prompt", utterance(world, PERSON), "--consent")[0] == 0
    [before] = select(world.root, "from consents").to_pylist()
    assert before["voice"] == f"speaker:librispeech/{PERSON}"
    assert before["prompt"] == utterance(world, PERSON)
    assert before["said_by"]
    assert before["host"]
    for path in world.root.glob("*catalogue.duckdb"):
        path.unlink()
    Catalogue(world.root).rebuild()
    assert select(world.root, "from consents").to_pylist() == [before]


def test_consent_of_a_speaker_is_of_all_that_they_have_said(say: Say, world: World, says: list[Request]) -> None:
    assert say("Hello.", "--prompt", utterance(world, PERSON))[0] == 2
    assert say("Hello.", "--prompt", utterance(world, PERSON), "--consent")[0] == 0
    assert say("Hello.", "--prompt", utterance(world, PERSON, 1))[0] == 0
    shutil.copy(recording(world, PERSON), "renamed.wav")
    assert say("Hello.", "--prompt", "renamed.wav", "--prompt-text", LONG)[0] == 0


def test_a_prompt_that_cannot_serve_leaves_no_consent(say: Say, world: World) -> None:
    soundfile.write("silent.wav", np.zeros(48_000), 24_000)
    assert say("Hello.", "--prompt", "silent.wav", "--consent")[0] == 2
    assert select(world.root, "from consents").num_rows == 0


def test_consent_is_kept_where_there_is_no_warehouse_yet(
    say: Say, world: World, tmp_path: Path, says: list[Request]
) -> None:
    pair = pair_folder(world, tmp_path / "pair")
    words = [
        "Hello.",
        "--prompt",
        stranger(Path()),
        "--prompt-text",
        LONG,
        "--checkpoint",
        pair,
        "--codec",
        world.codec,
    ]
    for consent in (["--consent"], []):
        assert say(*words, *consent, root=tmp_path / "new")[0] == 0
    assert len(list((tmp_path / "new" / "ledger").iterdir())) == 1
