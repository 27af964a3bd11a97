"""The house keeps its shape: imports point down, and what is heavy waits."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
MAY_IMPORT = {
    "warehouse": set(),
    "model": set(),
    "tasks": {"warehouse", "model"},
    "flows": {"tasks", "warehouse", "model"},
}
ONLY_IN = {"prefect": {"flows"}, "ray": {"flows"}, "duckdb": {"warehouse"}, "pyarrow": {"warehouse", "tasks", "flows"}}
HEAVY = {"torch", "whisper", "encodec", "phonemizer", "lhotse", "prefect", "ray"}


def imports(path: Path) -> Iterator[str]:
    """The top-level package of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down(package: str) -> None:
    others = MAY_IMPORT.keys() - {package} - MAY_IMPORT[package]
    for path in (HOUSE / package).rglob("*.py"):
        assert not set(imports(path)) & others, f"{path.relative_to(HOUSE)} imports upwards"


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_has_one_home(library: str) -> None:
    for package in MAY_IMPORT.keys() - ONLY_IN[library]:
        for path in (HOUSE / package).rglob("*.py"):
            assert library not in set(imports(path)), f"{path.relative_to(HOUSE)} imports {library}"


@pytest.mark.parametrize(
    "module", ["flows.cli", "flows.recipes", "flows.commands.run", "warehouse.query", "tasks.codes"]
)
def test_what_is_heavy_waits_inside_the_calls(module: str) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not HEAVY & set(loaded)


def test_help_loads_neither_arrow_nor_duckdb() -> None:
    code = "import sys\nfrom flows.cli import valle\nvalle(['--help'], standalone_mode=False)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert not {"pyarrow", "duckdb", "pydantic", "rich"} & set(loaded.stdout.split())


def test_no_file_is_longer_than_one_can_read() -> None:
    for package in MAY_IMPORT:
        for path in (HOUSE / package).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 400, path.relative_to(HOUSE)
