"""`valle ratings`: answers are taken once and whole, and what is wrong with a file is said in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Said
from tests.flows.report import heard_warehouse
from warehouse.query import select

Valle = Callable[..., Said]
ONE, OTHER = map(heard_warehouse.sample, heard_warehouse.SYSTEMS)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("rated") / "warehouse"
    heard_warehouse.make(made)
    return made


def answers(root: Path, test: str = "0" * 32, **changed: Any) -> dict[str, Any]:
    told = {
        "kind": "valle-listening-test",
        "test": test,
        "version": heard_warehouse.version(root),
        "seed": 4_000_000_000,
        "listener": " ann ",
        "answers": [{"first": ONE, "second": OTHER, "preferred": "neither"}],
    }
    return told | changed


def write(folder: Path, said: object) -> Path:
    file = folder / "answers.json"
    file.write_text(said if isinstance(said, str) else json.dumps(said))
    return file


def test_answers_are_taken_and_are_a_table(root: Path, tmp_path: Path, valle: Valle) -> None:
    code, out, err = valle("ratings", write(tmp_path, answers(root, "a" * 32)), "--root", root)
    assert (code, out, err) == (0, "", f"1 answers of ann are kept in {root / 'ledger'}\n")
    [row] = select(root, f"from ratings where test_id = '{'a' * 32}'").to_pylist()
    assert (row["sample_a"], row["sample_b"], row["preferred"]) == (ONE, OTHER, None)
    assert (row["seed"], row["place"], row["version"]) == (4_000_000_000, 1, heard_warehouse.version(root))


def test_the_same_file_is_taken_once(root: Path, tmp_path: Path, valle: Valle) -> None:
    file = write(tmp_path, answers(root, "b" * 32))
    assert valle("ratings", file, "--root", root)[0] == 0
    code, _, err = valle("ratings", file, "--root", root)
    assert code == 2
    assert "these answers have been taken before" in err


PAIR = {"first": ONE, "second": OTHER, "preferred": "first"}
TURNED = {"first": OTHER, "second": ONE, "preferred": "first"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"answers": [PAIR, TURNED]}, "is answered twice"),
        ({"answers": [PAIR | {"second": "valle/nobody/0"}]}, "there is no sample 'valle/nobody/0' of version"),
        ({"answers": [PAIR | {"second": ONE}]}, "is compared with itself"),
        ({"answers": [PAIR | {"preferred": "both"}]}, "answers.0.preferred"),
        ({"answers": []}, "answers: List should have at least 1 item"),
        ({"answers": None}, "answers: Input should be a valid list"),
        ({"version": "0" * 12}, "its samples are of version 000000000000, which"),
        ({"version": "'; drop"}, "version: String should match"),
        ({"test": "../../etc"}, "test: String should match"),
        ({"kind": "another"}, "kind: String should match"),
        ({"seed": -1}, "seed: Input should be greater"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_taken(
    root: Path, tmp_path: Path, valle: Valle, changed: dict[str, Any], said: str
) -> None:
    before = select(root, "from ratings").num_rows
    code, out, err = valle("ratings", write(tmp_path, answers(root, **changed)), "--root", root)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert said in err
    assert select(root, "from ratings").num_rows == before


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "null", '{"kind": 3}', "\x00", "[" * 100_000, "NaN"])
def test_a_damaged_file_is_one_sentence(root: Path, tmp_path: Path, valle: Valle, content: str) -> None:
    code, _, err = valle("ratings", write(tmp_path, content), "--root", root)
    assert (code, err.count("\n")) == (2, 1), err
    assert "no file of answers" in err


def test_what_is_not_there_is_said(root: Path, tmp_path: Path, valle: Valle) -> None:
    assert "there is no file" in valle("ratings", tmp_path / "nothing.json", "--root", root)[2]
    assert "is a folder" in valle("ratings", tmp_path, "--root", root)[2]
    said = valle("ratings", write(tmp_path, answers(root)), "--root", tmp_path)
    assert (said[0], "is not a warehouse" in said[2]) == (2, True)
