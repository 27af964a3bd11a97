"""The working copy of a warehouse on an object store: what is fetched, kept, let go and sent."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.toy import wait_for
from tests.warehouse.fake_objects import Client, FakeStore
from warehouse import working_copy
from warehouse.errors import Mistake
from warehouse.objects import Objects, is_url
from warehouse.working_copy import all_here, folder_here, here, mirrored, object_name, root_at, shard_file, shard_of


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[Objects]:
    found = Objects("fake://store", Client(FakeStore(0)))
    working_copy.bind_to(tmp_path, found)
    yield found
    working_copy.COPIES.bound.clear()


def test_a_root_is_a_folder_or_the_working_copy_of_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALLE_CACHE", str(tmp_path / "cache"))
    assert root_at("relative") == Path.cwd() / "relative"
    assert working_copy.objects_of(root_at("relative")) is None
    one, same, other = (root_at(url) for url in ("s3://bucket/a", "s3://bucket/a/", "s3://bucket/b"))
    assert one == same != other
    assert working_copy.said(one) == "s3://bucket/a"
    working_copy.COPIES.bound.clear()
    assert working_copy.said(one) == "s3://bucket/a", "it says itself whose it is"
    with pytest.raises(Mistake, match="names no bucket"):
        root_at("s3://")
    with pytest.raises(Mistake, match=r"gs://bucket: object stores that are known"):
        root_at("gs://bucket")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VALLE_CACHE", str(tmp_path / "file"))
    with pytest.raises(Mistake, match="cannot be the working copy of s3://bucket/c"):
        root_at("s3://bucket/c")
    working_copy.COPIES.bound.clear()


@pytest.mark.parametrize(
    ("said", "is_one"),
    [("s3://b", True), ("gs://b/c", True), ("/a", False), ("C:\\a", False), ("s3:/b", False), (3, False)],
)
def test_a_url_is_told_from_a_path(said: object, is_one: bool) -> None:
    assert is_url(said) == is_one


def test_a_shards_object_is_named_by_its_path_and_its_sha256() -> None:
    name = object_name("codes/0a1b/small-100@2.parquet", "0123456789abcdef99")
    assert name == "codes/0a1b/small-100@2@0123456789abcdef.parquet"
    assert shard_of(name) == ("codes/0a1b/small-100@2.parquet", "0123456789abcdef")


def test_a_shard_is_fetched_once(objects: Objects, tmp_path: Path) -> None:
    path = shard_file(tmp_path, "codes/0a1b/s.parquet", "0123456789abcdef99")
    with pytest.raises(FileNotFoundError):
        here(path)
    objects.put("codes/0a1b/s@0123456789abcdef.parquet", b"rows")
    assert here(path).read_bytes() == b"rows"
    objects.delete(objects.list("codes"))
    assert here(path).read_bytes() == b"rows"


def test_the_newest_of_a_folder_is_what_others_would_find(objects: Objects, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "0a1b" / "ar" / "states"
    assert working_copy.newest(folder) == ""
    folder.mkdir(parents=True)
    (folder / "000000020.pt").touch()
    assert working_copy.newest(folder) == "", "it was not sent"
    objects.put("checkpoints/0a1b/ar/states/000000010.pt", b"state")
    assert working_copy.newest(folder) == "000000010.pt"
    working_copy.COPIES.bound.clear()
    (folder / ".000000030.pt.unfinished").touch()
    assert working_copy.newest(folder) == "000000020.pt"


def test_beyond_what_may_be_kept_the_longest_unused_is_let_go(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALLE_CACHE_BYTES", "3000")
    paths = [shard_file(tmp_path, f"codes/0a1b/s{number}.parquet", f"{number:016x}") for number in range(5)]
    for number, path in enumerate(paths):
        objects.put(f"codes/0a1b/s{number}@{number:016x}.parquet", bytes(1000))
        here(path)
        os.utime(path, (time.time() - 10_000 + number,) * 2)
    assert [path.exists() for path in paths] == [False, False, True, True, True]
    here(paths[2])  # asked for again, so it is in use
    here(paths[0])
    assert [path.exists() for path in paths] == [True, False, True, False, True]


def long_unused(paths: list[Path]) -> None:
    for path in paths:
        os.utime(path, (time.time() - 10_000, path.stat().st_mtime))


def test_what_is_in_use_is_not_let_go_for_lack_of_room(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALLE_CACHE_BYTES", "3000")
    monkeypatch.setattr(working_copy, "IN_USE", 0.1)  # so they are asked for again every now and then
    paths = [shard_file(tmp_path, f"codes/0a1b/s{number}.parquet", f"{number:016x}") for number in range(9)]
    for number in range(9):
        objects.put(f"codes/0a1b/s{number}@{number:016x}.parquet", bytes(1000))
    with all_here(paths[:5]):
        long_unused(paths[:5])
        wait_for(lambda: all(path.stat().st_atime > time.time() - 100 for path in paths[:5]), "who asks for them again")
        long_unused([here(path) for path in paths[5:]])
        assert [path.exists() for path in paths[:5]] == [True] * 5
    long_unused(paths[:5])
    objects.put("codes/0a1b/s9@0000000000000009.parquet", bytes(1000))
    here(shard_file(tmp_path, "codes/0a1b/s9.parquet", f"{9:016x}"))
    assert sum(path.exists() for path in paths) <= 3


def test_a_folder_is_mirrored_while_it_is_written(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working_copy, "_MIRROR", 0.05)
    folder = tmp_path / "checkpoints" / "0a1b" / "ar"
    (folder / "states").mkdir(parents=True)
    with mirrored(folder):
        (folder / "states" / "1.pt").write_bytes(b"one")
        (folder / "states" / ".2.pt.unfinished").write_bytes(b"tw")
        wait_for(lambda: "checkpoints/0a1b/ar/states/1.pt" in objects.list("checkpoints"), "the first")
        (folder / "states" / "1.pt").unlink()
        (folder / "states" / "2.pt").write_bytes(b"two")
        wait_for(lambda: list(objects.list("checkpoints")) == ["checkpoints/0a1b/ar/states/2.pt"], "the second")
        (folder / "weights").write_bytes(b"last")
    assert set(objects.list("checkpoints")) == {f"checkpoints/0a1b/ar/{name}" for name in ("states/2.pt", "weights")}
    for file in folder.rglob("*.*"):
        file.unlink()
    (folder / "weights").unlink()
    folder_here(folder, without="states")
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["weights"]
    assert (folder_here(folder) / "states" / "2.pt").read_bytes() == b"two"


def test_nothing_is_fetched_or_sent_of_a_warehouse_that_is_a_folder(tmp_path: Path) -> None:
    assert here(tmp_path / "none") == folder_here(tmp_path / "none") == tmp_path / "none"
    with mirrored(tmp_path):
        pass
    assert shard_file(tmp_path, "codes/0a1b/s.parquet", "") == tmp_path / "codes/0a1b/s.parquet"
