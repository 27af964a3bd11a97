"""`valle say`: what it writes, whose voice it takes, and how it says that something is wrong."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from flows.cli import main
from model import asr, synthesis
from model.checkpoint import SETTINGS, WEIGHTS
from model.synthesis import Generated, Request
from tasks.phones import phonemize
from tasks.symbols import BOUNDARY, SYMBOL_IDS, SYMBOLS
from tests.flows import spoken_warehouse
from tests.flows.spoken_warehouse import MACHINE, MACHINE_ID, PERSON
from tests.tasks import evaluation
from tests.tasks.evaluation import LONG, SHORT, World
from warehouse.catalogue import Catalogue
from warehouse.query import select

Said = tuple[int, str, str]  # exit code, standard output, standard error
Valle = Callable[..., Said]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return spoken_warehouse.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def world(made: World, tmp_path: Path) -> World:
    """A copy of the warehouse that a test may change."""
    root = tmp_path / "root"
    shutil.copytree(made.root, root)
    Catalogue(root).rebuild()
    return World(root, {name: list(rows) for name, rows in made.tables.items()}, made.codec)


@pytest.fixture
def valle(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, world: World) -> Valle:
    """Runs `valle say` in this process, in a folder of its own, on the warehouse."""
    monkeypatch.setattr("flows.cli.atexit.register", lambda _: None)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*words: object, root: Path | None = world.root) -> Said:
        where = ["--root", str(root)] if root else []
        monkeypatch.setattr("sys.argv", ["valle", "say", *map(str, words), *where])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What the model is asked for; it answers 15 frames and ends."""
    asked: list[Request] = []

    def generate(_pair: object, requests: Sequence[Request], *_: Any, **__: Any) -> list[Generated]:
        asked.extend(requests)
        return [Generated(np.full((8, 15), 7, np.uint16), True) for _ in requests]

    monkeypatch.setattr(synthesis, "generate", generate)
    return asked


@pytest.fixture
def hears(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples Whisper is given each time; it hears the short sentence."""
    heard: list[int] = []

    def transcribe(_model: object, waveforms: Sequence[Any], **_: Any) -> list[SimpleNamespace]:
        heard.extend(len(waveform) for waveform in waveforms)
        return [SimpleNamespace(text=SHORT)]

    monkeypatch.setattr(asr, "transcribe", transcribe)
    return heard


def recording(world: World, speaker: str, place: int = 0) -> Path:
    rows = [row for row in world.tables["recordings"] if row["recording_id"].startswith(speaker)]
    return world.root / "audio" / str(rows[place]["audio_path"])


def utterance(world: World, speaker: str, place: int = 0) -> str:
    return [row["utterance_id"] for row in world.tables["utterances"] if row["speaker_id"] == speaker][place]


def stranger(folder: Path, name: str = "stranger.wav") -> Path:
    """A file that the warehouse does not know."""
    soundfile.write(folder / name, evaluation.synthesize(LONG, evaluation.VOICES["ben"]), evaluation.SAMPLE_RATE)
    return folder / name


def test_a_text_becomes_a_file_in_the_prompts_voice(valle: Valle, world: World) -> None:
    code, out, err = valle("Good morning.", "--prompt", recording(world, MACHINE), "--prompt-text", LONG)
    assert (code, out) == (0, "speech.wav\n"), err
    found = soundfile.info("speech.wav")
    assert (found.format, found.subtype, found.samplerate, found.channels) == ("WAV", "PCM_16", 24_000, 1)
    assert sorted(path.name for path in Path().iterdir()) == ["speech.wav"], "no half file is left"


def test_json_tells_all_of_each_file(valle: Valle, world: World, says: list[Request]) -> None:
    prompt = recording(world, MACHINE)
    code, out, _ = valle("Good morning.", "--prompt", prompt, "--prompt-text", LONG, "--seed", 5, "--json")
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
    valle: Valle, world: World, says: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = ["--prompt", recording(world, MACHINE), "--prompt-text", LONG]
    Path("text.txt").write_text("A bird for €3.")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"A bird for \xe2\x82\xac3.")))
    for words in (["A bird for €3."], ["--file", "text.txt"], ["-"]):
        assert valle(*words, *prompt)[0] == 0
    assert len({request.phones.tobytes() for request in says}) == 1
    assert len(says) == 3


def test_an_utterance_brings_its_codes_its_phones_and_its_text(valle: Valle, world: World, says: list[Request]) -> None:
    code, out, err = valle("Hello.", "--prompt", utterance(world, MACHINE), "--json")
    assert code == 0, err
    [row] = json.loads(out)
    assert LONG.startswith(row["prompt_text"])
    phones = [SYMBOL_IDS[phone] for phone in (BOUNDARY, *phonemize("Hello.").phones)]
    [request] = says
    known = world.tables["phones"][0]["phone_ids"]
    assert request.phones.tolist() == [*known, *phones]
    assert np.array_equal(request.prompt_codes[0], world.tables["codes"][0]["codebook_1"])


def test_what_is_said_in_a_file_is_heard_by_whisper_unless_it_is_known(
    valle: Valle, world: World, says: list[Request], hears: list[int]
) -> None:
    code, out, _ = valle("Hello.", "--prompt", recording(world, MACHINE), "--json")
    assert (code, json.loads(out)[0]["prompt_text"]) == (0, SHORT)
    assert len(hears) == 1


def test_the_text_of_a_file_that_is_too_long_is_not_used_and_that_is_said(
    valle: Valle, world: World, says: list[Request], hears: list[int]
) -> None:
    parts = [evaluation.synthesize(LONG, evaluation.VOICES["ben"]), np.zeros(9_000, np.float32)]
    soundfile.write("long.wav", np.concatenate(parts * 4), evaluation.SAMPLE_RATE)
    code, out, err = valle("Hello.", "--prompt", "long.wav", "--prompt-text", LONG, "--consent", "--json")
    assert (code, json.loads(out)[0]["prompt_text"]) == (0, SHORT)
    assert "long.wav is too long for --prompt-text" in err


def test_several_renditions_have_a_seed_and_a_number_each(valle: Valle, world: World) -> None:
    prompt = ["--prompt", utterance(world, MACHINE)]
    code, out, _ = valle("Hello there.", *prompt, "--num", 3, "--seed", 7, "--output", "a.wav")
    assert (code, out.split()) == (0, ["a-1.wav", "a-2.wav", "a-3.wav"])
    contents = {Path(name).read_bytes() for name in out.split()}
    assert len(contents) == 3
    valle("Hello there.", *prompt, "--seed", 8, "--output", "b.wav")
    assert Path("b.wav").read_bytes() == Path("a-2.wav").read_bytes(), "the same seed says the same, alone or not"


def test_a_name_that_is_said_is_written_over_and_another_is_not(
    valle: Valle, world: World, says: list[Request]
) -> None:
    prompt = ["--prompt", utterance(world, MACHINE)]
    assert [valle("Hello.", *prompt)[1].strip() for _ in range(3)] == ["speech.wav", "speech-2.wav", "speech-3.wav"]
    assert valle("Hello.", *prompt, "--num", 2)[1].split() == ["speech-2-1.wav", "speech-2-2.wav"]
    Path("mine.wav").write_bytes(b"old")
    assert valle("Hello.", *prompt, "--output", "mine.wav")[0] == 0
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


def test_a_long_text_is_said_in_pieces_and_progress_is_told(valle: Valle, world: World, says: list[Request]) -> None:
    code, out, err = valle(" ".join([f"{LONG} {SHORT}"] * 60), "--prompt", utterance(world, MACHINE))
    assert code == 0
    pauses = (len(says) - 1) * round(0.35 * 24_000)
    assert soundfile.info(out.strip()).frames == len(says) * 15 * 320 + pauses
    assert len(says) > 16
    assert f"16 of {len(says)} pieces are said" in err


def test_the_best_of_several_tries_is_kept(
    valle: Valle, world: World, hears: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = iter([5, 25, 15])

    def generate(_pair: object, requests: Sequence[Request], *_: Any, **__: Any) -> list[Generated]:
        return [Generated(np.full((8, next(lengths)), 7, np.uint16), True) for _ in requests]

    monkeypatch.setattr(synthesis, "generate", generate)
    monkeypatch.setattr("tasks.scores.load_voice_encoder", lambda _: None)
    monkeypatch.setattr("tasks.scores.embed", lambda _, speech: np.array([len(speech)], np.float32))
    code, out, _ = valle(SHORT, "--prompt", utterance(world, MACHINE), "--best-of", 3, "--json")
    assert (code, json.loads(out)[0]["seconds"]) == (0, 25 / 75)


@pytest.mark.parametrize(
    ("num_frames", "finished", "flag", "words"),
    [
        (0, False, "empty", "is empty: the model ended before"),
        (75, False, "endless", "is endless: the model was stopped"),
    ],
)
def test_what_is_empty_or_endless_is_a_result_with_a_flag(
    valle: Valle, world: World, monkeypatch: pytest.MonkeyPatch, num_frames: int, finished: bool, flag: str, words: str
) -> None:
    answer = [Generated(np.zeros((8, num_frames), np.uint16), finished)]
    monkeypatch.setattr(synthesis, "generate", lambda *_, **__: answer)
    code, out, err = valle("Hello.", "--prompt", utterance(world, MACHINE), "--json")
    [row] = json.loads(out)
    assert (code, row["flags"]) == (0, [flag])
    assert words in err
    assert words in row["warnings"][-1]
    assert soundfile.info(row["path"]).frames == num_frames * 320


def test_nobody_is_spoken_for_without_consent(valle: Valle, world: World, says: list[Request]) -> None:
    words = ["Hello.", "--prompt", stranger(Path()), "--prompt-text", LONG]
    code, out, err = valle(*words)
    assert (code, out) == (2, "")
    assert "nobody has said that the speaker of stranger.wav agrees" in err
    assert "say it once with --consent" in err
    assert valle(*words, "--consent")[0] == 0
    shutil.copy("stranger.wav", "copy.wav")
    assert valle("Hello.", "--prompt", "copy.wav", "--prompt-text", LONG)[0] == 0, "it is remembered of the voice"


def test_consent_is_one_row_of_the_catalogue_and_outlives_it(valle: Valle, world: World, says: list[Request]) -> None:
    for _ in range(2):
        assert valle("Hello.", "--prompt", utterance(world, PERSON), "--consent")[0] == 0
    [before] = select(world.root, "from consents").to_pylist()
    assert before["voice"] == f"speaker:librispeech/{PERSON}"
    assert before["prompt"] == utterance(world, PERSON)
    assert before["said_by"]
    assert before["host"]
    for path in world.root.glob("*catalogue.duckdb"):
        path.unlink()
    Catalogue(world.root).rebuild()
    assert select(world.root, "from consents").to_pylist() == [before]


def test_consent_of_a_speaker_is_of_all_that_they_have_said(valle: Valle, world: World, says: list[Request]) -> None:
    assert valle("Hello.", "--prompt", utterance(world, PERSON))[0] == 2
    assert valle("Hello.", "--prompt", utterance(world, PERSON), "--consent")[0] == 0
    assert valle("Hello.", "--prompt", utterance(world, PERSON, 1))[0] == 0
    shutil.copy(recording(world, PERSON), "renamed.wav")
    assert valle("Hello.", "--prompt", "renamed.wav", "--prompt-text", LONG)[0] == 0


def test_a_prompt_that_cannot_serve_leaves_no_consent(valle: Valle, world: World) -> None:
    soundfile.write("silent.wav", np.zeros(48_000), 24_000)
    assert valle("Hello.", "--prompt", "silent.wav", "--consent")[0] == 2
    assert select(world.root, "from consents").num_rows == 0


def test_consent_is_kept_where_there_is_no_warehouse_yet(
    valle: Valle, world: World, tmp_path: Path, says: list[Request]
) -> None:
    pair = _pair(world, tmp_path / "pair")
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
        assert valle(*words, *consent, root=tmp_path / "new")[0] == 0
    assert len(list((tmp_path / "new" / "ledger").iterdir())) == 1


def _pair(world: World, folder: Path) -> Path:
    """The pair of the warehouse as a folder."""
    for row in world.tables["checkpoints"]:
        shutil.copytree(world.root / str(row["path"]), folder / str(row["half"]))
    return folder


def test_the_newest_pair_is_taken_unless_another_is_named(
    valle: Valle, world: World, tmp_path: Path, says: list[Request]
) -> None:
    def checkpoint_id(*words: object) -> str:
        code, out, err = valle("Hello.", "--prompt", utterance(world, MACHINE), "--json", *words)
        assert code == 0, err
        return str(json.loads(out)[0]["checkpoint_id"])

    old = _pair(world, tmp_path / "old")
    assert checkpoint_id().startswith("ar-10-")
    spoken_warehouse.add_pair(world, step=30)
    assert checkpoint_id().startswith("ar-30-")
    named = checkpoint_id("--checkpoint", old)
    assert named == checkpoint_id("--checkpoint", shutil.copytree(old, tmp_path / "moved"))
    shutil.rmtree(world.root / str(world.tables["checkpoints"][1]["path"]))
    assert checkpoint_id() != named, "a half that is gone makes no pair"


def test_a_codec_is_found_by_its_weights_or_named(valle: Valle, world: World, tmp_path: Path) -> None:
    pair = ["Hello.", "--prompt", utterance(world, MACHINE), "--checkpoint", _pair(world, tmp_path / "pair")]
    other = evaluation.save_codec(tmp_path / "other", seed=1)
    code, _, err = valle(*pair, "--codec", other)
    assert (code, "the checkpoint speaks codes of" in err, f"--codec {other} is" in err) == (2, True, True)
    assert valle(*pair, "--codec", tmp_path / "gone.safetensors")[0] == 2
    stranger(Path())
    words = ["Hello.", "--prompt", "stranger.wav", "--prompt-text", LONG, "--consent", *pair[3:]]
    code, _, err = valle(*words, root=tmp_path / "empty")
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
    valle: Valle, world: World, tmp_path: Path, break_: Callable[[Path], object], says: str
) -> None:
    pair = _pair(world, tmp_path / "pair")
    break_(pair)
    code, out, err = valle("Hello.", "--prompt", utterance(world, MACHINE), "--checkpoint", pair)
    assert (code, out) == (2, "")
    assert says in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["", "--prompt", "ANNA"], "there is nothing to say: the text is empty"),
        (["?!", "--prompt", "ANNA"], "there is nothing to say in '?!'"),
        (["Hi 😀", "--prompt", "ANNA"], "there are no phones of en-us for 😀"),
        (["Hi " * 50_000, "--prompt", "ANNA"], "100,000 can be said at once"),
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
def test_a_mistake_is_told_and_nothing_is_written(valle: Valle, world: World, words: list[str], says: str) -> None:
    Path("text.wav").write_text("not audio")
    Path("noise.bin").write_bytes(b"\xff\xfe\xff")
    before = sorted(Path().iterdir())
    names = {"ANNA": utterance(world, MACHINE), "FILE": str(recording(world, MACHINE))}
    code, out, err = valle(*(names.get(word, word) for word in words))
    assert (code, out) == (2, "")
    assert says in err
    assert sorted(Path().iterdir()) == before


def test_where_there_is_no_pair_at_all_that_is_said(
    valle: Valle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.pairs.folder", lambda _: tmp_path / "not-shipped")
    words = ["Hello.", "--prompt", stranger(Path()), "--prompt-text", LONG, "--consent"]
    code, _, err = valle(*words, root=tmp_path / "nothing")
    assert (code, "there is no checkpoint" in err, "--checkpoint names one" in err) == (2, True, True)


def test_a_warehouse_that_keeps_no_codes_of_an_utterance_says_so(valle: Valle, world: World) -> None:
    [path] = (world.root / "codes").glob("*/*.parquet")
    path.unlink()
    Catalogue(world.root).take_up(look_at_disk=True)
    code, _, err = valle("Hello.", "--prompt", utterance(world, MACHINE))
    assert (code, "cannot be a prompt: it has no codes yet" in err) == (2, True)


def test_a_device_that_is_not_here_is_told(valle: Valle, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALLE_DEVICE", "abacus")
    code, _, err = valle("Hello.", "--prompt", utterance(world, MACHINE))
    assert (code, "site key device is 'abacus'" in err) == (2, True)


def test_an_interrupt_leaves_no_file(valle: Valle, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(synthesis, "generate", interrupt)
    assert valle("Hello.", "--prompt", utterance(world, MACHINE))[0] == 130
    assert list(Path().iterdir()) == []


def test_saying_needs_neither_prefect_nor_ray() -> None:
    code = "import sys, flows.say; print(*sys.modules)"
    here = Path(__file__).parents[2]
    loaded = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert not {"prefect", "ray", "torch", "whisper"} & set(loaded.stdout.split())


def test_real_voices_say_odd_texts(valle: Valle, world: World, speech: Path, hears: list[int]) -> None:
    prompts = [path for name in ("jfk", "commonvoice", "ljspeech") for path in (speech / "open" / name).glob("*.*")]
    texts = ["a", "It cost $3.50, on 3/4/1999.", '"Who?" — said he;\n\nand left…', "naïve café"]
    for prompt, text in zip(prompts, texts, strict=False):
        code, out, err = valle(text, "--prompt", prompt, "--consent")
        assert code == 0, err
        assert soundfile.info(out.strip()).samplerate == 24_000
