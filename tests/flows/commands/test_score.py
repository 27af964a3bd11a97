"""`valle score`: another system's speech, judged as ours is, and beside it; kept as answers are."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import soundfile

from tests.conftest import Said
from warehouse.catalogue import Catalogue
from warehouse.query import select

if TYPE_CHECKING:
    from tests.tasks.small_evaluation import World


@pytest.fixture
def judged(
    valle: Callable[..., Said], world: "World", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """Runs `valle score` on a folder of two files of another system, of a list of three lines."""
    from model.asr import recognition
    from tests.tasks import small_evaluation

    def transcribe(_model: object, waveforms: list[Any], **_: Any) -> list[SimpleNamespace]:
        return [SimpleNamespace(text=small_evaluation.SHORT) for _ in waveforms]

    monkeypatch.setattr(recognition, "transcribe", transcribe)
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name, voice in (("one", "anna"), ("two", "ben"), ("prompt", "anna")):
        speech = small_evaluation.synthesize(small_evaluation.LONG, small_evaluation.VOICES[voice])
        soundfile.write(folder / f"{name}.wav", speech, small_evaluation.SAMPLE_RATE)
    lines = [
        f"{name}|{small_evaluation.LONG}|prompt.wav|{text}"
        for name, text in (
            ("one", small_evaluation.SHORT),
            ("two", small_evaluation.LONG),
            ("three", "Three words here."),
        )
    ]
    (folder / "meta.lst").write_text("\n".join(lines) + "\n")
    whisper = small_evaluation.save_whisper(tmp_path / "judge")
    return lambda *words: valle("score", folder, "--root", world.root, "--judge", whisper, *words)


def scored(root: Path) -> list[dict[str, Any]]:
    query = (
        "select system, num_samples, wer, similarity from leaderboard where source = 'this warehouse' order by system"
    )
    return list(select(root, query).to_pylist())


def test_a_system_is_judged_and_stands_under_its_name(judged: Callable[..., Said], world: "World") -> None:
    code, out, err = judged("--name", "theirs-1.0", "--json")
    assert code == 0, err
    assert "1 of 3 files are missing, the first three.wav; they count as empty" in err
    [row] = json.loads(out)
    errors = 0 + 8 + 3  # as it should be, other words, nothing
    assert (row["system"], row["n"], row["wer"]) == ("theirs-1.0", 3, errors / (5 + 8 + 3))
    assert 0.5 < row["similarity"] < 1
    assert row["wer_judge"].startswith("openai-whisper/file@")
    [mine] = scored(world.root)
    assert mine["wer"] == row["wer"]
    classes = select(world.root, "select failure from failure_classes where samples > 0").to_pylist()
    assert {row["failure"] for row in classes} == {"empty", "skipped"}


def test_who_is_scored_again_replaces_what_was_said_and_a_rebuild_keeps_it(
    judged: Callable[..., Said], world: "World"
) -> None:
    for name in ("theirs", "theirs", "others"):
        code, _, err = judged("--name", name)
        assert code == 0, err
    before = scored(world.root)
    assert [row["system"] for row in before] == ["others", "theirs"]
    assert [row["num_samples"] for row in before] == [3, 3]
    Catalogue(world.root).rebuild()
    assert scored(world.root) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--name", "valle"], "a system cannot be called 'valle' here"),
        (["--list", "gone.lst"], "there is no list gone.lst: name one by --list"),
        (["--judge", "whisper-9"], "no Whisper is called 'whisper-9'"),
    ],
)
def test_a_wrong_word_is_one_sentence(judged: Callable[..., Said], words: list[str], says: str, world: "World") -> None:
    code, out, err = judged(*words)
    assert (code, out) == (2, "")
    assert says in err
    assert scored(world.root) == []


def test_a_folder_without_any_of_the_files_is_one_sentence(
    judged: Callable[..., Said], tmp_path: Path, world: "World"
) -> None:
    for name in ("one", "two"):
        (tmp_path / "theirs" / f"{name}.wav").unlink()
    code, _, err = judged()
    assert code == 2
    assert "has none of the 3 files" in err


def test_it_needs_no_run_before_it(judged: Callable[..., Said], tmp_path: Path) -> None:
    code, _, err = judged("--root", tmp_path / "new")
    assert code == 0, err
    assert [row["system"] for row in scored(tmp_path / "new")] == ["theirs"]
