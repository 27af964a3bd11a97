"""The pages of `docs/` tell the truth: their code runs, and says what they say it does."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import Said
from tests.small_warehouse import make_warehouse
from tests.speech import said_by

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


def questions() -> list[tuple[str, list[str]]]:
    """The queries of the page, with the columns of their answers."""
    found = re.findall(r'^\$ valle sql "(.*)"\n(.*)$', (DOCS / "sql.md").read_text(), re.MULTILINE)
    assert len(found) > 10
    return [(query, re.split(r"\s{3,}", columns.strip())) for query, columns in found]


def test_questions_in_sql_are_answered_in_the_columns_of_the_page(valle: Callable[..., Said], tmp_path: Path) -> None:
    make_warehouse(tmp_path / "root", tmp_path / "audio")
    for query, columns in questions():
        code, out, err = valle("sql", "--root", tmp_path / "root", query, "--format", "csv")
        assert code == 0, (query, err)
        assert out.splitlines()[0].split(",") == columns, query


def make_first_corpus(folder: Path) -> None:
    """The corpus that the page tells of."""
    for speaker, name in (("2120", "ada"), ("2379", "ben"), ("2223", "cleo")):
        (folder / name).mkdir(parents=True)
        for number, (_, speech) in enumerate(said_by(speaker, 24_000)[:5], start=1):
            soundfile.write(folder / name / f"{number:02}.flac", speech, 24_000)
    soundfile.write(folder / "ada" / "hush.wav", np.zeros(48_000), 24_000)
    (folder / "ben" / "broken.flac").write_bytes(b"fLaC" + bytes(100))


@pytest.mark.slow
def test_a_first_corpus_goes_as_the_page_says(
    valle: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None, ray_here: None
) -> None:
    monkeypatch.chdir(tmp_path)
    make_first_corpus(Path("my-speech"))
    said = re.findall(
        r"^\$ valle (.*)\n((?:.+\n)*)", (DOCS / "first-corpus.md").read_text().replace("```", ""), re.MULTILINE
    )
    assert [words.split()[0] for words, _ in said] == ["plan", "run", "sql", "sql", "sql", "plan"]
    for words, answer in said:
        code, out, err = valle(*shlex.split(words))
        assert code == 0, err
        if not words.startswith("run"):  # which tells fingerprints and seconds
            assert [line.split() for line in out.splitlines()] == [line.split() for line in answer.splitlines()]


def test_every_page_is_found_from_the_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert f"(docs/{page.name})" in readme, page.name
    for page in [*DOCS.glob("*.md"), DOCS.parent / "CONTRIBUTING.md"]:
        for path in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / path).exists(), f"{page.name}: {path}"
        for path in re.findall(r"`((?:flows|tasks|model|warehouse|tests|deploy|bench)/[\w/.]+)`", page.read_text()):
            assert (DOCS.parent / path).exists(), f"{page.name}: {path}"
