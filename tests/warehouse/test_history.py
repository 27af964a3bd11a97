"""The history of an id: every stage, and the first reason for which it is not in the dataset."""

import os
from pathlib import Path

import pytest

from tests.small_warehouse import FRENCH, GOOD, LATER, SILENCE, make_warehouse
from warehouse.errors import Mistake
from warehouse.history import history
from warehouse.query import select


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    make_warehouse(root, root / "audio")
    return root


def test_an_utterance_is_followed_from_the_archive_to_its_codes(root: Path) -> None:
    told = history(root, GOOD)
    assert (told.kind, told.verdict) == ("utterance", "in dataset, split train")
    assert [step.table for step in told.steps] == [
        "recordings", "utterances", "transcripts", "phones", "codes", "examples",
    ]  # fmt: skip
    rows = {step.table: step.rows for step in told.steps}
    assert all(len(found) == 1 for found in rows.values())
    assert rows["recordings"][0]["audio_path"] == "a/one.wav"
    assert rows["recordings"][0]["sha256"] == "5" * 64
    assert rows["utterances"][0]["end_sample"] == 16_050
    assert rows["transcripts"][0]["judge"] == "a person"
    assert rows["phones"][0]["phones"] == ["ɡ", "ʊ", "d"]
    assert len(rows["codes"][0]["codebook_8"]) == rows["codes"][0]["num_frames"] == 76


def test_each_step_has_its_settings_its_inputs_and_its_attempts(root: Path) -> None:
    steps = {step.table: step for step in history(root, GOOD).steps}
    assert steps["examples"].stage["settings"] == {"where": []}
    assert list(steps["recordings"].inputs["files"]) == ["a/one.wav"]
    above = steps["utterances"]
    assert steps["codes"].inputs[f"utterances/{above.fingerprint}/a.parquet"] == above.digest
    assert [attempt["state"] for attempt in steps["codes"].attempts] == ["made"]


def test_the_first_table_that_dropped_it_is_named(root: Path) -> None:
    assert history(root, SILENCE).verdict == "not in dataset: utterances dropped it for silence"
    assert history(root, FRENCH).verdict == (
        "not in dataset: transcripts dropped it for not_english (fr, sure to 0.98)"
    )


def test_what_has_failed_is_why_it_is_not_there(root: Path) -> None:
    error = "codes/b has failed: OSError: the disk is on fire"
    assert history(root, LATER).verdict == f"not in dataset: {error}"
    told = history(root, "codes/b")
    assert (told.kind, told.verdict) == ("shard", error)
    assert [attempt["error"] for attempt in told.steps[0].attempts] == ["OSError: the disk is on fire"]


def test_a_recording_counts_its_own_utterances(root: Path) -> None:
    told = history(root, "a/one")
    assert told.kind == "recording"
    assert told.verdict == (
        "1 of its utterances in dataset; dropped: utterances silence 1, transcripts not_english 1, examples not_whole 1"
    )
    counts = {step.table: step.num_rows for step in told.steps}
    assert (counts["recordings"], counts["utterances"], counts["codes"]) == (1, 3, 2)
    assert history(root, "a/two").verdict == "not in dataset: recordings dropped it for unreadable (no audio)"


def test_a_shard_and_a_table(root: Path) -> None:
    assert history(root, "transcripts/a").verdict == "transcripts/a is made: 1 of 2 rows kept"
    told = history(root, "transcripts")
    assert told.verdict == "2 shards made, 0 pending, 0 failed; 2 of 3 rows kept"
    [step] = told.steps
    assert step.dropped == {"not_english": 1}
    assert sorted(path.split("/")[0] for path in step.inputs) == ["recordings", "utterances"]
    assert step.reason is None


def test_a_table_says_why_it_is_not_whole(root: Path) -> None:
    codes, examples = (history(root, table).steps[0] for table in ("codes", "examples"))
    assert (codes.state, codes.reason) == ("failed", "codes/b has failed: OSError: the disk is on fire")
    assert (examples.state, examples.reason) == ("pending", "examples/b is pending: waits for codes/b")


@pytest.mark.parametrize(
    ("id_", "meant"),
    [
        ("a/one#0-1605", GOOD),
        ("a/onne", "a/one"),
        ("codess", "codes"),
        ("codes/aa", "codes/a"),
        ("a", "examples/a"),
        ("b", "codes/b"),
    ],
)
def test_what_may_have_been_meant_is_said(root: Path, id_: str, meant: str) -> None:
    with pytest.raises(Mistake, match=f"knows nothing called '{id_}'; did you mean '{meant}'"):
        history(root, id_)


def test_only_the_shard_that_holds_an_id_is_opened_below_the_utterances(root: Path, tmp_path: Path) -> None:
    make_warehouse(tmp_path, tmp_path / "audio")
    for path in (tmp_path / "transcripts").rglob("b.parquet"):
        path.write_bytes(b"no Parquet")
    assert history(tmp_path, GOOD).verdict == "in dataset, split train"


def test_a_folder_above_the_root_is_no_column(tmp_path: Path) -> None:
    root = tmp_path / "text=odd" / "dropped=odd" / "lang=en"
    make_warehouse(root, tmp_path / "audio")
    assert history(root, GOOD).verdict == "in dataset, split train"
    rows = {step.table: step.rows for step in history(root, GOOD).steps}
    assert (rows["transcripts"][0]["text"], rows["transcripts"][0]["dropped"]) == ("Good morning.", None)
    assert "lang" not in rows["transcripts"][0]
    assert "lang" not in select(root, "from transcripts").column_names
    assert set(select(root, "select text from transcripts")["text"].to_pylist()) == {"Good morning."}
    [version] = select(root, "select distinct fingerprint from artifacts where table_name = 'examples'")[0].to_pylist()
    assert "lang" not in select(root, f"from examples_of('{version}')").column_names


@pytest.mark.parametrize("name", ["speech [2024]", "**", "[a-c]", "it's [!x]"])
def test_a_root_whose_name_looks_like_a_pattern_is_that_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / name / "root"
    make_warehouse(root, tmp_path / "audio")
    assert history(root, GOOD).verdict == "in dataset, split train"
    [version] = select(root, "select distinct fingerprint from artifacts where table_name = 'examples'")[0].to_pylist()
    assert select(root, f"from examples_of('{version}')").num_rows == select(root, "from examples").num_rows > 0


@pytest.mark.parametrize("left", [None, 0, 100])
def test_a_damaged_shard_is_named(tmp_path: Path, left: int | None) -> None:
    make_warehouse(tmp_path, tmp_path / "audio")
    [shard] = (tmp_path / "codes").glob("*/a.parquet")
    shard.unlink() if left is None else os.truncate(shard, left)
    for ask in (lambda: history(tmp_path, GOOD), lambda: select(tmp_path, "select codebook_1 from codes")):
        with pytest.raises(Mistake, match=str(shard)):
            ask()
