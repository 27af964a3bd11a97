"""What is asked for can be had: every requirement by a plain `pip install`, no more than is used, all of it pinned."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HOUSE = Path(__file__).parents[1]
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
BRINGS = {  # modules that are called otherwise than the package that brings them, where it is not installed
    "faster-whisper": {"ctranslate2"},
    "praat-parselmouth": {"parselmouth"},
}
OURS = ("flows", "tasks", "model", "warehouse")
EXTRAS = ("dev", "embedded", "judges", "lineage", "moonshine", "objects", "tensorboard")  # what `make` installs
UNWELCOME = {
    "resemblyzer": "it asks for webrtcvad",
    "webrtcvad": "it needs a compiler, and a module that setuptools no longer has: webrtcvad-wheels needs neither",
    "typing": "Python has it",
}


def lock() -> dict[str, str]:
    """Every package of the lock, and its version."""
    lines = (HOUSE / "requirements.lock").read_text().split()
    return {canonicalize_name(name): pinned for name, _, pinned in (line.partition("==") for line in lines)}


def asked(extras: tuple[str, ...]) -> list[Requirement]:
    """What the project itself asks for."""
    optional = PROJECT["optional-dependencies"]
    return [Requirement(line) for line in [*PROJECT["dependencies"], *(line for e in extras for line in optional[e])]]


def closure(extras: tuple[str, ...]) -> set[str]:
    """All that is needed here: what the project asks for, what that asks for, and so on."""
    waiting, seen = asked(extras), set()
    while waiting:
        one = waiting.pop()
        if (one.name, *one.extras) in seen:
            continue
        seen.add((one.name, *one.extras))
        for further in map(Requirement, requires(one.name) or []):
            if not further.marker or any(further.marker.evaluate({"extra": e}) for e in {"", *one.extras}):
                waiting.append(further)
    return {canonicalize_name(name) for name, *_ in seen}


def test_tests_that_share_something_are_grouped(request: pytest.FixtureRequest) -> None:
    """pytest 9.2 and pytest-xdist 3.8 lose the groups, and tell nobody (pytest-xdist, issue 1386)."""
    if hasattr(request.config, "workerinput"):
        assert request.node.nodeid.endswith(f"@{request.node.path}")


def test_nothing_is_needed_that_cannot_be_installed_or_imported() -> None:
    for name, why in UNWELCOME.items():
        assert name not in closure(EXTRAS), f"{name}: {why}"
        assert name not in lock(), f"{name}: {why}"


def test_the_lock_pins_what_is_needed_and_nothing_else() -> None:
    assert closure(EXTRAS) == lock().keys()


def test_the_lock_is_what_the_project_allows() -> None:
    for one in asked(EXTRAS):
        assert one.specifier.contains(lock()[canonicalize_name(one.name)]), one


def test_the_locks_triton_is_the_one_that_torch_asks_for_where_it_has_cuda() -> None:
    """A torch for CPUs alone asks for none, openai-whisper for any: a wrong one shows only where torch has CUDA."""
    assert (lock()["torch"], lock()["triton"]) == ("2.13.0", "3.7.1"), (
        "look at torch's metadata for the triton it wants"
    )
    if "+cpu" not in version("torch"):
        [wanted] = [one for one in map(Requirement, requires("torch") or []) if one.name == "triton"]
        assert wanted.specifier.contains(lock()["triton"])


@pytest.mark.parametrize("folder", OURS)
def test_what_is_imported_is_asked_for(folder: str) -> None:
    told = packages_distributions()
    declared = {canonicalize_name(one.name) for one in asked(tuple(PROJECT["optional-dependencies"]))}
    declared |= {home for name in declared for home in BRINGS.get(name, ())}
    for path in (HOUSE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in {name.split(".")[0] for name in names} - {*sys.stdlib_module_names, *OURS}:
                homes = {canonicalize_name(home) for home in told.get(name, [name])}
                assert homes & declared, f"{path.relative_to(HOUSE)} imports {name}, which pyproject.toml does not name"


def test_every_install_line_is_a_plain_one_under_the_lock() -> None:
    told = [HOUSE / name for name in ("Makefile", "README.md", "CONTRIBUTING.md", ".ci/run")]
    told += [
        *(HOUSE / "docs").glob("*.md"),
        *(HOUSE / "deploy").rglob("*.md"),
        *(HOUSE / "deploy").rglob("Dockerfile*"),
    ]
    lines = [line for path in told for line in path.read_text().splitlines() if re.search(r"pip install", line)]
    assert lines
    for line in lines:
        assert "--no-deps" not in line, line
    for path in (HOUSE / "Makefile", HOUSE / "README.md", HOUSE / ".ci/run"):
        assert re.search(r"pip install.* --constraint requirements\.lock .*'\.\[.*embedded.*\]'", path.read_text()), (
            path
        )
