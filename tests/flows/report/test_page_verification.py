"""A page is held against the catalogue and against itself; what differs is named."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from flows.commands.report import report, report_where_it_differs
from flows.report.figures import FIGURES
from flows.report.page_verification import difference, same, verify
from tests.conftest import Said
from tests.flows.report import heard_warehouse
from warehouse.catalogue import Catalogue

Valle = Callable[..., Said]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("original") / "warehouse"
    heard_warehouse.make(root)
    report(root)
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    """A copy of it, with its page."""
    copy = shutil.copytree(original, tmp_path / "warehouse")
    Catalogue(copy).take_up()
    return copy


@pytest.fixture
def page(original: Path, tmp_path: Path) -> Path:
    """A copy of its page alone."""
    return Path(shutil.copy(original / "report.html", tmp_path))


def change(page: Path, before: str, after: str) -> None:
    text = page.read_text()
    assert before in text, before
    page.write_text(text.replace(before, after, 1))


def test_a_page_that_was_just_made_is_true(root: Path, valle: Valle) -> None:
    assert valle("report", "--root", root)[:2] == (0, f"{root / 'report.html'}\n")
    code, out, _ = valle("report", "--root", root, "--verify")
    assert (code, out) == (0, f"true: {len(FIGURES)} figures say what the catalogue says\n")


def test_a_row_that_is_changed_in_the_catalogue_is_named(root: Path, valle: Valle) -> None:
    with duckdb.connect(root / "catalogue.duckdb") as db:
        db.execute("update runs set audio_seconds = audio_seconds * 2 where table_name = 'phones'").fetchall()
    code, _, err = valle("report", "--root", root, "--verify")
    assert code == 1
    assert err.startswith("valle: false: figure throughput says ")
    assert "audio_hours" in err


def test_a_view_that_cannot_be_asked_costs_the_figures_that_ask_it(root: Path) -> None:
    for path in (root / "scores").rglob("*.parquet"):
        path.unlink()
    num_figures, findings = verify((root / "report.html").read_text(), root)
    assert num_figures == len(FIGURES)
    asked = {figure.name for figure in FIGURES if "leaderboard" in figure.sql}
    assert asked <= {finding.figure for finding in findings} < {figure.name for figure in FIGURES}
    assert all("cannot be asked again" in finding.words for finding in findings)


@pytest.mark.slow
def test_the_demo_keeps_a_page_that_is_true_and_writes_any_other_anew(root: Path) -> None:
    page = report_where_it_differs(root)
    written = page.stat().st_mtime_ns
    assert report_where_it_differs(root).stat().st_mtime_ns == written
    change(page, "<td>loss_spike</td>", "<td>all is well</td>")
    report_where_it_differs(root)
    assert "all is well" not in page.read_text()
    with duckdb.connect(root / "catalogue.duckdb") as db:
        db.execute("update runs set audio_seconds = 7200 where table_name = 'phones'").fetchall()
    written = page.stat().st_mtime_ns
    assert report_where_it_differs(root).stat().st_mtime_ns > written
    page.write_bytes(b"\xff no page of ours")
    assert verify(report_where_it_differs(root).read_text(), root) == (len(FIGURES), [])


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ('"rows_kept": 1,', '"rows_kept": 9,', "figure funnel was changed by hand in the page; figure funnel says 9"),
        ("<td>loss_spike</td>", "<td>all is well</td>", "figure alarms was changed by hand in the page"),
        ("from codebook_usage", "from codebook_usages", "figure codebooks was changed by hand in the page"),
        ("<!--figure phones ", "<!--figures ", "figure phones is not in the page any more"),
        ("<h1>warehouse</h1>", "<h1>another</h1>", "the page was changed by hand, outside of its figures"),
    ],
)
def test_what_is_changed_in_the_page_is_named(
    original: Path, page: Path, valle: Valle, before: str, after: str, named: str
) -> None:
    change(page, before, after)
    code, _, err = valle("report", "--root", original, "--out", page, "--verify")
    assert code == 1
    assert named in err


def test_audio_that_is_changed_in_the_page_is_named(original: Path, page: Path, valle: Valle) -> None:
    page.write_text(re.sub(r"(audio/flac;base64,.{200})....", r"\1AAAA", page.read_text(), count=1))
    _, _, err = valle("report", "--root", original, "--out", page, "--verify")
    assert "figure dropped-audio was changed by hand" in err


def test_what_is_no_page_is_said_in_one_sentence(root: Path, tmp_path: Path, valle: Valle) -> None:
    (root / "report.html").unlink()
    other = tmp_path / "other.html"
    code, _, err = valle("report", "--root", root, "--verify")
    assert (code, err.startswith("valle: there is no page ")) == (2, True)
    for content in (b"", b"<p>hello</p>", b"\xff\xfe\x00"):
        other.write_bytes(content)
        code, _, err = valle("report", "--root", root, "--out", other, "--verify")
        assert code == 2
        assert "no page that `valle report` has made" in err


def test_sums_in_another_order_are_the_same_and_nothing_else_is() -> None:
    assert same(0.1 + 0.2, 0.3)
    assert same([1.0, None, "a"], [1, None, "a"])
    assert not same(0.3, 0.3001)
    assert not same(0.0, None)
    assert not same([1], [1, 2])
    assert difference([{"n": 1}], [{"n": 1}]) is None
    assert difference([{"n": 1}], []) == "has 1 rows, and the catalogue now 0"
    assert difference([{"n": 1}], [{"n": 2}]) == "says 1 in row 1, n, and the catalogue now 2"
