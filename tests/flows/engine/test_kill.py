"""A run that is killed or interrupted costs what was in hand, and leaves no process behind.

That it ends as an unbroken one, row by row, is in `tests/bench/test_chaos.py`.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Set
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.broken_runs import AGENTS, MARK, processes, start, wait_until
from tests.conftest import TOY, Said
from tests.toy import write_corpus
from warehouse.query import select

ENDLESS = TOY.replace(":toy", ":endless")
pytestmark = pytest.mark.slow


def sleeping(root: Path, audio: Path, begun: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """A run in the midst of a shard that takes an hour."""
    marks = {"VALLE_TEST_BEGUN": str(begun), MARK: str(begun)}
    marks["SPT_NOENV"] = "1"  # else a process that takes a name of its own loses its mark
    process = start(root, audio, ENDLESS, environment=marks | environment)
    assert wait_until(begun.exists, process, seconds=300), process.communicate()[1].decode()
    return process


def wait_for_the_end_of_all(mark: Path, but: Set[str] = frozenset()) -> None:
    deadline = time.monotonic() + 120
    while remaining := set(processes(str(mark)).values()) - but:
        assert time.monotonic() < deadline, remaining
        time.sleep(0.1)


@pytest.mark.timeout(700)
def test_a_kill_in_the_middle_of_samples_costs_one_shard(
    tmp_path: Path, valle: Callable[..., Said], prefect_address: dict[str, str], ray_here: None
) -> None:
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
    (hold := tmp_path / "hold").mkdir()
    words = ["--set", f"codes.model={world.codec}", "--set", f"samples.checkpoint={world.root / 'pair'}"]
    words += ["--set", f"samples.hold={hold}"]
    recipe, root = str(Path(__file__).parents[2] / "given.py") + ":spoken", tmp_path / "root"
    process = start(root, world.root / "audio", recipe, words, prefect_address)
    assert wait_until(lambda: list(root.glob("samples/*/*.parquet")), process), process.communicate()[1].decode()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in root.glob("samples/*/*.parquet")}
    assert len(before) == 1, "the first that came, and no other goes on"
    shutil.rmtree(hold)
    code, _, said = valle("run", "--recipe", recipe, "--audio", world.root / "audio", "--root", root, *words)
    assert code == 0, said
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(root.glob("samples/*/*.parquet"))) == 4
    [count] = select(root, "select count(*) as rows, count(distinct sample_id) as ids from samples").to_pylist()
    assert count == {"rows": 16, "ids": 16}
    [sets] = select(root, "select count(distinct evaluation_set) as n from samples").to_pylist()
    assert sets["n"] == 1


@pytest.mark.timeout(700)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_run_that_is_asked_to_end_says_so_and_leaves_no_process(
    tmp_path: Path, prefect_address: dict[str, str], name: str
) -> None:
    """By Ctrl-C at a terminal, which every process of the group hears, or by SIGTERM, which the command hears alone."""
    audio = write_corpus(tmp_path / "audio", a="pause one three")
    process = sleeping(tmp_path / "root", audio, tmp_path / "begun", prefect_address)
    if name == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    said = process.communicate(timeout=200)[1].decode()
    assert process.returncode == 130, said
    assert "interrupted; what is made is kept" in said
    assert "Traceback" not in said
    wait_for_the_end_of_all(tmp_path / "begun")


@pytest.mark.timeout(700)
def test_a_run_whose_command_is_killed_leaves_no_process_and_no_server(tmp_path: Path) -> None:
    audio = write_corpus(tmp_path / "audio", a="pause one three")
    process = sleeping(tmp_path / "root", audio, tmp_path / "begun", {})
    process.kill()
    process.communicate(timeout=200)
    wait_for_the_end_of_all(tmp_path / "begun", but=AGENTS)
