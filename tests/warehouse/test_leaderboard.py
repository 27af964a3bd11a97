"""The leaderboard: pooled rates, honest intervals, and the papers' own rows beside them."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from warehouse.foreign_scores import LAYOUT
from warehouse.tables import SCORES

VIEW = Path(__file__).parents[2] / "warehouse" / "views" / "leaderboard.sql"
WHISPER, VOICE = "whisper/embedded@12345678", "resemblyzer/0.1.4@87654321"


@pytest.fixture
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def show(db: duckdb.DuckDBPyConnection, *scores: dict[str, object]) -> list[dict[str, object]]:
    """The leaderboard over these scores, its rows as dictionaries."""
    db.register("given", pa.Table.from_pylist([*scores], schema=SCORES.schema))
    db.execute("create view scores as from given")
    db.execute(LAYOUT)
    db.execute((VIEW.parent / "claims.sql").read_text())
    db.execute((VIEW.parent / "estimates.sql").read_text())
    db.execute(VIEW.read_text())
    rows: list[dict[str, object]] = db.sql("from leaderboard").to_arrow_table().to_pylist()
    return rows


def heard(sample_id: str, errors: int, words: int, judge: str = WHISPER, **more: object) -> dict[str, object]:
    system = sample_id.split("/")[0]
    value = errors / words if words else None
    rate = {"metric": "wer", "value": value, "errors": errors, "words": words, "judge": judge}
    return {"sample_id": sample_id, "system": system, **rate, **more}


def alike(sample_id: str, value: object, metric: str = "speaker_similarity") -> dict[str, object]:
    return {"sample_id": sample_id, "system": sample_id.split("/")[0], "metric": metric, "value": value, "judge": VOICE}


def test_without_any_score_only_the_papers_stand_there(db: duckdb.DuckDBPyConnection) -> None:
    rows = show(db)
    claimed = {
        (row["source"], row["system"], row["wer"], row["similarity"] or row["similarity_decoded"]) for row in rows
    }
    assert claimed >= {
        ("arXiv:2301.02111, table 2", "ground-truth", 0.022, 0.754),
        ("arXiv:2301.02111, table 2", "YourTTS", 0.077, 0.337),
        ("arXiv:2301.02111, table 2", "VALL-E", 0.059, 0.580),
        ("arXiv:2301.02111, table 2", "VALL-E-continual", 0.038, 0.508),
        ("arXiv:2406.05370, table 1", "VALL-E 2", 0.015, 0.643),
        ("README of VoxCPM, Seed-TTS", "F5-TTS", 0.02, 0.670),
    }


def test_a_claim_has_one_row_for_its_paper_table_set_protocol_task_and_judge(db: duckdb.DuckDBPyConnection) -> None:
    show(db)
    columns = "system, source, published_table, evaluation_set, protocol, task, wer_judge, similarity_judge"
    assert db.sql(
        f"select count(*) from (select {columns} from claims group by all having count(*) > 1)"
    ).fetchall() == [(0,)]
    [(lacking,)] = db.sql("select count(*) from claims where source is null or protocol is null or wer > 1").fetchall()
    assert lacking == 0
    papers = db.sql("select distinct source, wer from claims where system = 'VALL-E' and task = 'zero-shot'").fetchall()
    assert sorted(papers) == [("arXiv:2301.02111", 0.059), ("arXiv:2406.05370", 0.031), ("arXiv:2407.08551", 0.059)]


@pytest.mark.parametrize(("protocol", "stands"), [("vall-e", "VALL-E"), ("seed-tts", "MaskGCT")])
def test_ours_stand_beside_claims_of_the_same_protocol_only(
    db: duckdb.DuckDBPyConnection, protocol: str, stands: str
) -> None:
    rows = show(db, heard("valle/a/0", 1, 4, protocol=protocol, evaluation_set="1"))
    assert {row["protocol"] for row in rows} == {protocol}
    assert stands in {row["system"] for row in rows}


def test_a_long_utterance_counts_for_more_words(db: duckdb.DuckDBPyConnection) -> None:
    ours = show(db, heard("valle/a/0", 1, 1), heard("valle/b/0", 0, 9))[0]
    assert ours["source"] == "this warehouse"
    assert ours["wer"] == pytest.approx(0.1)  # not 0.5, the mean of the rates


def test_the_interval_is_that_of_the_bootstrap_over_speakers(db: duckdb.DuckDBPyConnection) -> None:
    from scipy.stats import bootstrap  # which takes a second to import

    draw = np.random.default_rng(1)
    words = draw.integers(20, 60, 24)
    errors = draw.binomial(words, draw.beta(2, 10, 24))
    counts = [(int(wrong), int(said)) for wrong, said in zip(errors, words, strict=True)]
    ours = show(db, *(heard(f"valle/{i}/0", *count, speaker_id=f"s{i}") for i, count in enumerate(counts)))[0]
    bounds = bootstrap(
        (errors, words),
        lambda wrong, said, axis: wrong.sum(axis) / said.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=9_999,
        rng=draw,
    ).confidence_interval
    assert ours["num_speakers"] == 24
    assert ours["wer"] == pytest.approx(errors.sum() / words.sum())
    width = bounds.high - bounds.low
    assert (ours["wer_low"], ours["wer_high"]) == pytest.approx((bounds.low, bounds.high), abs=0.1 * width)


def test_what_one_speaker_says_often_is_one_witness(db: duckdb.DuckDBPyConnection) -> None:
    said = [(speaker, place) for speaker in "abcdefgh" for place in range(20)]
    scores = [heard(f"valle/{speaker}{place}/0", ord(speaker) - 96, 20) for speaker, place in said]
    apart = show(db, *scores)[0]
    with duckdb.connect() as other:
        known = [score | {"speaker_id": speaker} for score, (speaker, _) in zip(scores, said, strict=True)]
        together = show(other, *known)[0]
    widths = [float(str(row["wer_high"])) - float(str(row["wer_low"])) for row in (apart, together)]
    assert widths[1] > 3 * widths[0]


def test_every_metric_has_an_interval_and_true_speech_each_judge(db: duckdb.DuckDBPyConnection) -> None:
    other = "hubert-ctc/large@00000000"
    speakers = [f"s{number}" for number in range(9)]
    words = [
        heard(f"ground-truth/{one}/0", number % 2, 10, judge, speaker_id=one)
        for number, one in enumerate(speakers)
        for judge in (WHISPER, other)
    ]
    natural = [
        alike(f"valle/{one}/0", number / 10, "dnsmos_ovrl") | {"speaker_id": one} for number, one in enumerate(speakers)
    ]
    show(db, *words, *natural)
    true = db.sql("select judge, estimate from estimates where system = 'ground-truth' and metric = 'wer'").fetchall()
    assert true == [(other, 4 / 90), (WHISPER, 4 / 90)]
    [(mean, low, high)] = db.sql("select estimate, low, high from estimates where metric = 'dnsmos_ovrl'").fetchall()
    assert mean == pytest.approx(0.4)
    assert low < mean < high


def test_one_speaker_alone_has_no_interval(db: duckdb.DuckDBPyConnection) -> None:
    ours = show(db, heard("valle/a/0", 1, 4, speaker_id="s"), heard("valle/b/0", 3, 4, speaker_id="s"))[0]
    assert (ours["wer"], ours["wer_low"], ours["wer_high"], ours["num_speakers"]) == (0.5, None, None, 1)


def test_the_interval_is_the_same_each_time(db: duckdb.DuckDBPyConnection) -> None:
    scores = [heard(f"valle/{i}/0", i % 4, 10, speaker_id=f"s{i}") for i in range(12)]
    first = show(db, *scores)[0]
    with duckdb.connect() as other:
        assert show(other, *scores[::-1])[0] == first


def test_sets_and_protocols_are_never_mixed(db: duckdb.DuckDBPyConnection) -> None:
    rows = show(
        db,
        heard("valle/a/0", 0, 4, protocol="vall-e", evaluation_set="1"),
        heard("valle/b/0", 4, 4, protocol="vall-e", evaluation_set="2"),
        heard("valle/c/0", 2, 4, protocol="seed-tts", evaluation_set="3"),
        alike("valle/c/0", 0.7) | {"protocol": "seed-tts", "evaluation_set": "3"},
    )
    ours = {row["evaluation_set"]: row for row in rows if row["source"] == "this warehouse"}
    assert {name: row["wer"] for name, row in ours.items()} == {"1": 0.0, "2": 1.0, "3": 0.5}
    assert (ours["3"]["similarity"], ours["1"]["similarity"]) == (0.7, None)


def test_failures_are_counted_by_class_and_judge(db: duckdb.DuckDBPyConnection) -> None:
    show(
        db,
        heard("valle/a/0", 0, 4, failures=[]),
        heard("valle/b/0", 4, 4, failures=["empty", "endless"]),
        heard("valle/c/0", 4, 0, failures=["endless"], dropped="no_words"),
        alike("valle/c/0", 0.7),
    )
    db.execute((VIEW.parent / "failure_classes.sql").read_text())
    rows = db.sql("select failure, samples, judged, share from failure_classes").fetchall()
    assert {row[0]: row[1:] for row in rows} == {
        "empty": (1, 3, 1 / 3),
        "endless": (2, 3, 2 / 3),
        "repeated": (0, 3, 0.0),
        "skipped": (0, 3, 0.0),
        "leaked": (0, 3, 0.0),
    }


def test_the_seeds_of_one_utterance_are_one_witness(db: duckdb.DuckDBPyConnection) -> None:
    once = [alike("valle/x#0-9/0", 0.5), alike("valle/y#0-9/0", 0.7)]
    thrice = [alike(f"{str(score['sample_id'])[:-1]}{seed}", score["value"]) for score in once for seed in range(3)]
    single = show(db, *once)[0]
    with duckdb.connect() as other:
        repeated = show(other, *thrice)[0]
    assert (repeated["num_samples"], repeated["num_utterances"]) == (6, 2)
    for column in ("similarity", "similarity_low", "similarity_high"):
        assert repeated[column] == pytest.approx(single[column])


def test_one_utterance_alone_has_no_interval(db: duckdb.DuckDBPyConnection) -> None:
    ours = show(db, heard("valle/a/0", 1, 4))[0]
    assert ours["wer"] == 0.25
    assert ours["wer_low"] is None
    assert ours["wer_high"] is None


def test_a_system_has_one_row_with_both_judges_and_both_prompts(db: duckdb.DuckDBPyConnection) -> None:
    rows = show(
        db,
        heard("valle/a/0", 1, 4),
        alike("valle/a/0", 0.6),
        alike("valle/a/0", 0.8, "speaker_similarity_decoded"),
        alike("ground-truth/a/0", 0.9),
    )
    ours = {str(row["system"]): row for row in rows if row["source"] == "this warehouse"}
    assert (ours["valle"]["similarity"], ours["valle"]["similarity_decoded"]) == (0.6, 0.8)
    assert (ours["valle"]["wer_judge"], ours["valle"]["similarity_judge"]) == (WHISPER, VOICE)
    assert (ours["ground-truth"]["wer"], ours["ground-truth"]["similarity"]) == (None, 0.9)


def test_two_judges_are_never_averaged(db: duckdb.DuckDBPyConnection) -> None:
    rows = show(db, heard("valle/a/0", 0, 4), heard("valle/a/0", 4, 4, "whisper/large-v3-turbo@00000000"))
    assert {row["wer"] for row in rows if row["source"] == "this warehouse"} == {0.0, 1.0}


def test_dropped_scores_count_for_nothing(db: duckdb.DuckDBPyConnection) -> None:
    silent = {**alike("valle/a/1", None), "dropped": "no_voice"}
    wordless = {**heard("valle/a/1", 3, 0), "dropped": "no_words"}
    ours = show(db, alike("valle/a/0", 0.6), silent, heard("valle/a/0", 1, 4), wordless)[0]
    assert (ours["similarity"], ours["wer"], ours["num_samples"]) == (0.6, 0.25, 1)


def test_where_every_score_was_dropped_there_is_no_row(db: duckdb.DuckDBPyConnection) -> None:
    rows = show(db, {**alike("valle/a/0", None), "dropped": "no_voice"})
    assert all(row["source"] != "this warehouse" for row in rows)
