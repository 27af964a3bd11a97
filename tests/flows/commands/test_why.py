"""The page and the JSON of a history, and how the commands that read a warehouse end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.commands.why import why
from tests.conftest import Said
from tests.small_warehouse import FRENCH, GOOD, make_warehouse
from warehouse.history import History, Step


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    make_warehouse(root, root / "audio")
    return root


def test_a_page_leads_from_the_file_to_the_codes(root: Path) -> None:
    page = why(root, GOOD)
    lines = [" ".join(line.split()) for line in page.splitlines()]
    assert lines[:2] == [f"utterance {GOOD}", "in dataset, split train"]
    order = ["audio_path a/one.wav", "start_sample 0", "text Good morning.", "phones ɡ ʊ d", "num_frames 76"]
    places = [lines.index(line) for line in order]
    assert places == sorted(places)
    assert "made from a/one.wav 80044 bytes" in lines
    assert "codes [8, 76], the first codebook begins 0 1 2 3 4 5 6 7 8 9 10 11" in lines
    assert len(lines) < 80, "one page"


def test_the_command_for_people_and_for_machines(root: Path, valle: Callable[..., Said]) -> None:
    code, out, _ = valle("why", FRENCH, "--root", root)
    assert code == 0
    assert "not in dataset: transcripts dropped it for not_english" in out
    [told] = json.loads(valle("why", FRENCH, "--root", root, "--json")[1])
    assert (told["kind"], len(told["steps"])) == ("utterance", 6)
    assert "attempt" in valle("why", "codes", "--root", root)[1]
    assert "the disk is on fire" in valle("why", "codes/b", "--root", root)[1]
    page = valle("why", "examples", "--root", root)[1]
    assert ["pending", "examples/b", "is", "pending:", "waits", "for"] in [
        line.split()[:6] for line in page.splitlines()
    ]


def test_an_unknown_id_is_said_in_one_sentence(root: Path, valle: Callable[..., Said]) -> None:
    code, out, err = valle("why", "a/onne", "--root", root)
    assert (code, out) == (2, "")
    assert err.endswith("knows nothing called 'a/onne'; did you mean 'a/one'?\n")
    assert valle("why", "codes", "--root", "/proc/nothing")[0] == 2


def test_a_name_of_any_alphabet_is_printed_as_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step(
        table="recordings", shard="a", fingerprint="0", state="made", reason=None, inputs={}, made_at=None, digest=None,
        num_rows=1, dropped={}, stage={"stage": "Recordings", "version": 1, "settings": {"subset": {"à": ["Зоя", 1]}}},
    )  # fmt: skip
    told = History(id="a", kind="recording", verdict="", steps=[step])
    monkeypatch.setattr("flows.commands.why.history", lambda *_: told)
    assert 'subset={"à": ["Зоя", 1]}' in why(root, "a")


def test_the_export_says_how_many(root: Path, valle: Callable[..., Said], tmp_path: Path) -> None:
    pytest.importorskip("lhotse")
    code, _, err = valle("export", "lhotse", tmp_path / "lhotse", "--root", root)
    assert (code, err) == (0, f"{tmp_path / 'lhotse'}: 1 recordings, 1 supervisions, 1 cuts\n")
    assert valle("export", "lhotse", tmp_path / "lhotse", "--root", "/proc/nothing")[0] == 2
