"""A run that is killed or interrupted costs what was in hand, and leaves no process behind.

That it ends as an unbroken one, row by row, is in `tests/bench/test_chaos.py`.
"""

import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.broken_runs import AGENTS, MARK, processes, start, wait_until
from tests.conftest import TOY
from tests.toy import write_corpus
from warehouse.query import select

SLOW = TOY.replace(":toy", ":slow")
ENDLESS = TOY.replace(":toy", ":endless")


@pytest.mark.timeout(400)
def test_a_kill_in_the_middle_of_samples_costs_one_shard(tmp_path: Path, prefect_address: dict[str, str]) -> None:
    from model.codec.encodec import identity
    from tests.given import INPUTS
    from tests.tasks import small_evaluation

    world = small_evaluation.build(
        tmp_path / "world", [("anna", text) for text in (small_evaluation.SHORT, small_evaluation.LONG) for _ in "12"]
    )
    for table in INPUTS:
        rows = pa.Table.from_pylist(world.tables[table.name], schema=table.schema)
        pq.write_table(rows, world.root / "audio" / f"{table.name}.parquet")
    for half in ("ar", "nar"):
        small_evaluation.save_half(world.root / "pair" / half, half, identity(world.codec))
    words = ["--set", f"codes.model={world.codec}", "--set", f"samples.checkpoint={world.root / 'pair'}"]
    recipe, root = str(Path(__file__).parents[2] / "given.py") + ":spoken", tmp_path / "root"
    process = start(root, world.root / "audio", recipe, words, prefect_address)
    assert wait_until(lambda: list(root.glob("samples/*/*.parquet")), process), process.communicate()[1].decode()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in root.glob("samples/*/*.parquet")}
    assert 1 <= len(before) < 4
    process = start(root, world.root / "audio", recipe, words, prefect_address)
    said = process.communicate()[1].decode()
    assert process.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(root.glob("samples/*/*.parquet"))) == 4
    [count] = select(root, "select count(*) as rows, count(distinct sample_id) as ids from samples").to_pylist()
    assert count == {"rows": 16, "ids": 16}
    [sets] = select(root, "select count(distinct evaluation_set) as n from samples").to_pylist()
    assert sets["n"] == 1


def test_a_ctrl_c_at_the_terminal_ends_soon_and_says_so(tmp_path: Path) -> None:
    audio = write_corpus(tmp_path / "audio", **{f"s{i}": "pause one three" for i in range(8)})
    process = start(tmp_path / "root", audio, SLOW)
    wait_until(lambda: list((tmp_path / "root").glob("codes/*/*.parquet")), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert "interrupted; what is made is kept" in said
    assert "Traceback" not in said


@pytest.mark.timeout(700)
def test_however_a_run_ends_no_process_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By SIGTERM and by `kill -9` of the command alone, each in the midst of a shard that takes an hour."""
    audio = write_corpus(tmp_path / "audio", a="pause one three")
    monkeypatch.setenv(MARK, str(tmp_path))
    for number, code in ((signal.SIGTERM, 130), (signal.SIGKILL, -9)):
        begun = tmp_path / f"begun {number}"
        monkeypatch.setenv("VALLE_TEST_BEGUN", str(begun))
        process = start(tmp_path / "root", audio, ENDLESS)
        wait_until(begun.exists, process, seconds=300)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1].decode()
        assert process.returncode == code, said
        assert "Traceback" not in said
        deadline = time.monotonic() + 30
        while remaining := set(processes(str(tmp_path)).values()) - (AGENTS if number == signal.SIGKILL else set()):
            assert time.monotonic() < deadline, remaining
            time.sleep(0.1)
