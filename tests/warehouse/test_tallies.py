"""Tallies: what is counted when a shard is written is what its rows would have said."""

import json
import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from bench.made_up import attempt
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.ledger import Record
from warehouse.plan import Wanted
from warehouse.query import select
from warehouse.store import write_shard
from warehouse.tables import CODES, EXAMPLES, RECORDINGS, UTTERANCES, Table
from warehouse.tallies import tally_rows

TAKES: dict[str, tuple[str, ...]] = {
    "recordings": (),
    "utterances": ("recordings",),
    "examples": ("utterances",),
    "codes": (),
}
PRINT = "f" * 12
SHARDS = ("a", "b", "c")

OVERVIEW_OF_ROWS = """
    select
        u.split,
        count(distinct u.speaker_id) as speakers,
        count(distinct u.recording_id) as recordings,
        count(*) as utterances,
        sum(u.seconds) / 3600 as hours,
        avg(u.seconds) as mean_seconds,
        quantile_disc(u.seconds, 0.05) as p5_seconds,
        quantile_disc(u.seconds, 0.95) as p95_seconds,
        count(e.utterance_id) filter (e.dropped is null) as examples,
        sum(u.seconds) filter (e.dropped is null and e.utterance_id is not null) / 3600 as example_hours
    from utterances as u
    left join examples as e using (utterance_id)
    where u.dropped is null
    group by u.split
    order by u.split
"""
SPEAKERS_OF_ROWS = """
    select
        u.speaker_id,
        any_value(u.split) as split,
        sum(u.seconds) / 3600 as hours,
        count(*) as utterances,
        count(distinct r.book_id) as books
    from utterances as u
    join recordings as r using (recording_id)
    where u.dropped is null
    group by u.speaker_id
    order by hours desc, u.speaker_id
"""
QUANTILES = ("p5_seconds", "p95_seconds")


def make(root: Path) -> Catalogue:
    """Three shards of speakers whom they share, with books, silences and refusals at random."""
    draw = random.Random(5)
    made: dict[tuple[str, str], str] = {}
    for shard in SHARDS:
        recordings: list[dict[str, Any]] = []
        utterances: list[dict[str, Any]] = []
        for number in range(4):
            speaker = draw.choice(["anna", "ben", "cleo", None])
            name = {"recording_id": f"{shard}/{number}", "speaker_id": speaker}
            recordings.append({**name, "book_id": draw.choice(["emma", "dracula", None]), "seconds": 200.0})
            for i in range(8):
                said = {"seconds": draw.uniform(0, 20), "dropped": draw.choice([None, None, None, "silence"])}
                split = "dev" if speaker == "ben" else "train"
                utterances.append({**name, **said, "utterance_id": f"{shard}/{number}#{i}", "split": split})
        kept = [row for row in utterances if row["dropped"] is None]
        examples = [
            {"utterance_id": row["utterance_id"], "split": row["split"], "dropped": draw.choice([None, "not_whole"])}
            for row in kept
        ]
        of_examples = pa.chunked_array([pa.array([row["seconds"] for row in kept], pa.float64())])
        for table, rows in ((RECORDINGS, recordings), (UTTERANCES, utterances), (EXAMPLES, examples)):
            arrow = pa.Table.from_pylist(rows, schema=table.schema)
            seconds = arrow["seconds"] if "seconds" in table.schema.names else of_examples
            inputs = json.dumps({made[name, shard]: "digest" for name in TAKES[table.name]} or {"files": {}})
            artifact = write_shard(root, table, shard, PRINT, arrow, stage="{}", inputs=inputs, seconds=seconds)
            made[table.name, shard] = artifact.path
            ledger.emit(root, Record(attempt(artifact), artifact))
    catalogue = Catalogue(root)
    catalogue.remember("random", [_wanted(table) for table in (RECORDINGS, UTTERANCES, EXAMPLES)], {})
    return catalogue


def _wanted(table: Table) -> Wanted:
    return Wanted(
        table=table.name,
        takes=TAKES[table.name],
        gathers=(),
        lasting=True,  # digests are not what is at stake here
        one_to_one=False,
        fingerprints={"*": PRINT},
        stages={"*": "{}"},
        sources={} if TAKES[table.name] else dict.fromkeys(SHARDS, ""),
    )


def _tallies(root: Path) -> list[dict[str, Any]]:
    return select(root, "from tallies order by all").to_pylist()


def test_the_overview_is_what_the_rows_say(tmp_path: Path) -> None:
    make(tmp_path).take_up()
    counted, read = (select(tmp_path, query).to_pylist() for query in ("from overview", OVERVIEW_OF_ROWS))
    assert len(counted) == len(read) == 2
    for ours, theirs in zip(counted, read, strict=True):
        for name in ours:
            within = {"abs": 0.25} if name in QUANTILES else {"rel": 1e-9}
            assert ours[name] == (pytest.approx(theirs[name], **within) if name != "split" else theirs[name]), name


def test_the_speakers_are_what_the_rows_say(tmp_path: Path) -> None:
    make(tmp_path).take_up()
    counted, read = (select(tmp_path, query).to_pylist() for query in ("from speakers", SPEAKERS_OF_ROWS))
    assert [row["speaker_id"] for row in counted] == [row["speaker_id"] for row in read]
    for ours, theirs in zip(counted, read, strict=True):
        assert ours["hours"] == pytest.approx(theirs["hours"])
        assert {**ours, "hours": 0} == {**theirs, "hours": 0}


def test_statistics_open_no_shard(tmp_path: Path) -> None:
    make(tmp_path).take_up()
    before = [select(tmp_path, f"from {view}").to_pylist() for view in ("overview", "speakers", "funnel")]
    assert all(before)
    for path in tmp_path.rglob("*.parquet"):
        path.write_bytes(b"")
    assert [select(tmp_path, f"from {view}").to_pylist() for view in ("overview", "speakers", "funnel")] == before


def test_a_rebuilt_catalogue_has_the_same_tallies(tmp_path: Path) -> None:
    catalogue = make(tmp_path)
    catalogue.take_up()
    before = _tallies(tmp_path)
    assert before
    for path in tmp_path.glob("*catalogue.duckdb"):
        path.unlink()
    catalogue.rebuild()
    assert _tallies(tmp_path) == before
    for path in [*tmp_path.glob("*catalogue.duckdb"), *(tmp_path / "ledger").iterdir()]:
        path.unlink()
    catalogue.rebuild()
    assert _tallies(tmp_path) == before, "footers say the same as the ledger"


def test_shards_of_before_tallies_are_counted_when_the_disk_is_looked_at(tmp_path: Path) -> None:
    catalogue = make(tmp_path)
    for path in ledger.waiting(tmp_path):
        said = json.loads(path.read_text())
        del said["artifact"]["tally"]
        path.write_text(json.dumps(said))
    catalogue.take_up()
    assert _tallies(tmp_path) == []
    catalogue.take_up(look_at_disk=True)
    found = _tallies(tmp_path)
    for path in tmp_path.glob("*catalogue.duckdb"):
        path.unlink()
    catalogue.rebuild()
    assert _tallies(tmp_path) == found
    assert {row["table_name"] for row in found} == {"recordings", "utterances", "examples"}
    example_hours = "select sum(example_hours) from overview"
    by_rows = f"select sum(example_hours) from ({OVERVIEW_OF_ROWS})"
    [[ours], [theirs]] = [select(tmp_path, query).column(0).to_pylist() for query in (example_hours, by_rows)]
    assert ours == pytest.approx(theirs), "seconds of examples are those of their utterances"


def test_a_catalogue_published_before_tallies_can_be_planned_from(tmp_path: Path) -> None:
    catalogue = make(tmp_path)
    catalogue.take_up()
    with duckdb.connect(tmp_path / "catalogue.duckdb") as old:
        for (view,) in old.sql("select view_name from duckdb_views() where not internal").fetchall():
            old.execute(f'drop view if exists "{view}"').fetchall()
        old.execute("alter table artifacts drop column tally").fetchall()
    assert len(catalogue.artifacts()) == 9


def test_what_lasts_longer_than_a_minute_is_counted_with_the_longest() -> None:
    rows = pa.Table.from_pylist(
        [{"speaker_id": "anna", "seconds": seconds} for seconds in (0.0, 0.5, 61.0, None)], schema=UTTERANCES.schema
    )
    [count] = json.loads(tally_rows(UTTERANCES, rows, rows["seconds"]))["speaker_id, split"]
    assert count["of"] == {"speaker_id": "anna", "split": None}
    assert (count["rows"], count["seconds"]) == (4, 61.5)
    assert count["half_seconds"] == [1, 1, *[0] * 117, 1]


def test_what_codes_have_kept_and_how_many_of_them_fp32_gives_is_told_of_every_shard(tmp_path: Path) -> None:
    checks: dict[str, list[tuple[float | None, float | None]]] = {
        "a": [(5.0, 0.75), (None, 0.25), (None, None)],
        "b": [(None, None)],
        "c": [(3.0, None)],
    }
    for shard, device in {"a": "cuda", "b": "cuda", "c": "cpu"}.items():
        rows = [
            {"utterance_id": f"{shard}{i}", "si_sdr_db": kept, "fp32_agreement": same}
            for i, (kept, same) in enumerate(checks[shard])
        ]
        rows.append({"utterance_id": "bad", "si_sdr_db": 99.0, "fp32_agreement": 0.0, "dropped": "unreadable"})
        arrow = pa.Table.from_pylist(rows, schema=CODES.schema)
        stage = json.dumps({"stage": "Codes", "version": 3, "settings": {"precision": "fp32"}})
        artifact = write_shard(tmp_path, CODES, shard, PRINT, arrow, stage=stage, inputs='{"files": {}}', seconds=None)
        ledger.emit(tmp_path, Record(attempt(artifact, device=device), artifact))
    catalogue = Catalogue(tmp_path)
    catalogue.remember("codes", [_wanted(CODES)], {})
    catalogue.take_up()
    names = "shard, num_checked, si_sdr_db, num_compared, fp32_agreement"
    told = select(tmp_path, f"select {names} from codec_fidelity order by shard").to_pylist()
    assert [tuple(row.values()) for row in told] == [
        ("a", 1, 5.0, 2, 0.5),
        ("b", 0, None, 0, None),
        ("c", 1, 3.0, 0, 1.0),
    ]
