"""The pages of `docs/` tell the truth: their code runs, and says what they say it does."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Said

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str, language: str = "") -> list[str]:
    """The blocks of code in a page, of one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return [block for of, block in found if of == language]


def test_a_new_stage_is_one_file(
    valle: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None, ray_here: None
) -> None:
    monkeypatch.chdir(tmp_path)
    [code] = blocks("new-stage.md", "python")
    Path("loudness.py").write_text(code)
    run, plan, ask = blocks("new-stage.md")[0].splitlines()
    words = ["--set", "recordings.max_hours=0.02"]  # the page's own run takes all of the sample corpus
    code_, _, err = valle(*run.split()[1:], *words)
    assert code_ == 0, err
    code_, out, _ = valle(*plan.split()[1:], *words)
    assert code_ == 0
    assert "loudness.floor_dbfs -60.0 -> -20.0" in out
    query = re.search('"(.*)"', ask)
    assert query
    code_, out, _ = valle("sql", "--root", "loud", query[1])
    assert code_ == 0
    assert re.search(r"\d+ +-\d\d\.\d", out)


def test_every_page_is_found_from_the_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert f"(docs/{page.name})" in readme, page.name
    for page in [*DOCS.glob("*.md"), DOCS.parent / "CONTRIBUTING.md"]:
        for path in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / path).exists(), f"{page.name}: {path}"
        for path in re.findall(r"`((?:flows|tasks|model|warehouse|tests|deploy|bench)/[\w/.]+)`", page.read_text()):
            assert (DOCS.parent / path).exists(), f"{page.name}: {path}"
