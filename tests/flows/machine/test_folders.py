"""Folders that are not there, not to be written, too long, or somebody else's."""

import os
import sqlite3
from pathlib import Path

import pytest

from flows.machine import folders
from flows.machine.folders import LONGEST, folder_for_ray, settle_home, settle_prefect
from warehouse.errors import Mistake

NOWHERE = "/proc/nowhere"  # where not even root can write


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test changes of the environment is undone."""
    for name in [name for name in os.environ if name.startswith(("PREFECT", "RAY_TMPDIR", "TMPDIR"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(folders.os, "environ", dict(os.environ))


def environment() -> dict[str, str]:
    return folders.os.environ


def database(folder: Path, version: str) -> None:
    folder.mkdir(parents=True)
    with sqlite3.connect(folder / "prefect.db") as connection:
        connection.execute("create table alembic_version (version_num text)")
        connection.execute("insert into alembic_version values (?)", [version])


@pytest.mark.parametrize("home", [NOWHERE, "/proc", None])
def test_who_has_no_home_gets_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str | None) -> None:
    monkeypatch.setattr(folders, "_home", lambda: Path(home or os.devnull))
    settle_home(tmp_path / "own")
    assert environment()["HOME"] == str(tmp_path / "own")
    assert (tmp_path / "own").is_dir()


def test_a_home_thatcan_be_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_home", lambda: tmp_path / "home to come")
    before = environment().get("HOME")
    settle_home(tmp_path / "own")
    assert environment().get("HOME") == before
    assert list(tmp_path.iterdir()) == []


def test_a_user_without_a_name_gets_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        environment().pop(name, None)
    monkeypatch.setattr(folders.os, "getuid", lambda: 424242)
    settle_home(tmp_path / "own")
    assert environment()["USER"] == "user424242"


def test_ray_goes_where_it_would_unless_the_path_is_too_long_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder_for_ray() in ("/tmp/ray", f"/tmp/ray-{os.getuid()}")
    environment()["TMPDIR"] = "/tmp"
    assert folder_for_ray() in ("/tmp/ray", f"/tmp/ray-{os.getuid()}")
    for said in (f"/tmp/{'x' * 85}", NOWHERE, "here"):
        environment()["TMPDIR"] = said
        assert folder_for_ray() == f"/tmp/ray-{os.getuid()}"
    assert len(folder_for_ray()) <= LONGEST


def test_a_folder_of_somebody_elses_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as other:
        other.setattr(folders, "can_be_written", lambda folder: folder.name == "ray-77")
        other.setattr(folders.os, "getuid", lambda: 77)
        assert folder_for_ray() == "/tmp/ray-77"
    monkeypatch.setattr(folders, "can_be_written", lambda _: False)
    with pytest.raises(Mistake, match="set RAY_TMPDIR"):
        folder_for_ray()


def test_a_database_of_another_prefect_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_home", lambda: tmp_path)
    database(tmp_path / ".prefect", "ffffffffffff")
    settle_prefect(tmp_path / "own")
    assert environment()["PREFECT_SERVER_DATABASE_CONNECTION_URL"].endswith(f"{tmp_path}/own/prefect.db")
    assert "PREFECT_HOME" not in environment()


@pytest.mark.parametrize("profile", ["", 'PREFECT_SERVER_DATABASE_CONNECTION_URL = "postgresql+asyncpg://…"'])
def test_a_database_that_prefect_knows_or_somebody_names_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    monkeypatch.setattr(folders, "_home", lambda: tmp_path)
    database(tmp_path / ".prefect", "ffffffffffff" if profile else "9725c1cbee35")  # the first migration of all
    (tmp_path / ".prefect" / "profiles.toml").write_text(profile)
    settle_prefect(tmp_path / "own")
    assert not [name for name in environment() if "DATABASE" in name or name == "PREFECT_HOME"]


def test_a_home_of_prefects_that_cannot_be_written_is_replaced(tmp_path: Path) -> None:
    environment()["PREFECT_HOME"] = NOWHERE
    settle_prefect(tmp_path / "own")
    assert environment()["PREFECT_HOME"] == str(tmp_path / "own")
