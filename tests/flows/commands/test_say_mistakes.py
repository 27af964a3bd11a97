"""`valle say`: a mistake is one sentence, and nothing is written for it."""

from pathlib import Path

import pytest

from tests.flows.spoken_warehouse import MACHINE, Say, recording, utterance
from tests.tasks.small_evaluation import World
from warehouse.catalogue import Catalogue


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["", "--prompt", "ANNA"], "there is nothing to say: the text is empty"),
        (["?!", "--prompt", "ANNA"], "there is nothing to say in '?!'"),
        (["Hi 😀", "--prompt", "ANNA"], "there are no phones of en-us for 😀"),
        (["Hi " * 50_000, "--prompt", "ANNA"], "100,000 can be said at once"),
        (
            ["The " + "12" * 2_500 + "th.", "--prompt", "ANNA"],
            "a number of 5,000 digits, which are said one by one for 33",
        ),
        (["Hi", "--prompt", "nowhere.wav"], "there is no file nowhere.wav"),
        (["Hi", "--prompt", "no/one#0-9"], "has no utterance of that id"),
        (["Hi", "--prompt", "."], "the prompt . is a folder"),
        (["Hi", "--prompt", "text.wav", "--consent"], "text.wav is text, not audio"),
        (["Hi", "--prompt", "ANNA", "--prompt-text", "x"], "--prompt-text is for a file"),
        (["Hi", "--prompt", "ANNA", "--output", "x.mp3"], "has to end in .wav"),
        (["Hi", "--prompt", "ANNA", "--output", "no/x.wav"], "there is no folder no"),
        (["Hi", "--prompt", "ANNA", "--output", "-", "--num", "2"], "standard output takes one rendition"),
        (["Hi", "--prompt", "ANNA", "--output", "-", "--json"], "and not both"),
        (["Hi", "--prompt", "ANNA", "--stream", "--json"], "and not both"),
        (["Hi", "--prompt", "ANNA", "--stream", "--num", "2"], "--stream goes to standard output"),
        (["Hi", "--prompt", "ANNA", "--stream", "--output", "x.wav"], "--stream goes to standard output"),
        (["Hi", "--prompt", "FILE", "--output", "FILE"], "is the prompt itself"),
        (["Hi", "--prompt", "FILE", "--whisper", "loud"], "no Whisper is called 'loud'"),
        (["Hi", "--prompt", "ANNA", "--language", "xx"], "xx"),
        (["Hi", "--prompt", "ANNA", "--checkpoint", "embedded-not"], "is no checkpoint"),
        (["Hi", "--prompt", "ANNA", "--num", "0"], "--num"),
        (["Hi", "--prompt", "ANNA", "--file", "text.wav"], "say what is to be said"),
        (["--prompt", "ANNA"], "say what is to be said"),
        (["--file", "gone.txt", "--prompt", "ANNA"], "gone.txt"),
        (["--file", "noise.bin", "--prompt", "ANNA"], "is not text in UTF-8"),
        (["Hi", "there", "--prompt", "ANNA"], "unexpected extra argument"),
        (["Hi"], "Missing option '--prompt'"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(say: Say, spoken: World, words: list[str], says: str) -> None:
    Path("text.wav").write_text("not audio")
    Path("noise.bin").write_bytes(b"\xff\xfe\xff")
    before = [sorted(folder.rglob("*")) for folder in (Path(), spoken.root)]
    names = {"ANNA": utterance(spoken, MACHINE), "FILE": str(recording(spoken, MACHINE))}
    code, out, err = say(*(names.get(word, word) for word in words), root=spoken.root)
    assert (code, out) == (2, "")
    assert says in err
    assert [sorted(folder.rglob("*")) for folder in (Path(), spoken.root)] == before


def test_a_warehouse_that_keeps_no_codes_of_an_utterance_says_so(say: Say, world: World) -> None:
    [path] = (world.root / "codes").glob("*/*.parquet")
    path.unlink()
    Catalogue(world.root).take_up(look_at_disk=True)
    code, _, err = say("Hello.", "--prompt", utterance(world, MACHINE))
    assert (code, "cannot be a prompt: it has no codes yet" in err) == (2, True)


def test_a_device_that_is_not_here_is_told(say: Say, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALLE_DEVICE", "abacus")
    code, _, err = say("Hello.", "--prompt", utterance(world, MACHINE))
    assert (code, "site key device is 'abacus'" in err) == (2, True)
