"""What a training is to be watched for, in SQL."""

import json
from pathlib import Path

import pyarrow as pa

from bench.made_up import attempt
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.ledger import FAILED, Record
from warehouse.plan import Wanted
from warehouse.query import select
from warehouse.store import write_shard
from warehouse.tables import CHECKPOINTS


def test_alarms_and_failed_trainings_stand_in_one_view(tmp_path: Path) -> None:
    rows = [
        {"checkpoint_id": "ar-5", "half": "ar", "step": 5, "alarms": ["the loss leapt from 5 to 9"]},
        {"checkpoint_id": "ar-9", "half": "ar", "step": 9, "alarms": []},
    ]
    table = pa.Table.from_pylist(rows, schema=CHECKPOINTS.schema)
    made = {
        half: write_shard(tmp_path, CHECKPOINTS, half, half * 6, table, stage="{}", inputs="{}")
        for half in ("ar", "na")
    }
    ledger.emit(tmp_path, Record(attempt(made["ar"]), made["ar"]))
    (tmp_path / made["na"].path).unlink()
    failed = attempt(made["na"], state=FAILED, error="Diverged: the loss became nan at step 7")
    ledger.emit(tmp_path, Record(failed, None))
    catalogue = Catalogue(tmp_path)
    stage = json.dumps({"stage": "Checkpoints", "version": 1, "settings": {}})
    wanted = Wanted(
        table="checkpoints",
        takes=(),
        gathers=("ar", "na"),
        lasting=True,
        one_to_one=False,
        fingerprints={half: half * 6 for half in made},
        stages=dict.fromkeys(made, stage),
        sources=dict.fromkeys(made, "0"),
    )
    catalogue.remember("train", [wanted], {})
    catalogue.take_up()
    assert [(row["half"], row["step"], row["alarm"]) for row in select(tmp_path, "from alarms").to_pylist()] == [
        ("ar", 5, "the loss leapt from 5 to 9"),
        ("na", None, "Diverged: the loss became nan at step 7"),
    ]
