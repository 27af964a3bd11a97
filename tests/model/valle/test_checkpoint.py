"""Checkpoints: what was saved is what is loaded, and anything else is refused in one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.valle.ar import AR
from model.valle.checkpoint import FORMAT, CheckpointError, load, read_settings, save
from model.valle.nar import NAR
from model.valle.settings import Settings, Size
from model.valle.synthesis import load_pair

SYMBOLS = ("<pad>", " ", "ə", "tʃ")
SIZE = Size(num_layers=1, num_heads=2, width=8, ffn_width=16, dropout=0.1)


def settings(half, symbols=SYMBOLS, codec="a codec"):
    return Settings(half, SIZE, symbols, codec)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of an AR."""
    save(tmp_path / "ar", AR(settings("ar")))
    return tmp_path / "ar"


@pytest.mark.parametrize(("half", "build"), [("ar", AR), ("nar", NAR)])
def test_what_was_saved_is_what_is_loaded(tmp_path, half, build):
    model = build(settings(half))
    save(tmp_path, model)
    loaded = load(tmp_path, symbols=SYMBOLS)
    assert loaded.settings == model.settings == read_settings(tmp_path)
    assert all(theirs.equal(ours) for theirs, ours in zip(loaded.parameters(), model.parameters(), strict=True))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_equal_weights_have_equal_hashes(tmp_path):
    model = AR(settings("ar"))
    assert save(tmp_path / "one", model) == save(tmp_path / "two", model)
    model.code_embedding.weight.data[0, 0] += 1
    assert save(tmp_path / "one", model) != save(tmp_path / "two", AR(settings("ar")))


def test_other_weights_are_refused(folder):
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match="its sha256 differs"):
        load(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "settings.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        load(folder)


def test_another_symbol_table_is_refused(folder):
    with pytest.raises(CheckpointError, match="another table of phone symbols"):
        load(folder, symbols=(*SYMBOLS[:2], "tʃ", "ə"))


def rewrite(folder, **changes):
    """Changes what `settings.json` says."""
    path = folder / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_newer_format_is_refused_before_anything_else_is_read(folder):
    rewrite(folder, format=FORMAT + 1, size=None)
    with pytest.raises(CheckpointError, match=f"format {FORMAT + 1}, and this version reads up to {FORMAT}"):
        load(folder)


@pytest.mark.parametrize("changes", [{"size": {"width": 8}}, {"format": "x"}, {"symbols": 3}])
def test_damaged_settings_are_refused(folder, changes):
    rewrite(folder, **changes)
    with pytest.raises(CheckpointError, match="is damaged"):
        load(folder)


def test_settings_of_another_size_are_refused(folder):
    rewrite(folder, size={"num_layers": 2, "num_heads": 2, "width": 8, "ffn_width": 16, "dropout": 0.1})
    with pytest.raises(CheckpointError, match="holds other weights than"):
        load(folder)


def test_a_pair_belongs_together(folder, tmp_path):
    for name, other in [
        ("same", settings("nar")),
        ("phones", settings("nar", symbols=SYMBOLS[::-1])),
        ("codec", settings("nar", codec="another")),
    ]:
        save(tmp_path / name, NAR(other))
    pair = load_pair(folder, tmp_path / "same", symbols=SYMBOLS)
    assert pair.symbols == SYMBOLS
    assert pair.codec == "a codec"
    for name, message in [("phones", "symbols differ"), ("codec", "codec differ")]:
        with pytest.raises(CheckpointError, match=message):
            load_pair(folder, tmp_path / name)
    with pytest.raises(CheckpointError, match="is a NAR, and an AR is needed"):
        load_pair(tmp_path / "same", tmp_path / "same")
    with pytest.raises(CheckpointError, match="is an AR, and a NAR is needed"):
        load_pair(folder, folder)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="must divide"):
        Size(num_layers=1, num_heads=3, width=8, ffn_width=8, dropout=0.0)


def test_loading_leaves_torch_s_random_numbers_alone(folder):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    load(folder)
    assert torch.rand(1).equal(expected)


def test_loading_brings_no_algebra_for_weights_that_are_not_there(folder):
    code = """
import pathlib, sys
from model.valle.checkpoint import load
load(pathlib.Path(sys.argv[1]))
print("sympy" in sys.modules)
"""
    here = Path(__file__).parents[3]
    loaded = subprocess.run([sys.executable, "-c", code, folder], cwd=here, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"
