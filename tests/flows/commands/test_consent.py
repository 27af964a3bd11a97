"""`valle consent`: a voice whose speaker agrees no more is refused, and what hangs on it is named."""

import pytest

from flows.commands.consent import hanging, voices, withdraw
from model.valle.synthesis import Request
from tests.flows.spoken_warehouse import MACHINE_ID, PERSON, Say, let_train, utterance
from tests.tasks.small_evaluation import World
from warehouse.errors import Mistake

VOICE = f"speaker:librispeech/{PERSON}"


def test_consent_taken_back_is_asked_for_anew(say: Say, world: World, says: list[Request]) -> None:
    words = ["Hello.", "--prompt", utterance(world, PERSON)]
    assert say(*words, "--consent")[0] == 0
    withdraw(world.root, VOICE)
    code, _, err = say(*words)
    assert code == 2
    assert "was withdrawn on" in err
    assert "where its speaker agrees again" in err
    assert [(row["voice"], row["withdrawn"]) for row in voices(world.root)] == [(VOICE, True)]
    assert say(*words, "--consent")[0] == 0
    assert say(*words)[0] == 0
    assert [(row["voice"], row["withdrawn"]) for row in voices(world.root)] == [(VOICE, False)]


def test_what_hangs_on_it_is_named(say: Say, world: World, says: list[Request]) -> None:
    let_train(world)
    assert hanging(world.root) == []
    number = sum(row["speaker_id"] == PERSON for row in world.tables["utterances"])
    named = withdraw(world.root, VOICE)
    assert [(row["table"], row["shard"], row["why"]) for row in named] == [
        ("checkpoints", "ar", "withdrawn"),
        ("checkpoints", "nar", "withdrawn"),
    ]
    assert {row["reason"] for row in named} == {f"consent to {VOICE} was withdrawn: {number} utterances train it"}
    assert hanging(world.root) == named
    assert say("Hello.", "--prompt", utterance(world, PERSON), "--consent")[0] == 0
    assert hanging(world.root) == [], "it was given again"


def test_another_voice_hangs_on_nothing(world: World) -> None:
    assert withdraw(world.root, "speaker:librispeech/nobody") == []
    assert withdraw(world.root, f"speaker:sample/{MACHINE_ID}x") == []


@pytest.mark.parametrize("voice", ["ben", "speaker:", "utterance:1"])
def test_what_is_no_voice_is_refused(world: World, voice: str) -> None:
    with pytest.raises(Mistake, match="is no voice"):
        withdraw(world.root, voice)
    assert voices(world.root) == []
