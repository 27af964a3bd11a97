"""`valle estimate`: what a corpus would take is what it takes, and where nothing is measured nothing is guessed."""

import heapq
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from bench.made_up import attempt
from bench.simulated_warehouse import SETTING, fabricate
from flows.commands.corpus_size import corpus_size
from flows.recipes import load_recipe
from tasks.checkpoints import Checkpoints
from tests.conftest import Said
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.fingerprint import describe
from warehouse.ledger import Record
from warehouse.store import write_shard
from warehouse.tables import CHECKPOINTS

MEAN = {"recordings": 40, "utterances": 8, "transcripts": 900, "phones": 25, "codes": 300, "examples": 12}  # seconds
SHARD_HOURS = 31 * 970 / 3600
Ask = Callable[..., dict[str, dict[str, Any]]]


def took(draw: random.Random) -> Callable[[str], float]:
    """How long a shard of a table takes: every other time another."""
    return lambda table: MEAN[table] * draw.uniform(0.6, 1.4)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of twelve readers, made on a GPU, with a training of 100 steps."""
    root = tmp_path_factory.mktemp("measured")
    fabricate(root, tmp_path_factory.mktemp("audio"), 12, took(random.Random(1)))
    stage = Checkpoints(size="small", ar_steps=100, nar_steps=100, ar_batch_frames=1_000, nar_batch_frames=2_000)
    for half, seconds in (("ar", 50.0), ("nar", 80.0)):
        described = describe(stage, half)
        rows = pa.Table.from_pylist([], schema=CHECKPOINTS.schema)
        artifact = write_shard(root, CHECKPOINTS, half, "c" * 12, rows, stage=described, inputs="{}")
        (root / artifact.path).with_suffix("").mkdir()
        (root / artifact.path).with_suffix("").joinpath("weights.safetensors").write_bytes(bytes(1 << 20))
        ledger.emit(root, Record(attempt(artifact, seconds=seconds, device="cuda"), artifact))
    Catalogue(root).rebuild()
    return root


@pytest.fixture
def ask(measured: Path, tmp_path: Path, valle: Callable[..., Said]) -> Ask:
    """The rows of an estimate by table, for a site of 8 CPUs and 2 GPUs."""

    def answer(*words: object, keys: str = "") -> dict[str, dict[str, Any]]:
        site = tmp_path / "site.toml"
        site.write_text(f'root = "{tmp_path}/root"\ndevice = "cuda"\n{keys}')
        given = ["--recipe", "librilight", "--set", SETTING, "--site", site, "--from", measured, "--json"]
        code, out, err = valle("estimate", *given, "--cpus", 8, "--gpus", 2, *words)
        assert code == 0, err
        return {row["table"]: row for row in json.loads(out)}

    return answer


def run_in_earnest(num_shards: int, workers: dict[str, int]) -> float:
    """Hours by the clock that such shards take, each begun when a worker is free, one table after another."""
    draw, clock = took(random.Random(2)), 0.0
    for table in MEAN:
        free = [clock] * workers[table]
        for _ in range(num_shards):
            heapq.heapreplace(free, free[0] + draw(table))
        clock = max(free)
    return clock / 3600


def test_it_is_within_a_third_of_a_run_of_other_shards(ask: Ask) -> None:
    for num_shards in (10, 50, 333):
        rows = ask("--hours", num_shards * SHARD_HOURS, "--shards", num_shards, "--until", "examples")
        workers = {table: rows[table]["workers"] for table in MEAN}
        assert workers == dict.fromkeys(MEAN, 8) | {"transcripts": 4, "codes": 8}
        real = run_in_earnest(num_shards, workers)
        assert abs(rows["all"]["hours"] / real - 1) < 0.3, (num_shards, rows["all"]["hours"], real)


def test_gpu_hours_are_what_workers_hold(ask: Ask) -> None:
    rows = ask("--hours", 12 * SHARD_HOURS, "--shards", 12, "--until", "examples")
    assert rows["transcripts"]["gpu_hours"] == pytest.approx(12 * 900 / 3600 * 0.5, rel=0.2)
    assert rows["transcripts"]["cpu_hours"] == pytest.approx(rows["transcripts"]["worker_hours"])
    assert rows["phones"]["gpu_hours"] == 0
    assert rows["all"]["gpu_hours"] == pytest.approx(rows["transcripts"]["gpu_hours"] + rows["codes"]["gpu_hours"])


def test_storage_grows_with_the_corpus(ask: Ask, measured: Path) -> None:
    rows = ask("--hours", 24 * SHARD_HOURS, "--until", "examples")
    there = sum(path.stat().st_size for path in (measured / "phones").rglob("*.parquet"))
    assert rows["phones"]["gib"] == pytest.approx(2 * there / (1 << 30))


def test_a_training_takes_as_long_as_its_frames(ask: Ask) -> None:
    size = ["--set", "checkpoints.size=small", "--set", "checkpoints.precision=fp32"]
    steps = ["--set", "checkpoints.ar_steps=200", "--set", "checkpoints.ar_batch_frames=3000"]
    steps += ["--set", "checkpoints.nar_steps=100", "--set", "checkpoints.nar_batch_frames=2000"]
    row = ask("--hours", 1, "--until", "checkpoints", *size, *steps)["checkpoints"]
    assert row["hours"] == pytest.approx((50 * 6 + 80) / 3600, rel=1e-6), "one after the other: two workers, two GPUs"
    assert row["gpu_hours"] == pytest.approx(2 * row["hours"])
    assert row["gib"] == pytest.approx(2 / 1024, rel=0.05)
    assert row["says"] == "by as many workers as where it was measured"


def test_what_nobody_has_measured_is_said_and_not_guessed(ask: Ask) -> None:
    rows = ask("--hours", 100)
    assert "measured with checkpoints.size small alone, not paper" in rows["checkpoints"]["says"]
    assert "nobody has measured samples" in rows["samples"]["says"]
    assert rows["samples"]["hours"] is rows["checkpoints"]["hours"] is rows["scores"]["gib"] is None
    assert "without checkpoints, samples, scores" in rows["all"]["says"]
    rows = ask("--hours", 100, "--set", "codes.model=embedded", "--until", "codes")
    assert "measured with codes.model encodec_24khz@d7cc33bc alone" in rows["codes"]["says"]
    rows = ask("--hours", 100, "--set", "phones.language=auto", "--until", "phones")
    assert rows["phones"]["says"] == "measured with another language"
    rows = ask("--hours", 100, "--until", "codes", keys="gpus = { codes = 4.0 }")
    assert "no room" in rows["codes"]["says"]


def test_prices_of_the_site_make_money(ask: Ask) -> None:
    keys = "prices = { cpu_hour = 0.1, gpu_hour = 2.0, gib_month = 0.5 }"
    rows = ask("--hours", 100, "--until", "examples", keys=keys)
    row = rows["transcripts"]
    assert row["money"] == pytest.approx(row["cpu_hours"] * 0.1 + row["gpu_hours"] * 2.0)
    assert rows["all"]["money"] == pytest.approx(sum(rows[table]["money"] for table in MEAN))
    assert f"{rows['all']['gib'] * 0.5:,.2f} a month" in rows["all"]["says"]
    assert "money" not in ask("--hours", 100, "--until", "examples")["all"]


def test_a_corpus_is_as_long_as_its_headers_say(tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"reader{i}").mkdir()
        soundfile.write(tmp_path / f"reader{i}" / "one.wav", np.zeros(16_000 * (i + 1), np.float32), 16_000)
    (tmp_path / "reader0" / "broken.wav").write_bytes(b"no audio")
    recipe = load_recipe("folder")[0].place({"audio": tmp_path})
    size = corpus_size(recipe, tmp_path)
    assert size.hours == pytest.approx(15 / 3600, rel=0.01)
    assert size.num_bytes == sum(path.stat().st_size for path in tmp_path.rglob("*.wav"))


@pytest.mark.parametrize(
    ("words", "keys", "says"),
    [
        ([], "", "--hours"),
        (["--hours", "1"], 'ray_address = "head:6379"\n', "say how much it has by --cpus and --gpus"),
        (["--hours", "1", "--from", "/proc/nothing"], "", "is not a warehouse"),
        (["--hours", "1"], "prices = { gpu = 2.0 }\n", "site key prices has no 'gpu'; it has cpu_hour, gpu_hour"),
        (["--hours", "1"], "prices = { gpu_hour = -1.0 }\n", "site key prices.gpu_hour is -1.0; it must be 0 or more"),
        (["--hours", "none"], "", "'none' is not a valid float"),
    ],
)
def test_what_cannot_be_reckoned_is_one_sentence(
    words: list[str], keys: str, says: str, measured: Path, tmp_path: Path, valle: Callable[..., Said]
) -> None:
    site = tmp_path / "site.toml"
    site.write_text(f'root = "{measured}"\naudio = "{tmp_path}/nothing"\ndevice = "cpu"\n{keys}')
    code, out, err = valle("estimate", "--recipe", "folder", "--site", site, *words)
    assert (code, out) == (2, "")
    assert says in err
