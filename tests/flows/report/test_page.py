"""The page of a warehouse: whole where there is little, rude texts, and audio that is not there."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import numpy as np
import pytest

from flows.commands.report import report
from flows.report.clips import Clips, spectrogram
from flows.report.figures import FIGURES
from flows.report.page import cell, rounded, short
from flows.report.questions import DROPPED_AUDIO
from tests.conftest import Said
from tests.flows.report import heard_warehouse
from tests.small_warehouse import make_warehouse
from warehouse.catalogue import Catalogue

Valle = Callable[..., Said]


class Elements(HTMLParser):
    """Every element of a page, with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def made(root: Path, valle: Valle) -> str:
    code, out, err = valle("report", "--root", root)
    assert code == 0, err
    return Path(out.strip()).read_text()


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse in which there is something to hear, and its page, which no test may change."""
    root = tmp_path_factory.mktemp("heard")
    heard_warehouse.make(root)
    report(root)
    return root


@pytest.fixture
def page(heard: Path) -> str:
    return (heard / "report.html").read_text()


def test_it_asks_nothing_of_a_network_and_allows_its_own_script_alone(page: str) -> None:
    elements = Elements(page)
    for _, attributes in elements.found:
        for name in ("src", "href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), value
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
    [policy] = [meta["content"] or "" for meta in elements.of("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "xlink" not in page


def test_every_figure_has_its_query_and_its_rows(page: str) -> None:
    told = re.findall(r'<script type="application/json" class="data">(.*?)</script>', page)
    data = [json.loads(text) for text in told]
    assert [(one["name"], one["sql"]) for one in data] == [(figure.name, figure.sql) for figure in FIGURES]
    filled = {one["name"] for one in data if one["rows"]}
    assert {"headline", "funnel", "reasons", "dropped-audio", "lengths", "codebooks", "losses-ar", "alarms"} <= filled
    assert {"word-errors", "similarity", "samples", "throughput", "reads", "lineage"} <= filled


def test_dropped_audio_is_heard_for_each_reason_and_what_cannot_be_is_said(page: str) -> None:
    heard = {audio["aria-label"] for audio in Elements(page).of("audio")}
    assert {"silence, number 1", "not_english, number 1", "not_whole, number 1"} <= heard
    assert "Not to be heard: two.wav" in page


def test_where_the_corpus_is_gone_the_page_says_so(tmp_path: Path, valle: Valle) -> None:
    heard_warehouse.make(tmp_path)
    (tmp_path / "audio").rename(tmp_path / "moved")
    assert "Not to be heard: one.wav" in made(tmp_path, valle)
    code, out, _ = valle("report", "--root", tmp_path, "--audio", tmp_path / "moved")
    assert code == 0
    assert "silence, number 1" in {audio["aria-label"] for audio in Elements(Path(out.strip()).read_text()).of("audio")}


def test_a_half_made_warehouse_says_what_is_not_there_yet(tmp_path: Path, valle: Valle) -> None:
    make_warehouse(tmp_path, tmp_path / "audio")
    page = made(tmp_path, valle)
    for words in ("There are no samples yet.", "No AR checkpoint yet.", "Nobody has listened yet", "No two systems"):
        assert words.lower() in page.lower(), words
    assert valle("report", "--root", tmp_path, "--verify")[0] == 0


def test_an_empty_warehouse_has_a_page_that_says_so(tmp_path: Path, valle: Valle) -> None:
    Catalogue(tmp_path).take_up()
    page = made(tmp_path, valle)
    assert "no recipe has run here" in page
    assert page.count('class="nothing"') > 15
    assert valle("report", "--root", tmp_path, "--verify")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--root", "{here}/nowhere"], "is not a warehouse, so there is nothing to report"),
        (["--root", "{here}", "--out", "{here}"], "is a folder: --out is the file that the page is written to"),
        (["--root", "{here}", "--out", "{here}/not/there.html"], "there is no folder"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, valle: Valle, words: list[str], said: str) -> None:
    Catalogue(tmp_path).take_up()
    code, out, err = valle("report", *(word.format(here=tmp_path) for word in words))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_catalogue_of_an_older_version_is_one_sentence(tmp_path: Path, valle: Valle) -> None:
    heard_warehouse.make(tmp_path)
    with duckdb.connect(tmp_path / "catalogue.duckdb") as db:
        db.execute("drop table ratings").fetchall()
    code, _, err = valle("report", "--root", tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert "is of an older version: `valle catalogue rebuild` makes it anew" in err


def test_a_shard_that_is_gone_is_one_sentence(tmp_path: Path, valle: Valle) -> None:
    heard_warehouse.make(tmp_path)
    next((tmp_path / "samples").glob("*/all.parquet")).unlink()
    code, _, err = valle("report", "--root", tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert "all.parquet" in err


def test_of_each_reason_the_longest_and_two_others_are_heard(tmp_path: Path) -> None:
    rows = ", ".join(f"('u{i}', 'r', 'silence', null, {i}, 0, {i})" for i in range(1, 9))
    names = "utterance_id, recording_id, dropped, detail, seconds, start_sample, end_sample"
    with duckdb.connect() as db:
        db.execute(f"create table utterances as from (values {rows}) as told({names})").fetchall()
        for table in ("transcripts", "phones", "codes", "examples"):
            db.execute(f"create table {table} as select * from utterances where false").fetchall()
        db.execute("create table recordings as select *, 'r.wav' as audio_path from utterances where false").fetchall()
        db.execute("create table samples (sample_id varchar, dropped varchar, detail varchar)").fetchall()
        db.execute("alter table samples add column seconds double").fetchall()
        db.execute("alter table samples add column audio_path varchar").fetchall()
        db.execute("create table scores as select sample_id, dropped, detail from samples").fetchall()
        heard = [row[3] for row in db.execute(DROPPED_AUDIO).fetchall()]
        again = [row[3] for row in db.execute(DROPPED_AUDIO).fetchall()]
    assert len(heard) == len(set(heard)) == 3
    assert heard[0] == "u8"
    assert again == heard


def test_there_is_room_for_so_many_clips_and_the_rest_is_said_to_be_left_out(heard: Path) -> None:
    path = heard / "audio" / "a" / "one.wav"
    clips = Clips(room=len(Clips().take(path).audio) + 1)
    assert clips.take(path).audio
    assert clips.take(path).trouble == "left out: the page has no more room for audio"


def test_a_long_stretch_is_played_from_its_beginning(heard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.report.clips.LONGEST", 1.0)
    clip = Clips().take(heard / "audio" / "a" / "one.wav", 8_000)
    assert (clip.seconds, clip.is_whole) == (1.0, False)
    assert Clips().take(heard / "audio" / "a" / "one.wav", 0, 8_000).is_whole


def test_a_high_tone_lies_above_a_low_one() -> None:
    time = np.arange(16_000) / 16_000
    low, high = (
        spectrogram(np.sin(2 * np.pi * pitch * time).astype(np.float32), 16_000).mean(axis=1).argmax()
        for pitch in (200, 4_000)
    )
    assert high < low
    assert spectrogram(np.zeros(10, np.float32), 16_000).max() == 0


def test_numbers_are_short_and_sort_by_what_they_are() -> None:
    assert [short(value) for value in (None, 3, 12_345, 0.123456, 1234.5678)] == ["–", "3", "12,345", "0.1235", "1,235"]
    assert [rounded(value) for value in (None, 0, 0.127, 16_345_678, 2.0)] == ["–", "0", "0.13", "16,345,678", "2"]
    assert (cell(True).text, cell(None).text) == ("yes", "–")
    assert (cell(1.5).value, cell("a").is_number, cell([1, None]).text) == (1.5, False, "[1, null]")
