"""The house keeps its shape: imports point down, from room to room as well, in no circle; what is heavy waits."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
MAY_IMPORT = {
    "warehouse": set(),
    "model": set(),
    "tasks": {"warehouse", "model"},
    "flows": {"tasks", "warehouse", "model"},
}
ROOMS = {  # each room, and the rooms of its own folder that it may import; a folder's name alone is what lies on top
    "model.cpu": set(),
    "model.gpu": set(),
    "model.codec": {"model.gpu"},
    "model.asr": {"model.cpu", "model.gpu"},
    "model.speaker": {"model.gpu"},
    "model.published": {"model.gpu"},
    "model.valle": {"model.cpu", "model.gpu"},
    "model.training": {"model.valle", "model.cpu", "model.gpu"},
    "tasks.text": set(),
    "tasks.audio": set(),
    "tasks.corpora": {"tasks.audio", "tasks.text"},
    "tasks.evaluation": {"tasks.audio"},
    "tasks.voices": {"tasks.audio", "tasks.text", "tasks.corpora", "tasks.evaluation"},
    "tasks.provenance": {"tasks.audio"},
    "tasks.protocols": {"tasks.audio", "tasks.text", "tasks.voices", "tasks.provenance"},
    "tasks.training": set(),
    "tasks": {
        "tasks.training",
        "tasks.audio",
        "tasks.text",
        "tasks.corpora",
        "tasks.evaluation",
        "tasks.protocols",
        "tasks.provenance",
        "tasks.voices",
    },
    "flows.terminal": set(),
    "flows.machine": set(),
    "flows.engine": {"flows.terminal", "flows.machine"},
    "flows.downloads": {"flows.terminal"},
    "flows.report": {"flows.terminal"},
    "flows": {"flows.engine", "flows.downloads", "flows.commands", "flows.terminal", "flows.machine"},
    "flows.commands": {"flows", "flows.engine", "flows.downloads", "flows.report", "flows.terminal", "flows.machine"},
    "warehouse": set(),
    "model": set(),
}
NOUNS = ("recordings", "utterances", "transcripts", "phones", "codes", "examples", "checkpoints", "samples", "scores")
BY_FIRST_ADDRESS = ("espeak",)  # modules that scripts beside the project know by where they lay before
ONLY_IN = {
    "prefect": {"flows"},
    "ray": {"flows"},
    "duckdb": {"warehouse"},
    "obstore": {"warehouse"},
    "pyarrow": {"warehouse", "tasks", "flows"},
}
HEAVY = {"torch", "whisper", "encodec", "phonemizer", "lhotse", "prefect", "ray"}


def imports(path: Path) -> Iterator[str]:
    """The top-level package of everything that a file imports, wherever in it."""
    yield from (name.split(".")[0] for name in imported(path))


def imported(path: Path, at_once: bool = False) -> Iterator[str]:
    """Every name that a file imports, wherever in it; `at_once`: only what is imported when the file is."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    paths = {path for package in MAY_IMPORT for path in (HOUSE / package).rglob("*.py")}
    named = {".".join(path.relative_to(HOUSE).with_suffix("").parts): path for path in paths}
    return {name.removesuffix(".__init__"): path for name, path in named.items()}


def module_of(name: str, known: dict[str, Path]) -> str:
    """The module that an imported name is, or lies in."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def room_of(module: str, known: dict[str, Path]) -> str:
    """The room that a module lies in."""
    return module if known[module].name == "__init__.py" else module.rpartition(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down(package: str) -> None:
    others = MAY_IMPORT.keys() - {package} - MAY_IMPORT[package]
    for path in (HOUSE / package).rglob("*.py"):
        assert not set(imports(path)) & others, (
            f"{path.relative_to(HOUSE)} imports upwards: move what it needs down, or hand it in as an argument"
        )


def test_rooms_import_only_the_rooms_below_them() -> None:
    known = modules()
    for module, path in known.items():
        room = room_of(module, known)
        assert room in ROOMS, f"{room} is a new room: say in ROOMS of {__file__} which rooms it may import"
        for name in imported(path):
            other = module_of(name, known)
            if not other or other.split(".")[0] != module.split(".")[0]:
                continue
            theirs = room_of(other, known)
            assert theirs == room or theirs in ROOMS[room], (
                f"{path.relative_to(HOUSE)} imports {other}, and {room} may not import {theirs}: move what both need "
                f"to a room below them, or, where the direction is right, say so in ROOMS of tests/test_architecture.py"
            )


def test_rooms_form_no_circle() -> None:
    order = {room: below for room, below in ROOMS.items() if room != "flows"}  # its flows are called by commands,
    order["flows.commands"] = order["flows.commands"] - {"flows"}  # and its command line calls commands
    list(TopologicalSorter(order).static_order())


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    graph = {
        module: {module_of(name, known) for name in imported(path, at_once=True)} - {module, ""}
        for module, path in known.items()
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"{' imports '.join(reversed(error.args[1]))}: move what they share to a module of its own")


def test_on_top_of_tasks_lie_the_nine_nouns_and_nothing_else() -> None:
    on_top = {path.stem for path in (HOUSE / "tasks").glob("*.py")} - {"__init__", *BY_FIRST_ADDRESS}
    assert on_top == set(NOUNS), "a noun is a table; anything else belongs to a room under tasks/"


def test_no_two_files_share_a_name() -> None:
    seen: dict[str, Path] = {}
    for path in modules().values():
        if path.parent.name == "tasks" and path.stem in BY_FIRST_ADDRESS:
            continue
        if path.parent.name != "commands" and path.name not in {"__init__.py", "weights.py"}:  # of codec and recogniser
            assert path.name not in seen, f"{path} and {seen[path.name]}: call one of them otherwise"
            seen[path.name] = path


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_has_one_home(library: str) -> None:
    for package in MAY_IMPORT.keys() - ONLY_IN[library]:
        for path in (HOUSE / package).rglob("*.py"):
            assert library not in set(imports(path)), (
                f"{path.relative_to(HOUSE)} imports {library}, whose home is {' and '.join(sorted(ONLY_IN[library]))}/"
            )


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
    heavy = sorted(HEAVY & set(loaded))
    assert not heavy, f"import {module} loads {', '.join(heavy)}: import it inside the function that needs it"


def test_help_loads_neither_arrow_nor_duckdb() -> None:
    code = "import sys\nfrom flows.cli import valle\nvalle(['--help'], standalone_mode=False)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert not {"pyarrow", "duckdb", "pydantic", "rich"} & set(loaded.stdout.split())


def test_no_file_is_longer_than_one_can_read() -> None:
    for package in MAY_IMPORT:
        for path in (HOUSE / package).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 400, f"{path.relative_to(HOUSE)}: give a part of it its own"
