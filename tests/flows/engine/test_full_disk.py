"""A full disk is one sentence; what failed for it is made when there is room."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from bench.made_up import attempt
from flows.engine.shards import Failure, Job, make_shard
from tests.conftest import TOY, Said
from tests.toy import ToyUtterances, write_corpus
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.errors import WorkFailed
from warehouse.ledger import Record
from warehouse.query import select
from warehouse.store import Artifact


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def job(root: Path, audio: Path) -> Job:
    words = {"fingerprint": "f" * 12, "description": "{}", "inputs": "{}", "reads": (), "again": False}
    return Job(root=root, stage=ToyUtterances(audio=audio), shard="a", **words)


def test_a_shard_fails_that_has_no_room_and_is_made_when_it_has(disk: Path, tmp_path: Path) -> None:
    ours = job(disk / "root", write_corpus(tmp_path / "audio", a="pause one"))
    assert isinstance(make_shard(ours, None, 1), Artifact)
    ballast = fill(disk)
    failed = make_shard(replace(ours, shard="a"), None, 2)
    assert isinstance(failed, Failure)
    assert failed.may_pass
    assert "No space left" in failed.error
    ballast.unlink()
    assert isinstance(make_shard(ours, None, 3), Artifact)


def test_a_shard_whose_record_has_no_room_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    ours = job(tmp_path / "root", write_corpus(tmp_path / "audio", a="pause one"))
    monkeypatch.setattr("flows.engine.shards.emit", full)
    assert isinstance(make_shard(ours, None, 1), Failure), "or it would count as made, and nobody would know it"
    monkeypatch.undo()
    assert isinstance(make_shard(ours, None, 2), Artifact)


def test_a_catalogue_without_room_says_so_and_takes_up_what_waits_when_it_has(disk: Path, tmp_path: Path) -> None:
    root = disk / "root"
    catalogue = Catalogue(root)
    catalogue.take_up()
    made = make_shard(job(root, write_corpus(tmp_path / "audio", a="pause one")), None, 1)
    assert isinstance(made, Artifact)
    for number in range(200):
        ledger.emit(root, Record(replace(attempt(made), run_id=str(number), error="e" * 400), made))
    ballast = fill(disk)
    with pytest.raises(WorkFailed, match="the disk is full; what is made is kept"):
        catalogue.take_up()
    ballast.unlink()
    catalogue.take_up()
    assert select(root, "select count(*) as n from runs").to_pylist() == [{"n": 201}]


@pytest.mark.integration
def test_a_command_on_a_full_disk_says_so(disk: Path, tmp_path: Path, valle: Callable[..., Said]) -> None:
    audio = write_corpus(tmp_path / "audio", a="pause one")
    (disk / "root" / "recipes").mkdir(parents=True)
    fill(disk)
    code, _, said = valle("run", "--recipe", TOY, "--audio", audio, "--root", disk / "root")
    assert code == 1
    assert "valle: the disk is full; what is made is kept" in said
