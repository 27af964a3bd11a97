"""`valle say`: what it writes, and whose words and codes the model is given."""

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from flows.cli import main
from model.valle import synthesis
from model.valle.synthesis import Generated, Request
from tasks.provenance.code_mark import STRENGTH
from tasks.provenance.credentials import examine
from tasks.text.phonemization import phonemize
from tasks.text.symbols import BOUNDARY, SYMBOL_IDS
from tests.flows.spoken_warehouse import MACHINE, MACHINE_ID, Say, recording, utterance
from tests.tasks import small_evaluation
from tests.tasks.small_evaluation import LONG, SHORT, World


def test_a_text_becomes_a_file_in_the_prompts_voice(say: Say, world: World) -> None:
    code, out, err = say("Good morning.", "--prompt", recording(world, MACHINE), "--prompt-text", LONG)
    assert (code, out) == (0, "speech.wav\n"), err
    found = soundfile.info("speech.wav")
    assert (found.format, found.subtype, found.samplerate, found.channels) == ("WAV", "PCM_16", 24_000, 1)
    assert sorted(path.name for path in Path().iterdir()) == ["speech.wav"], "no half file is left"


def test_json_tells_all_of_each_file(say: Say, world: World, says: list[Request]) -> None:
    prompt = recording(world, MACHINE)
    code, out, _ = say("Good morning.", "--prompt", prompt, "--prompt-text", LONG, "--seed", 5, "--json")
    [row] = json.loads(out)
    checkpoint = "+".join(str(row["checkpoint_id"]) for row in world.tables["checkpoints"])
    assert code == 0
    assert row.pop("seconds_to_make") > 0
    assert 1.0 < row.pop("prompt_seconds") < 4.0
    assert [warning for warning in row.pop("warnings") if "met better" not in warning] == []
    assert row == {
        "path": "speech.wav",
        "seconds": 15 / 75,
        "seed": 5,
        "flags": [],
        "checkpoint_id": checkpoint,
        "voice": f"speaker:sample/{MACHINE_ID}",
        "prompt": str(prompt),
        "prompt_text": LONG,
    }


def test_the_text_comes_from_a_file_or_from_standard_input_too(
    say: Say, world: World, says: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = ["--prompt", recording(world, MACHINE), "--prompt-text", LONG]
    Path("text.txt").write_text("A bird for €3.")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"A bird for \xe2\x82\xac3.")))
    for words in (["A bird for €3."], ["--file", "text.txt"], ["-"]):
        assert say(*words, *prompt)[0] == 0
    assert len({request.phones.tobytes() for request in says}) == 1
    assert len(says) == 3


def test_an_utterance_brings_its_codes_its_phones_and_its_text(say: Say, world: World, says: list[Request]) -> None:
    code, out, err = say("Hello.", "--prompt", utterance(world, MACHINE), "--json")
    assert code == 0, err
    [row] = json.loads(out)
    assert LONG.startswith(row["prompt_text"])
    phones = [SYMBOL_IDS[phone] for phone in (BOUNDARY, *phonemize("Hello.").phones)]
    [request] = says
    known = world.tables["phones"][0]["phone_ids"]
    assert request.phones.tolist() == [*known, *phones]
    assert np.array_equal(request.prompt_codes[0], world.tables["codes"][0]["codebook_1"])


def test_what_is_said_in_a_file_is_heard_by_whisper_unless_it_is_known(
    say: Say, world: World, says: list[Request], hears: list[int]
) -> None:
    code, out, _ = say("Hello.", "--prompt", recording(world, MACHINE), "--json")
    assert (code, json.loads(out)[0]["prompt_text"]) == (0, SHORT)
    assert len(hears) == 1


def test_the_text_of_a_file_that_is_too_long_is_not_used_and_that_is_said(
    say: Say, world: World, says: list[Request], hears: list[int]
) -> None:
    parts = [small_evaluation.synthesize(LONG, small_evaluation.VOICES["ben"]), np.zeros(9_000, np.float32)]
    soundfile.write("long.wav", np.concatenate(parts * 4), small_evaluation.SAMPLE_RATE)
    code, out, err = say("Hello.", "--prompt", "long.wav", "--prompt-text", LONG, "--consent", "--json")
    assert (code, json.loads(out)[0]["prompt_text"]) == (0, SHORT)
    assert "long.wav is too long for --prompt-text" in err


def test_several_renditions_have_a_seed_and_a_number_each(say: Say, world: World) -> None:
    prompt = ["--prompt", utterance(world, MACHINE)]
    code, out, _ = say("Hello there.", *prompt, "--num", 3, "--seed", 7, "--output", "a.wav")
    assert (code, out.split()) == (0, ["a-1.wav", "a-2.wav", "a-3.wav"])
    contents = {soundfile.read(name)[0].tobytes() for name in out.split()}
    assert len(contents) == 3
    say("Hello there.", *prompt, "--seed", 8, "--output", "b.wav")
    alone, beside = (soundfile.read(name)[0] for name in ("b.wav", "a-2.wav"))
    assert np.array_equal(alone, beside), "the same seed says the same, alone or not"


def test_a_name_that_is_said_is_written_over_and_another_is_not(say: Say, world: World, says: list[Request]) -> None:
    prompt = ["--prompt", utterance(world, MACHINE)]
    assert [say("Hello.", *prompt)[1].strip() for _ in range(3)] == ["speech.wav", "speech-2.wav", "speech-3.wav"]
    assert say("Hello.", *prompt, "--num", 2)[1].split() == ["speech-2-1.wav", "speech-2-2.wav"]
    Path("mine.wav").write_bytes(b"old")
    assert say("Hello.", *prompt, "--output", "mine.wav")[0] == 0
    assert soundfile.info("mine.wav").samplerate == 24_000


@pytest.mark.parametrize("how", [["--output", "-"], ["--stream"]])
def test_speech_goes_into_a_pipe(
    world: World, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], how: list[str]
) -> None:
    monkeypatch.setattr("flows.cli.atexit.register", lambda _: None)
    words = ["say", "Hello.", "--prompt", utterance(world, MACHINE), "--root", str(world.root)]
    lengths = []
    for options in (["--output", "a.wav"], how):
        monkeypatch.chdir(world.root)
        monkeypatch.setattr("sys.argv", ["valle", *words, *options])
        main()
        said = capsysbinary.readouterr().out
        sound, rate = soundfile.read(world.root / "a.wav" if options[-1] == "a.wav" else io.BytesIO(said))
        assert rate == 24_000
        lengths.append(len(sound))
    assert lengths[0] == lengths[1] > 0


def test_a_long_text_is_said_in_pieces_and_progress_is_told(say: Say, world: World, says: list[Request]) -> None:
    code, out, err = say(" ".join([f"{LONG} {SHORT}"] * 60), "--prompt", utterance(world, MACHINE))
    assert code == 0
    pauses = (len(says) - 1) * round(0.35 * 24_000)
    assert soundfile.info(out.strip()).frames == len(says) * 15 * 320 + pauses
    assert len(says) > 16
    assert f"16 of {len(says)} pieces are said" in err


def test_the_best_of_several_tries_is_kept(
    say: Say, world: World, hears: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = iter([5, 25, 15])

    def generate(_pair: object, requests: Sequence[Request], *_: Any, **__: Any) -> list[Generated]:
        return [Generated(np.full((8, next(lengths)), 7, np.uint16), True) for _ in requests]

    monkeypatch.setattr(synthesis, "generate", generate)
    monkeypatch.setattr("tasks.evaluation.judges.load_voice_encoder", lambda _: None)
    monkeypatch.setattr("tasks.evaluation.judges.embed", lambda _, speech: np.array([len(speech)], np.float32))
    code, out, _ = say(SHORT, "--prompt", utterance(world, MACHINE), "--best-of", 3, "--json")
    assert (code, json.loads(out)[0]["seconds"]) == (0, 25 / 75)


@pytest.mark.parametrize(
    ("num_frames", "finished", "flag", "words"),
    [
        (0, False, "empty", "is empty: the model ended before"),
        (75, False, "endless", "is endless: the model was stopped"),
    ],
)
def test_what_is_empty_or_endless_is_a_result_with_a_flag(
    say: Say, world: World, monkeypatch: pytest.MonkeyPatch, num_frames: int, finished: bool, flag: str, words: str
) -> None:
    answer = [Generated(np.zeros((8, num_frames), np.uint16), finished)]
    monkeypatch.setattr(synthesis, "generate", lambda *_, **__: answer)
    code, out, err = say("Hello.", "--prompt", utterance(world, MACHINE), "--json")
    [row] = json.loads(out)
    assert (code, row["flags"]) == (0, [flag])
    assert words in err
    assert words in row["warnings"][-1]
    assert soundfile.info(row["path"]).frames == num_frames * 320


def test_an_interrupt_leaves_no_file(say: Say, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(synthesis, "generate", interrupt)
    assert say("Hello.", "--prompt", utterance(world, MACHINE))[0] == 130
    assert list(Path().iterdir()) == []


def test_saying_needs_neither_prefect_nor_ray() -> None:
    code = "import sys, flows.commands.say; print(*sys.modules)"
    here = Path(__file__).parents[3]
    loaded = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert not {"prefect", "ray", "torch", "whisper", "pandas"} & set(loaded.stdout.split())


@pytest.mark.slow
def test_real_voices_say_odd_texts(say: Say, world: World, speech: Path, hears: list[int]) -> None:
    prompts = [path for name in ("jfk", "commonvoice", "ljspeech") for path in (speech / "open" / name).glob("*.*")]
    texts = ["a", "It cost $3.50, on 3/4/1999.", '"Who?" — said he;\n\nand left…', "naïve café"]
    for prompt, text in zip(prompts, texts, strict=False):
        code, out, err = say(text, "--prompt", prompt, "--consent")
        assert code == 0, err
        assert soundfile.info(out.strip()).samplerate == 24_000


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_lighter_weights_speak_too(say: Say, world: World, precision: str) -> None:
    prompt = ["--prompt", recording(world, MACHINE), "--prompt-text", LONG]
    code, out, err = say("Good morning.", *prompt, "--precision", precision)
    assert (code, out) == (0, "speech.wav\n"), err
    assert soundfile.info("speech.wav").samplerate == 24_000


def test_codes_are_marked_where_that_is_said(say: Say, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    how: list[Any] = []

    def generate(_pair: object, requests: Sequence[Request], sampling: Any, **_: Any) -> list[Generated]:
        how.append(sampling.mark)
        return [Generated(np.full((8, 15), 7, np.uint16), True) for _ in requests]

    monkeypatch.setattr(synthesis, "generate", generate)
    prompt = ["--prompt", recording(world, MACHINE), "--prompt-text", LONG]
    assert say("Hello.", *prompt, "--output", "a.wav", "--mark")[0] == 0
    assert say("Hello.", *prompt, "--output", "b.wav")[0] == 0
    assert how[0].strength == STRENGTH
    assert how[1] is None
    said = [examine(Path(name)).origin for name in ("a.wav", "b.wav")]
    assert [origin.mark for origin in said if origin] == [STRENGTH, None]
