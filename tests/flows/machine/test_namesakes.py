"""Modules of somebody's that are called as ours are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.machine import namesakes
from flows.machine.namesakes import HOUSE, OURS, ours_first, python_path


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """A folder with a module of each of our names."""
    for name in OURS:
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('a strange {name}')")
    return tmp_path


def command(*words: str, pythonpath: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=pythonpath,
        env=os.environ | {"PYTHONPATH": str(pythonpath)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_is_ours_whoever_else_is_in_pythonpath(strangers: Path) -> None:
    said = command(str(HOUSE / "valle_command.py"), "sql", "select 1", "--root", "/proc/nothing", pythonpath=strangers)
    assert (said.returncode, said.stderr.splitlines()[0][:39]) == (2, "valle: /proc/nothing is not a warehouse")


def test_one_that_was_imported_before_is_named(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("")
    code = f"import sys; sys.path.append({str(HOUSE)!r}); import tasks; from flows.cli import main; main()"
    said = command("-c", code, pythonpath=tmp_path)
    assert said.returncode == 2
    assert f"tasks has been imported from {tmp_path}/tasks.py" in said.stderr


def test_pythonpath_is_left_alone_unless_a_namesake_is_in_it(
    strangers: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    harmless = str(tmp_path_factory.mktemp("harmless"))
    assert python_path("") == ""
    assert python_path(harmless) == harmless
    assert python_path(f"{harmless}:{strangers}") == f"{HOUSE}:{harmless}:{strangers}"
    assert python_path(f"{HOUSE}:{strangers}") == f"{HOUSE}:{strangers}"


def test_ours_are_found_first_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    ours_first()
    ours_first()
    assert sum(finder.__name__ == "OursFirst" for finder in sys.meta_path if hasattr(finder, "__name__")) == 1
    spec = namesakes.OursFirst.find_spec("tasks")
    assert spec is not None
    assert spec.origin == str(HOUSE / "tasks" / "__init__.py")
    assert namesakes.OursFirst.find_spec("json") is None
