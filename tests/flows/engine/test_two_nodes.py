"""The same run on a cluster by its address: nodes die in mid-run and in mid-training, others join, nothing differs."""

import json
import time
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest
from safetensors.numpy import load_file

from bench.broken_runs import MARK, TOY, digest, ended, processes, start, wait_until
from bench.ray_nodes import OPEN, RayNodes
from tests.toy import taught, write_corpus
from warehouse.query import select

SHAKEN = f"{TOY}:shaken"


def site(folder: Path, *keys: str) -> list[str]:
    path = folder / "site.toml"
    path.write_text("\n".join(['device = "cpu"', "retries = 4", "retry_delay_seconds = 0.5", *keys]))
    return ["--site", str(path)]


def log(root: Path) -> str:
    """How the training of the AR has gone so far."""
    return "".join(path.read_text() for path in root.glob("checkpoints/*/ar/progress.jsonl"))


def trains(mark: str) -> bool:
    """Whether a process with this mark is there to train; it asks twice a second, for all processes are looked at."""
    time.sleep(0.5)
    return "ray::RayTrainWo" in processes(mark).values()  # of `RayTrainWorker` the first letters


def crashed(root: Path) -> set[str]:
    return set(select(root, "select table_name from runs where state <> 'made'")["table_name"].to_pylist())


@pytest.mark.timeout(700)
def test_nodes_die_in_mid_run_and_in_mid_training_and_another_joins(
    tmp_path: Path, prefect_address: dict[str, str]
) -> None:
    audio = write_corpus(tmp_path / "audio", **{f"s{i}": "pause one three eleven"[: 10 + i] for i in range(8)})
    unbroken, root = start(tmp_path / "unbroken", audio, SHAKEN, environment=prefect_address), tmp_path / "root"
    with RayNodes() as nodes:
        first, second = nodes.add(1), nodes.add(1)
        run = start(root, audio, SHAKEN, site(tmp_path, f'ray_address = "{nodes.address}"'), prefect_address | OPEN)
        with ended(run):
            assert wait_until(lambda: len(list(root.glob("codes/*/*.parquet"))) > 2, run), run.communicate()
            nodes.kill(first)
            assert wait_until(lambda: any("3, " in note.read_text() for note in root.glob("weights/*/*/*.json")), run)
            nodes.kill(second)
            time.sleep(1)
            nodes.add(1)
            said = run.communicate(timeout=200)[1].decode()
        assert run.returncode == 0, said
    with ended(unbroken):
        assert unbroken.wait(100) == 0
    for table in ("utterances", "codes", "examples", "totals", "weights"):
        assert digest(root, table) == digest(tmp_path / "unbroken", table), table
    assert "weights" in crashed(root)


@pytest.mark.timeout(700)
def test_a_training_takes_in_a_node_that_joins_and_loses_it_and_ends_with_the_same_weights(
    tmp_path: Path, prefect_address: dict[str, str]
) -> None:
    lines = "pause " + " ".join(f"word{i}" for i in range(12))
    audio, root = write_corpus(tmp_path / "audio", a=lines, b=lines, c=lines), tmp_path / "root"
    with RayNodes({MARK: (mark := str(tmp_path))}) as nodes:
        nodes.add(1)
        words = site(tmp_path, f'ray_address = "{nodes.address}"', "train_workers = 2")
        run = start(root, audio, f"{TOY}:taught", words, prefect_address | OPEN)
        with ended(run):
            assert wait_until(lambda: trains(mark), run, 300), run.communicate()
            second = nodes.add(1)
            assert wait_until(lambda: log(root).count('"workers": 2') > 3, run, 300), run.communicate()
            nodes.kill(second)
            said = run.communicate(timeout=300)[1].decode()
        assert run.returncode == 0, said
    trained_by = [json.loads(line)["workers"] for line in log(root).splitlines() if '"note": null' in line]
    assert [workers for workers, _ in groupby(trained_by)] == [1, 2, 1]
    assert crashed(root) == {"checkpoints"}
    unbroken, stage = tmp_path / "unbroken" / "checkpoints" / "f" / "ar", taught().stages[-1]
    unbroken.mkdir(parents=True)
    tables = ("examples", "phones", "codes")
    rows = stage(
        *(ds.dataset(sorted(map(str, root.glob(f"{table}/*/*.parquet")))) for table in tables),
        shard="ar",
        folder=unbroken,
    )
    [folder] = [path for path in root.glob("checkpoints/*/ar") if path.is_dir()]
    ours, theirs = (load_file(path / "weights.safetensors") for path in (folder, unbroken))
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    query = "select step, tokens_seen from checkpoints order by step"
    assert select(root, query).to_pylist() == rows.select(["step", "tokens_seen"]).to_pylist()
