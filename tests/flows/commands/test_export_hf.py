"""The export for Hugging Face: `datasets` loads it, and its rows are those of the warehouse."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from flows.commands.export_hf import export_hf
from tests.small_warehouse import GOOD, codes_of, make_warehouse
from warehouse.errors import Mistake

pytestmark = pytest.mark.skipif(find_spec("datasets") is None, reason="datasets is not installed here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("export")
    make_warehouse(here / "root", here / "audio", first_code=3)
    assert export_hf(here / "root", here / "hf") == f"{here / 'hf'}: 1 train, 0 validation, 0 test"
    return here / "hf"


def test_datasets_loads_it(folder: Path, tmp_path: Path) -> None:
    import datasets  # which takes a second

    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))
    assert list(loaded) == ["train"]
    [row] = loaded["train"]
    assert (row["utterance_id"], row["text"], row["speaker_id"], row["language"]) == (GOOD, "Good morning.", "a", "en")
    assert row["phones"] == ["ɡ", "ʊ", "d"]
    codes = np.array([row[f"codebook_{number}"] for number in range(1, 9)])
    np.testing.assert_array_equal(codes, codes_of(3, 76))
    assert row["num_frames"] == 76


def test_an_older_export_is_replaced_and_anything_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    make_warehouse(tmp_path / "root", tmp_path / "audio", first_code=5)
    (tmp_path / "hf" / "data" / "train").mkdir(parents=True)
    (tmp_path / "hf" / "data" / "train" / "old.parquet").write_bytes(b"old")
    export_hf(tmp_path / "root", tmp_path / "hf")
    assert [path.name for path in (tmp_path / "hf" / "data" / "train").iterdir()] != ["old.parquet"]
    assert not (tmp_path / "hf" / "data" / "train" / "old.parquet").exists()
    (tmp_path / "hf" / "thesis.txt").write_text("mine")
    with pytest.raises(Mistake, match="holds something else"):
        export_hf(tmp_path / "root", tmp_path / "hf")
    assert (tmp_path / "hf" / "README.md").exists()
