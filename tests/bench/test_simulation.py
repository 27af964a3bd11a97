"""The simulated warehouse is one: its shards, its ledger and its views agree with each other."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.simulated_warehouse import RECORDINGS, ROWS, SETTING, fabricate
from bench.simulation import READS, VALLE, commands, measure
from flows.recipes import load_recipe
from warehouse.catalogue import Catalogue
from warehouse.query import select
from warehouse.statistics import VIEWS
from warehouse.store import read_artifact
from warehouse.tables import TABLES
from warehouse.tallies import tally_rows

NUM_SHARDS = 10


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulation")
    fabricate(folder / "root", folder / "audio", NUM_SHARDS)
    Catalogue(folder / "root").rebuild()
    return folder / "root"


def test_all_is_made_and_current(root: Path) -> None:
    made = {row["table"]: row["made"] for row in select(root, "from status").to_pylist()}
    assert {name: made[name] for name in ROWS} == dict.fromkeys(ROWS, NUM_SHARDS)
    recipe = load_recipe("librilight")[0].set([SETTING]).place({"audio": root.parent / "audio"})
    plans = Catalogue(root).plan(Catalogue(root).artifacts())
    assert [stage.wanted for stage in plans] == recipe.wanted(), "as the corpus is listed now"


def test_the_funnel_adds_up(root: Path) -> None:
    funnel = {row["table_name"]: row for row in select(root, "from funnel").to_pylist()}
    for name in ("transcripts", "phones", "codes", "examples"):
        row = funnel[name]
        assert row["rows_in"] == row["rows_kept"] + row["rows_dropped"] > 0
        assert row["rows_pending"] == row["rows_failed"] == 0


def test_the_overview_says_what_was_made_up(root: Path) -> None:
    overview = select(root, "from overview").to_pylist()
    assert sum(row["utterances"] for row in overview) == NUM_SHARDS * ROWS["utterances"][0]
    assert sum(row["examples"] for row in overview) == NUM_SHARDS * ROWS["examples"][0]
    assert sum(row["recordings"] for row in overview) == NUM_SHARDS * RECORDINGS
    assert sum(row["speakers"] for row in overview) == select(root, "from speakers").num_rows == NUM_SHARDS


def test_footers_say_what_the_catalogue_does(root: Path) -> None:
    for artifact in list(Catalogue(root).artifacts().values())[::7]:
        said = read_artifact(root, root / artifact.path)
        assert (said.path, said.digest, said.bytes) == (artifact.path, artifact.digest, artifact.bytes)
        assert json.loads(said.tally) == json.loads(artifact.tally)


def test_rows_are_as_many_as_footers_say_and_join(root: Path) -> None:
    for name, (kept, dropped) in ROWS.items():
        [row] = select(root, f"select count(*) as n, count(*) filter (dropped is null) as kept from {name}").to_pylist()
        assert (row["n"], row["kept"]) == (NUM_SHARDS * (kept + sum(dropped.values())), NUM_SHARDS * kept), name
    [row] = select(root, "select count(*) as n, count(distinct speaker_id) as speakers from dataset").to_pylist()
    assert (row["n"], row["speakers"]) == (NUM_SHARDS * ROWS["examples"][0], NUM_SHARDS)


def test_tallies_are_what_is_counted_of_the_rows(root: Path) -> None:
    for artifact in list(Catalogue(root).artifacts().values())[::7]:
        [table] = [table for table in TABLES if table.name == artifact.table_name]
        rows = pq.read_table(root / artifact.path)
        seconds = rows["seconds"] if "seconds" in rows.column_names else pa.chunked_array([[15.0] * rows.num_rows])
        ours, theirs = json.loads(artifact.tally), json.loads(tally_rows(table, rows, seconds))
        for name in theirs:
            for count in (*ours[name], *theirs[name]):
                count.pop("half_seconds", None)  # utterances of 1 to 20 s, where rows say 15
            assert ours[name] == theirs[name]


def test_every_view_is_measured(root: Path) -> None:
    names = [name for name, *_ in commands(root, root.parent / "audio")]
    assert {f"view {view}{READS.get(view, '')}" for view in VIEWS} <= set(names)


def test_the_tallies_have_the_shape_of_real_ones(root: Path) -> None:
    for table in TABLES:
        real = json.loads(tally_rows(table, table.schema.empty_table(), None))
        for row in select(root, f"select tally from artifacts where table_name = '{table.name}'").to_pylist():
            assert json.loads(row["tally"]).keys() == real.keys()


def test_a_command_is_measured(root: Path) -> None:
    seconds, gigabytes = measure(VALLE, "sql", "select 1", "--root", str(root), times=1)
    assert 0 < seconds < 60
    assert 0.01 < gigabytes < 4
    with pytest.raises(SystemExit, match="is not a warehouse"):
        measure(VALLE, "status", "--root", str(root / "nowhere"), times=1)
