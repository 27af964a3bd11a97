"""LibriLight: what a chapter's JSON says, and what is wrong with it."""

import json

import pytest

from tasks.corpora.listing import CorpusError
from tests.small_corpus import ABOUT, BOOK, RATE, chapter, librilight, rows


def test_a_chapter_of_librilight_carries_what_its_json_says(tmp_path):
    path = chapter(tmp_path)
    (row,) = rows(librilight(tmp_path)).values()
    assert row | {"sha256": None, "audio_digest": None} == {
        "recording_id": f"small/100/{BOOK}/01_baum",
        "corpus": "librilight",
        "subset": "small",
        "speaker_id": "100",
        "book_id": "812",
        "title": "The Sea Fairies",
        "genre": "Literature",
        "dramatic": False,
        "audio_path": str(path.relative_to(tmp_path)),
        "sample_rate": RATE,
        "num_channels": 1,
        "num_samples": 32_000,
        "seconds": 2.0,
        "peak_db": pytest.approx(-6.02, abs=0.01),
        "loudness_db": pytest.approx(-9.03, abs=0.01),
        "num_clipped": 0,
        "channel_correlation": None,
        "snr_db": pytest.approx(5.391),
        "speech": [{"start_sample": 1_280, "end_sample": 12_800}, {"start_sample": 15_360, "end_sample": 25_600}],
        "text": None,
        "language": None,
        "sha256": None,
        "audio_digest": None,
        "dropped": None,
        "detail": None,
    }


def test_a_ratio_that_is_not_a_number_is_unknown(tmp_path):
    chapter(tmp_path, snr=float("nan"))
    (row,) = rows(librilight(tmp_path)).values()
    assert row["snr_db"] is None
    assert row["dropped"] is None


@pytest.mark.parametrize(
    ("content", "detail"),
    [(None, "no JSON beside it"), (b"", "empty"), (b'{"speaker": "1', "no JSON"), (b"[1]", "no JSON object")],
)
def test_a_chapter_without_good_json_is_kept_and_says_so(tmp_path, content, detail):
    about = chapter(tmp_path).with_suffix(".json")
    about.unlink() if content is None else about.write_bytes(content)
    (row,) = rows(librilight(tmp_path)).values()
    assert (row["speaker_id"], row["speech"], row["dropped"]) == ("100", None, None)
    assert detail in row["detail"]


def test_a_json_of_another_speaker_is_believed_and_said(tmp_path):
    chapter(tmp_path).with_suffix(".json").write_text(json.dumps(ABOUT | {"speaker": "101"}))
    (row,) = rows(librilight(tmp_path)).values()
    assert (row["speaker_id"], row["dropped"]) == ("101", None)
    assert row["detail"] == "its folder is that of speaker 100, and its JSON says 101"


def test_a_book_read_by_several_voices_is_known(tmp_path):
    for name, dramatic in (("1", True), ("2", "yes"), ("3", None)):
        chapter(tmp_path, name=name, book_meta={"Dramatic Readings": dramatic})
    assert [row["dramatic"] for row in rows(librilight(tmp_path)).values()] == [True, None, None]


@pytest.mark.parametrize("activity", ["all", [[0, 1, 2]], [["a", 1]], [0.5], None])
def test_voice_activity_that_makes_no_sense_is_unknown(tmp_path, activity):
    chapter(tmp_path, voice_activity=activity)
    (row,) = rows(librilight(tmp_path)).values()
    assert (row["speech"], row["dropped"]) == (None, None)


def test_a_number_beyond_all_bounds_costs_at_most_itself(tmp_path):
    for name, end in (("1", 10**400), ("2", 1e308), ("3", -1e308)):
        chapter(tmp_path, name=name, snr=10**400, voice_activity=[[0.5, end]])
    found = list(rows(librilight(tmp_path)).values())
    assert [(row["dropped"], row["snr_db"]) for row in found] == [(None, None)] * 3
    assert [row["speech"] for row in found] == [None, [{"start_sample": 8_000, "end_sample": 32_000}], []]


def test_voice_activity_ends_where_the_recording_ends(tmp_path):
    chapter(tmp_path, voice_activity=[[1.0, 9.0], [0.5, 1.2], [5.0, 6.0]])
    (row,) = rows(librilight(tmp_path)).values()
    assert row["speech"] == [{"start_sample": 8_000, "end_sample": 32_000}]
    assert "the file ends at 2.00 s" in row["detail"]


def test_json_without_audio_is_a_row(tmp_path):
    chapter(tmp_path).unlink()
    (row,) = rows(librilight(tmp_path)).values()
    assert (row["recording_id"], row["dropped"]) == (f"small/100/{BOOK}/01_baum", "no_audio")


def test_subsets_are_nested(tmp_path):
    for subset in ("small", "medium", "large"):
        chapter(tmp_path, subset=subset)
    assert list(librilight(tmp_path, subset="small").shards()) == ["small-100"]
    assert set(librilight(tmp_path, subset="medium").shards()) == {"small-100", "medium-100"}
    assert len(librilight(tmp_path, subset="large").shards()) == 3


def test_a_missing_subset_is_named(tmp_path):
    chapter(tmp_path, subset="medium")
    with pytest.raises(CorpusError, match="no folder small, and medium means small \\+ medium"):
        librilight(tmp_path, subset="medium").shards()
