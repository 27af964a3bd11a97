"""`valle doctor`: what is here and what is missing, and an exit code."""

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

import model
from flows.commands import doctor
from flows.machine import probes
from flows.machine.diagnosis import MISSING, OK, WARNING, Diagnosis
from tests.conftest import Said


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process that imports torch."""
    monkeypatch.setattr(probes, "gpu", lambda *_: [Diagnosis("gpu", OK, "none")])


def test_a_machine_that_runs_the_demo_is_well(
    tmp_path: Path, valle: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    code, out, _ = valle("doctor", "--root", tmp_path / "root", "--json")
    found = {row["what"]: row for row in json.loads(out)}
    assert [row for row in found.values() if row["state"] == MISSING] == []
    assert code == 0
    assert {"python", "fastapi", "sqlalchemy", "prefect", "ray", "duckdb", "embedded weights"} <= found.keys()
    assert {"gpu", "root", "disk", "warehouse", "corpus", "memory", "/dev/shm", "open files"} <= found.keys()
    assert {"espeak", "proxies", "codes.model", "transcripts.model"} <= found.keys()
    assert not (tmp_path / "root").exists(), "it changes nothing"


def test_what_is_missing_ends_with_1_and_says_what_to_do(
    tmp_path: Path, valle: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    site = tmp_path / "site.toml"
    site.write_text('root = "/proc/nothing"\nray_address = "127.0.0.1:9"\n')
    code, out, _ = valle("doctor", "--site", site, "--json")
    missing = {row["what"]: row["todo"] for row in json.loads(out) if row["state"] == MISSING}
    assert code == 1
    assert {"root", "ray"} <= missing.keys()
    assert all(missing.values())


def test_versions_outside_their_ranges_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["fastapi>=0.139,<0.151", "no-such-package>=1", "click>=8", "duckdb>=2; python_version < '3'"]
    monkeypatch.setattr(doctor, "_required", lambda: asked)
    monkeypatch.setattr(metadata, "version", _version)
    fastapi, lacking = doctor.versions()
    assert (fastapi.what, fastapi.state) == ("fastapi", MISSING)
    assert "0.151.0 is installed, and <0.151,>=0.139 works" in fastapi.says
    assert "pip install" in fastapi.todo
    assert (lacking.what, lacking.state) == ("no-such-package", MISSING)


def _version(name: str) -> str:
    if name == "no-such-package":
        raise metadata.PackageNotFoundError(name)
    return {"fastapi": "0.151.0", "click": "8.2"}[name]


def test_weights_are_held_to_their_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCH_HOME", raising=False)
    models = {"transcripts.model": "tiny", "codes.model": "encodec_24khz", "scores.judge": "nowhere.pt"}
    shipped, whisper, codec, judge = doctor.weights(models)
    assert shipped.state == OK
    assert (whisper.state, codec.state, judge.state) == (WARNING, WARNING, MISSING)
    for path in (tmp_path / "whisper" / "tiny.pt", tmp_path / "torch/hub/checkpoints/encodec_24khz-d7cc33bc.th"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half a file")
        assert str(path) in whisper.todo + codec.todo
    _, whisper, codec, _ = doctor.weights(models)
    assert (whisper.state, codec.state) == (MISSING, MISSING)
    assert "is damaged" in whisper.says + codec.says


def test_weights_that_ship_and_are_damaged_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_sha256", lambda _: "0" * 64)
    found = doctor.weights({})
    assert {one.state for one in found} == {MISSING}
    ships = (Path(model.__file__).parent / "embedded").rglob("*.safetensors")
    assert {one.says.removesuffix(" is not there, or damaged") for one in found} == {str(path) for path in ships}


def test_a_wrong_site_or_recipe_is_one_sentence(tmp_path: Path, valle: Callable[..., Said]) -> None:
    for words in (["--site", tmp_path / "none.toml"], ["--recipe", "dmo", "--root", tmp_path]):
        code, out, err = valle("doctor", *words)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
