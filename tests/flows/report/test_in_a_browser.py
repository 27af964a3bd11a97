"""The page in a real browser: a silent console, no request, players that load, tables that sort, and the blind test."""

import json
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from flows.commands.report import report
from tests.browser import CHROMIUM, Tab, browser
from tests.conftest import Said
from tests.flows.report import heard_warehouse
from tests.toy import wait_for
from warehouse.catalogue import Catalogue
from warehouse.query import select

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here"),
]
Valle = Callable[..., Said]

AXE = find_spec("axe_core_python")
SERIOUS = """
    axe.run().then((found) => found.violations
        .filter((one) => ["serious", "critical"].includes(one.impact))
        .map((one) => one.id + ": " + one.nodes[0].html))
"""
SORTED = """
    (() => {
        const table = document.querySelector("#figure-codebooks table");
        const button = table.querySelectorAll("th button")[place];
        button.click();
        return [...table.tBodies[0].rows].map((row) => row.cells[place].textContent);
    })()
"""
FILTERED = """
    (() => {
        const figure = document.querySelector("#figure-codebooks");
        const input = figure.querySelector("input");
        input.value = "codebook_3";
        input.dispatchEvent(new Event("input"));
        const shown = [...figure.querySelectorAll("tbody tr")].filter((row) => !row.hidden);
        return [shown.length, figure.querySelector(".count").textContent];
    })()
"""
RATE = """
    document.querySelector("#play-first").click();
    document.querySelector("#play-second").click();
    document.querySelector('[data-preferred="first"]').click();
"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    folder = tmp_path_factory.mktemp("browser")
    with browser(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("heard") / "warehouse"
    heard_warehouse.make(root)
    return report(root)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_it_opens_with_a_silent_console_and_asks_for_nothing(tab: Tab, page: Path, width: int, dark: bool) -> None:
    tab.console.clear()
    tab.requests.clear()
    tab.open(page, width, dark)
    tab.until("[...document.querySelectorAll('audio')].every((audio) => audio.readyState >= 2)")
    assert tab.run("document.querySelectorAll('audio').length") > 4
    assert tab.console == []
    assert [url for url in tab.requests if not url.startswith("data:")] == [page.as_uri()]
    assert tab.run("document.documentElement.scrollWidth") <= width
    if AXE and AXE.submodule_search_locations:
        tab.run((Path(AXE.submodule_search_locations[0]) / "axe.min.js").read_text() + ";0")
        assert tab.run(SERIOUS) == []


def test_a_rude_text_is_a_text(tab: Tab, page: Path) -> None:
    tab.open(page)
    assert tab.run("document.querySelector('#samples h4').textContent") == f"“{heard_warehouse.TEXT}”"


def test_rows_are_sorted_and_filtered(tab: Tab, page: Path) -> None:
    tab.open(page)
    up, down = tab.run(SORTED.replace("place", "0")), tab.run(SORTED.replace("place", "0"))
    assert up == down[::-1] == [f"codebook_{q}" for q in range(1, 9)]
    assert tab.run(FILTERED) == [1, "1 of 8"]


def test_one_player_plays_at_a_time(tab: Tab, page: Path) -> None:
    tab.open(page)
    tab.run("document.querySelectorAll('#samples .controls button').forEach((button) => button.click())")
    tab.until("document.querySelectorAll('.playing').length === 1")
    playing = "[...document.querySelectorAll('#samples audio')].map((audio) => audio.paused)"
    assert tab.run(playing) == [True, False]


def test_nothing_is_answered_before_both_are_heard(tab: Tab, page: Path) -> None:
    tab.open(page)
    disabled = "[...document.querySelectorAll('[data-preferred]')].every((button) => button.disabled)"
    assert tab.run(disabled)
    tab.run("document.querySelector('#play-second').click()")
    assert tab.run(disabled)
    tab.run("document.querySelector('#play-first').click()")
    assert not tab.run(disabled)


def test_answers_are_saved_and_taken(tab: Tab, page: Path, tmp_path: Path, valle: Valle) -> None:
    root = shutil.copytree(page.parent, tmp_path / "warehouse")
    Catalogue(root).take_up()
    tab.open(root / page.name)
    tab.run("document.querySelector('#test-listener').value = 'Zoë'")
    tab.run(RATE)
    tab.run("document.querySelector('#test-save').click()")
    name = tab.run("document.querySelector('#test-said').textContent").split()[2].rstrip(":")
    file = tab.folder / name
    wait_for(file.is_file, "the download")
    told = json.loads(file.read_text())
    assert (told["listener"], len(told["answers"])) == ("Zoë", 1)
    code, _, err = valle("ratings", file, "--root", root)
    assert (code, err.startswith("1 answers of Zoë are kept in ")) == (0, True), err
    [row] = select(root, "select system_a, system_b, preferred, listener from ratings").to_pylist()
    assert {row["system_a"], row["system_b"]} == set(heard_warehouse.SYSTEMS)
    assert (row["preferred"], row["listener"]) == ("a", "Zoë")
    assert "figure preferences has 0 rows" in valle("report", "--root", root, "--verify")[2]
    valle("report", "--root", root)
    assert valle("report", "--root", root, "--verify")[0] == 0
