"""A reader from Python: Arrow out, nothing written, nobody in the way; and the versions of the dataset."""

import subprocess
import sys
from pathlib import Path

import pytest

import warehouse
from tests.small_warehouse import GOOD, make_warehouse
from warehouse.errors import Mistake


def test_a_select_gives_arrow_and_pandas(tmp_path: Path) -> None:
    make_warehouse(tmp_path, tmp_path / "audio")
    with warehouse.open(tmp_path) as reader:
        assert reader.sql("from dataset")["utterance_id"].to_pylist() == [GOOD]
        frame = reader.sql("select num_frames from codes where utterance_id = ?", [GOOD]).to_pandas()
        assert frame["num_frames"].tolist() == [76]
        with pytest.raises(Mistake, match="only SELECT"):
            reader.sql("drop table runs")


def test_an_open_reader_keeps_its_copy_and_blocks_no_flow(tmp_path: Path) -> None:
    make_warehouse(tmp_path, tmp_path / "audio")
    with warehouse.open(str(tmp_path)) as reader:
        make_warehouse(tmp_path, tmp_path / "audio", where=(("short", "utterances.seconds >= 1"),))
        assert reader.sql("from dataset_versions").num_rows == 1
    with warehouse.open(tmp_path) as reader:
        assert reader.sql("from dataset_versions").num_rows == 2


def test_files_are_those_under_the_root_as_it_lies_now(tmp_path: Path) -> None:
    make_warehouse(tmp_path / "before", tmp_path / "audio")
    (tmp_path / "before").rename(tmp_path / "after")
    with warehouse.open(tmp_path / "after") as reader:
        assert [Path(path).name for path in reader.files("transcripts")] == ["a.parquet", "b.parquet"]
        [path] = reader.files("codes", "a")
        assert Path(path).is_file()
        assert reader.files("codes", "b") == []


def test_a_view_that_is_kept_is_asked_once(tmp_path: Path) -> None:
    make_warehouse(tmp_path, tmp_path / "audio")
    with warehouse.open(tmp_path) as reader:
        before = reader.sql("from codes")
        reader.keep("codes")
        for path in reader.files("codes"):
            Path(path).unlink()
        assert reader.sql("from codes").equals(before)
        with pytest.raises(Mistake, match="no_such_view"):
            reader.keep("no_such_view")


def test_a_folder_without_a_catalogue_is_no_warehouse(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="is not a warehouse"):
        warehouse.open(tmp_path)


def test_the_package_is_light_until_it_is_opened() -> None:
    code = "import sys, warehouse; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"duckdb", "pyarrow"} & set(loaded)


def test_a_version_of_the_dataset_is_its_filter_and_its_rows(tmp_path: Path) -> None:
    digests = {}
    for name, words in {"first": {}, "same": {}, "codes": {"first_code": 5}}.items():
        make_warehouse(tmp_path / name, tmp_path / "audio", **words)
        with warehouse.open(tmp_path / name) as reader:
            [version] = reader.sql("from dataset_versions").to_pylist()
        assert (version["shards"], version["rows_considered"], version["rows_kept"]) == (1, 2, 1)
        digests[name] = version["digest"]
    assert digests["first"] == digests["same"]
    assert digests["first"] != digests["codes"], "other codes are another dataset, whoever chose it"


def test_versions_with_other_filters_stand_beside_each_other(tmp_path: Path) -> None:
    make_warehouse(tmp_path, tmp_path / "audio")
    make_warehouse(tmp_path, tmp_path / "audio", where=(("short", "utterances.seconds >= 1"),))
    with warehouse.open(tmp_path) as reader:
        versions = reader.sql("select filter, current, digest from dataset_versions").to_pylist()
    assert {(version["filter"], version["current"]) for version in versions} == {
        ("[]", False),
        ('[["short","utterances.seconds >= 1"]]', True),
    }
    assert len({version["digest"] for version in versions}) == 1, "both filters chose the same rows"
