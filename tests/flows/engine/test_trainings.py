"""A training is never lost: what it reads is fixed when it begins, and its folder outlives whatever happens above."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.engine import trainings
from tests.toy import write_corpus
from warehouse.catalogue import Catalogue
from warehouse.errors import WorkFailed
from warehouse.query import select

Run = Callable[..., dict[str, int]]
TRAINED = f"{Path(__file__).parents[2]}/toy.py:trained"
ALL = 3 + 5 + 5 + 6  # frames of the corpus below


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "audio", a="pause one three", b="pause i seven", c="pause eleven")


def learnt(root: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = select(root, "select steps, frames, path from learnt").to_pylist()
    return rows


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "learnt").glob("*/*") if path.is_dir())


def test_a_killed_training_goes_on_with_what_it_began_with_when_audio_is_added(
    pipeline: Run, corpus: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (corpus / "unfinished").touch()
    with pytest.raises(WorkFailed, match="killed at step 1"):
        pipeline(recipe=TRAINED)
    write_corpus(corpus, a="pause thirteen", d="pause another")  # one shard made anew at the same place, one more
    with pytest.raises(WorkFailed, match="killed at step 2"):
        pipeline(recipe=TRAINED)
    (corpus / "unfinished").unlink()
    assert pipeline(recipe=TRAINED)["learnt"] == 1
    assert learnt(root) == [{"steps": 3, "frames": ALL, "path": "all"}]
    assert "learnt" not in pipeline(recipe=TRAINED)
    assert {stage.wanted.table: stage.newer_data for stage in Catalogue(root).take_up()}["learnt"] == {"all"}


def test_so_does_one_whose_excused_shard_is_mended_later(pipeline: Run, corpus: Path, tmp_path: Path) -> None:
    write_corpus(corpus, b="pause wrong")
    (corpus / "unfinished").touch()
    with pytest.raises(WorkFailed, match="killed at step 1"):
        pipeline(recipe=TRAINED, max_failed_share=0.4)
    write_corpus(corpus, b="pause mended")
    (corpus / "unfinished").unlink()
    pipeline(recipe=TRAINED, max_failed_share=0.4)
    assert learnt(tmp_path / "root") == [{"steps": 2, "frames": ALL - 5, "path": "all"}]


@pytest.mark.slow
def test_made_again_by_name_it_begins_beside_the_old_one_which_stays(
    pipeline: Run, corpus: Path, tmp_path: Path
) -> None:
    root, again = tmp_path / "root", {"only": ["learnt/all"], "again": ["learnt/all"]}
    pipeline(recipe=TRAINED)
    write_corpus(corpus, d="pause another")
    (corpus / "unfinished").touch()
    with pytest.raises(WorkFailed, match="killed at step 1"):
        pipeline(recipe=TRAINED, **again)
    assert learnt(root) == [{"steps": 1, "frames": ALL, "path": "all"}], (
        "the old one counts while the new one is not whole"
    )
    (corpus / "unfinished").unlink()
    pipeline(recipe=TRAINED, **again)
    assert learnt(root) == [{"steps": 2, "frames": ALL + 7, "path": "all~2"}]
    pipeline(recipe=TRAINED)
    pipeline(recipe=TRAINED, **again)
    assert learnt(root) == [{"steps": 1, "frames": ALL + 7, "path": "all~3"}]
    assert folders(root) == ["all", "all~2", "all~3"]


def test_what_it_began_with_survives_what_becomes_of_the_shards(tmp_path: Path) -> None:
    shard, rows = tmp_path / "codes" / "a.parquet", tmp_path / "learnt" / "f" / "all.parquet"
    shard.parent.mkdir()
    shard.write_text("one")
    begun = trainings.begin(rows, {"codes": [shard]}, "one", again=False)
    shard.with_suffix(".new").write_text("two")
    shard.with_suffix(".new").replace(shard)
    again = trainings.begin(rows, {"codes": [shard]}, "two", again=False)
    assert begun == again
    assert again.inputs == "one"
    [[kept]] = again.reads
    assert kept.read_text() == "one"


def test_without_links_what_it_reads_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", no_links)
    (tmp_path / "a.parquet").write_text("one")
    begun = trainings.begin(tmp_path / "f" / "all.parquet", {"codes": [tmp_path / "a.parquet"]}, "", again=False)
    assert [path.read_text() for [path] in begun.reads] == ["one"]
