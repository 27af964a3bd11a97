"""What the judges say: of words, of voices, and of what there is nothing to say of."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import soundfile

from model.asr import recognition
from model.codec.encodec import load_codec
from tasks.audio import audio_files
from tasks.audio.resynthesis import decode, encode
from tasks.evaluation.controls import SHUFFLED, SILENCE, SIMILARITY, SIMILARITY_SILENCE, WER
from tasks.evaluation.judges import embed, load_voice_encoder, voice_judge, word_errors
from tasks.evaluation.scoring import SIMILARITY_DECODED
from tasks.evaluation.systems import CONTINUAL, RESYNTHESIS, TRUTH, VALLE
from tasks.scores import Scores
from tasks.text.espeak import SAMPLE_RATE, synthesize
from tests.tasks import small_evaluation
from tests.tasks.small_evaluation import LONG, PROMPT_SECONDS, SHORT, VOICES, Row, World
from warehouse.stage import Stage
from warehouse.tables import SAMPLES, SCORES


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two long texts of one speaker, one of another, and no sample yet."""
    return small_evaluation.build(tmp_path_factory.mktemp("root"), (("anna", LONG), ("anna", LONG), ("ben", LONG)))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_evaluation.save_whisper(tmp_path_factory.mktemp("judge"))


def sample(world: World, system: str, utterance: int, prompt: int | None, heard: int | None = None, **more: Any) -> Row:
    """A row of `samples` that says an utterance of the world; its speech is the true speech of one (`heard`)."""
    known = world.tables["utterances"]
    row = {
        "sample_id": f"{system}/{known[utterance]['utterance_id']}/0",
        "system": system,
        "utterance_id": known[utterance]["utterance_id"],
        "prompt_id": None if prompt is None else known[prompt]["utterance_id"],
        "text": world.tables["transcripts"][utterance]["text"],
        "seed": 0,
    }
    if prompt is not None:
        row |= prompted(world, f"{known[prompt]['recording_id']}.wav")
    if heard is not None:
        path = world.root / "audio" / f"{known[heard]['recording_id']}.wav"
        row["audio_path"] = path.relative_to(world.root).as_posix()
    return row | more


def prompted(world: World, name: str) -> Row:
    """The columns of a prompt: the first second of a file, as recorded and as the codec gives it back."""
    codec = load_codec(world.codec)
    waveform = audio_files.read(world.root / "audio" / name, 24_000)[: round(PROMPT_SECONDS * 24_000)]
    paths = {}
    for kind, speech in (("path", waveform), ("decoded_path", decode(codec, encode(codec, waveform)))):
        paths[f"prompt_{kind}"] = f"{Path(name).stem}-{kind}.wav"
        soundfile.write(world.root / paths[f"prompt_{kind}"], speech, 24_000)
    return {"prompt_seconds": PROMPT_SECONDS, **paths}


def judge(world: World, whisper: str, *samples: Row) -> list[Row]:
    stage = Scores(root=world.root, judge=whisper)
    table = stage(ds.dataset(pa.Table.from_pylist([*samples], schema=SAMPLES.schema)))
    assert table.schema == SCORES.schema
    rows: list[Row] = table.to_pylist()
    return rows


def hearing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Lets Whisper hear this text in whatever it is given."""

    def transcribe(_model: object, waveforms: list[object], **_: object) -> list[Any]:
        return [SimpleNamespace(text=text) for _ in waveforms]

    monkeypatch.setattr(recognition, "transcribe", transcribe)


def values(rows: list[Row]) -> dict[tuple[str, str], float]:
    return {(row["system"], row["metric"]): row["value"] for row in rows}


def test_it_keeps_the_contract_of_a_stage() -> None:
    assert isinstance(Scores(), Stage)


@pytest.mark.parametrize(
    ("heard", "errors"),
    [("a b c d", 0), ("a x c d", 1), ("a c d", 1), ("a b b c d", 1), ("", 4), ("x y z u v w", 6)],
    ids=["right", "one other", "one less", "one more", "nothing", "more wrong than right"],
)
def test_word_errors_are_those_of_levenshtein(heard: str, errors: int) -> None:
    assert word_errors("a b c d", heard) == (errors, 4)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # Whisper leaves its vocabulary open
def test_every_sample_has_three_scores_and_each_names_its_judge(
    world: World, whisper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognition, "TEMPERATURES", ())  # no second tries: it has learnt nothing
    rows = judge(world, whisper, sample(world, VALLE, 0, 1, heard=0), sample(world, TRUTH, 2, 0, heard=2))
    assert [(row["system"], row["metric"]) for row in rows] == [
        *((system, WER) for system in (VALLE, TRUTH)),
        (TRUTH, SILENCE),
        *((system, metric) for system in (VALLE, TRUTH) for metric in (SIMILARITY, SIMILARITY_DECODED)),
        (TRUTH, SIMILARITY_SILENCE),
    ]
    for row in rows:
        assert row["dropped"] is None
        assert row["value"] >= 0
        assert row["judge"] == (
            f"openai-whisper/{recognition.identity(whisper)}" if row["metric"] in (WER, SILENCE) else voice_judge()
        )
        assert (row["errors"] is None) == (row["words"] is None) == (row["metric"] not in (WER, SILENCE))


def test_numbers_spelling_and_capitals_are_no_errors(
    world: World, whisper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing(monkeypatch, "MISTER BROWN SAW TWENTY-ONE COLORS")
    said = sample(world, VALLE, 0, 1, heard=0, text="Mr. Brown saw 21 colours.")
    row = judge(world, whisper, said)[0]
    assert (row["value"], row["errors"], row["words"]) == (0.0, 0, 5)


def test_the_rate_is_errors_over_words_and_the_row_tells_what_was_heard(
    world: World, whisper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing(monkeypatch, "The old man walked along the deep river.")
    row = judge(world, whisper, sample(world, VALLE, 0, 1, heard=0))[0]
    assert (row["errors"], row["words"], row["value"]) == (2, 8, 0.25)
    assert "deep river" in row["detail"]


def test_true_speech_stands_before_anothers_text_and_silence_in_its_place(
    world: World, whisper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing(monkeypatch, LONG)
    rows = judge(
        world,
        whisper,
        sample(world, TRUTH, 0, 1, heard=0),
        sample(world, TRUTH, 1, 0, heard=1, text=SHORT),
        sample(world, VALLE, 0, 1, heard=0),
    )
    found = {(row["sample_id"], row["metric"]): (row["errors"], row["words"]) for row in rows}
    ids = [f"{TRUTH}/{row['utterance_id']}/0" for row in world.tables["utterances"]]
    assert found[ids[0], WER] == (0, 8)
    assert found[ids[0], SHUFFLED] == word_errors(SHORT.lower().rstrip("."), LONG.lower().rstrip("."))
    assert found[ids[1], SHUFFLED] == (0, 8)  # its own text is SHORT, and LONG is heard
    assert found[ids[0], SILENCE] == (0, 8)  # this judge hears LONG in it
    assert {row["system"] for row in rows if row["metric"] in (SHUFFLED, SILENCE, SIMILARITY_SILENCE)} == {TRUTH}
    broken = [*Scores().controls(ds.dataset(pa.Table.from_pylist(rows, schema=SCORES.schema)))]
    assert [said.partition(":")[0] for said in broken] == ["shuffled", "silence"]


@pytest.mark.parametrize(
    ("heard", "more", "failures"),
    [
        (LONG, {}, []),
        (f"A bird there. {LONG}", {"prompt_text": "He saw a bird there."}, ["leaked"]),
        (f"{LONG} {LONG}", {"detail": "endless: stopped after 9.0 s"}, ["endless", "repeated"]),
        ("The river.", {}, ["skipped"]),
    ],
)
def test_how_a_sample_fails_is_said_with_its_word_errors(
    world: World, whisper: str, monkeypatch: pytest.MonkeyPatch, heard: str, more: Row, failures: list[str]
) -> None:
    hearing(monkeypatch, heard)
    words, *voices = judge(world, whisper, sample(world, VALLE, 0, 1, heard=0, speaker_id="anna", **more))
    assert words["failures"] == failures
    assert {row["failures"] for row in voices} == {None}
    assert {row["speaker_id"] for row in (words, *voices)} == {"anna"}


def test_an_empty_sample_has_every_word_wrong_and_no_voice(world: World, whisper: str) -> None:
    rows = judge(world, whisper, sample(world, VALLE, 0, 1, dropped="empty"))
    assert [(row["metric"], row["value"], row["errors"], row["dropped"]) for row in rows] == [(WER, 1.0, 8, None)]


def test_a_sample_that_was_refused_is_not_judged(world: World, whisper: str) -> None:
    assert judge(world, whisper, sample(world, VALLE, 0, None, dropped="no_prompt")) == []


def test_a_text_without_words_has_no_rate(world: World, whisper: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hearing(monkeypatch, LONG)
    row = judge(world, whisper, sample(world, VALLE, 0, 1, heard=0, text="Hmm."))[0]
    assert (row["dropped"], row["value"], row["words"]) == ("no_words", None, 0)


def test_true_speech_of_a_lonely_speaker_is_heard_but_not_compared(
    world: World, whisper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing(monkeypatch, LONG)
    words, _, *voices = judge(world, whisper, sample(world, TRUTH, 2, None, heard=2))
    assert words["dropped"] is None
    assert {row["dropped"] for row in voices} == {"no_prompt"}


def test_the_same_voice_is_more_alike_than_another(world: World, whisper: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hearing(monkeypatch, LONG)
    found = values(judge(world, whisper, sample(world, TRUTH, 0, 1, heard=0), sample(world, VALLE, 0, 1, heard=2)))
    assert found[TRUTH, SIMILARITY] > 0.75 > found[VALLE, SIMILARITY] + 0.1
    assert found[TRUTH, SIMILARITY_DECODED] != pytest.approx(found[TRUTH, SIMILARITY], abs=1e-3)


def test_a_continuation_is_compared_from_where_its_prompt_ends(
    world: World, whisper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing(monkeypatch, LONG)
    own, other = (audio_files.read(world.root / "audio" / name, 16_000) for name in ("anna/0.wav", "ben/2.wav"))
    cut = round(PROMPT_SECONDS * 16_000)
    soundfile.write(world.root / "spliced.wav", np.concatenate([own[:cut], other[cut:]]), 16_000)
    scored = values(
        judge(
            world,
            whisper,
            sample(world, CONTINUAL, 0, 0, audio_path="spliced.wav"),
            sample(world, RESYNTHESIS, 0, 0, audio_path="spliced.wav"),
            sample(world, VALLE, 0, 0, heard=2),
        )
    )
    assert scored[CONTINUAL, SIMILARITY] < scored[RESYNTHESIS, SIMILARITY] - 0.05
    assert scored[CONTINUAL, SIMILARITY] == pytest.approx(scored[VALLE, SIMILARITY], abs=0.1)


def test_a_prompt_that_could_not_be_read_is_compared_as_decoded_alone(
    world: World, whisper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing(monkeypatch, LONG)
    rows = judge(world, whisper, sample(world, VALLE, 0, 1, heard=0, prompt_path=None))
    assert [row["dropped"] for row in rows] == [None, "no_prompt", None]
    assert "could not be read" in rows[1]["detail"]


def test_where_there_is_nothing_to_judge_no_judge_is_called(
    world: World, whisper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognition, "warm_asr", None)
    assert judge(world, whisper) == []


def test_silence_has_no_voice_and_says_so(world: World, whisper: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hearing(monkeypatch, LONG)
    soundfile.write(world.root / "silence.wav", np.zeros(48_000), 24_000)
    rows = judge(world, whisper, sample(world, VALLE, 0, 1, audio_path="silence.wav"))
    assert [row["dropped"] for row in rows] == [None, "no_voice", "no_voice"]
    assert "in the sample" in rows[1]["detail"]


def test_noise_is_unlike_a_voice_rather_than_missing(
    world: World, whisper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing(monkeypatch, "")
    noise = 0.1 * np.random.default_rng(0).standard_normal(48_000)
    soundfile.write(world.root / "noise.wav", noise, 24_000)
    rows = judge(world, whisper, sample(world, VALLE, 0, 1, audio_path="noise.wav"))
    assert all(row["dropped"] is None for row in rows)
    assert values(rows)[VALLE, SIMILARITY] < 0.75


def test_a_voice_is_a_direction_of_length_one() -> None:
    encoder = load_voice_encoder("cpu")
    speech = synthesize(SHORT, VOICES["anna"])
    voice = embed(encoder, np.asarray(speech, np.float32))
    assert voice is not None
    assert voice.shape == (256,)
    assert np.linalg.norm(voice) == pytest.approx(1.0, abs=1e-5)
    assert embed(encoder, np.zeros(SAMPLE_RATE, np.float32)) is None
    assert embed(encoder, np.zeros(0, np.float32)) is None


def test_people_are_more_like_themselves_than_like_others(speech: Path) -> None:
    """Three readers of LibriSpeech: 3 s of one utterance of each against another utterance of each."""
    encoder = load_voice_encoder("cpu")
    readers = sorted(path for path in (speech / "librispeech-mini").glob("LibriSpeech/*/*") if path.is_dir())[:3]
    files = [sorted(reader.rglob("*.flac"))[:2] for reader in readers]
    enrolled = np.stack([np.asarray(embed(encoder, audio_files.read(one, 16_000, 0, 48_000))) for one, _ in files])
    heard = np.stack([np.asarray(embed(encoder, audio_files.read(other, 16_000))) for _, other in files])
    alike = enrolled @ heard.T
    others = ~np.eye(3, dtype=bool)
    assert alike.diagonal().min() > alike[others].max() + 0.05


def test_the_judges_weights_are_part_of_the_identity_and_their_place_is_not(
    world: World, whisper: str, tmp_path: Path
) -> None:
    stage = Scores(root=world.root, judge=whisper)
    copy = tmp_path / "copy.pt"
    copy.write_bytes(Path(whisper).read_bytes())
    assert stage.identity() == replace(stage, judge=str(copy)).identity()
    copy.write_bytes(b"other weights")
    assert stage.identity() != replace(stage, judge=str(copy)).identity()
    assert stage.identity()["voices"] == voice_judge()


def test_a_sample_that_a_judge_stumbles_over_costs_itself(
    world: World, whisper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def transcribe(_model: object, waveforms: list[object], *, ids: list[str], **_: object) -> list[Any]:
        if any(name.startswith(VALLE) for name in ids):
            raise ValueError("no such window")
        return [SimpleNamespace(text=LONG) for _ in waveforms]

    def stumble(encoder: Any, speech: Any) -> Any:
        if len(speech) == 16_123:
            raise ZeroDivisionError("division by zero")
        return embed(encoder, speech)

    monkeypatch.setattr(recognition, "transcribe", transcribe)
    monkeypatch.setattr("tasks.scores.embed", stumble)
    soundfile.write(world.root / "second.wav", np.zeros(16_123), 16_000)
    (world.root / "text.wav").write_text("no audio")
    rows = judge(
        world,
        whisper,
        sample(world, TRUTH, 0, 1, heard=0),
        sample(world, VALLE, 0, 1, audio_path="second.wav"),
        sample(world, "codec-resynthesis", 0, 1, audio_path="text.wav"),
    )
    dropped = {(row["system"], row["metric"]): row["dropped"] for row in rows}
    metrics = (WER, SIMILARITY, SIMILARITY_DECODED)
    assert [dropped[TRUTH, metric] for metric in metrics] == [None, None, None]
    assert [dropped[VALLE, metric] for metric in metrics] == ["error", "error", "error"]
    assert [dropped["codec-resynthesis", metric] for metric in metrics] == ["unreadable"] * 3
    assert {row["detail"] for row in rows if row["dropped"] == "error"} == {
        "ValueError: no such window",
        "ZeroDivisionError: division by zero",
    }
