"""A run that is killed at any instant, with all of its processes, ends as one that was not."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from bench.broken_runs import AGENTS, MARK, processes, start, wait_until
from tests.conftest import TOY
from tests.toy import write_corpus
from warehouse.query import select

TABLES = ("utterances", "codes", "examples", "totals")
SLOW = TOY.replace(":toy", ":slow")
ENDLESS = TOY.replace(":toy", ":endless")


def contents(root: Path) -> list[list[dict[str, object]]]:
    return [select(root, f"from {table} order by all").to_pylist() for table in TABLES]


@pytest.mark.timeout(400)
def test_a_killed_run_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    audio = write_corpus(tmp_path / "audio", **{f"s{i}": "pause one three eleven"[: 10 + i] for i in range(8)})
    pick = random.Random(1)
    killed = tmp_path / "killed"
    for _ in range(2):
        process = start(killed, audio, SLOW)
        made = len(list(killed.glob("codes/*/*.parquet")))
        wait_until(lambda made=made: len(list(killed.glob("codes/*/*.parquet"))) > made, process)
        time.sleep(pick.uniform(0, 0.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    side_by_side = [start(root, audio, SLOW) for root in (killed, tmp_path / "unbroken")]  # both mostly wait
    for process in side_by_side:
        said = process.communicate()[1].decode()
        assert process.returncode == 0, said
    assert contents(killed) == contents(tmp_path / "unbroken")
    [twice] = select(killed, "select count(*) - count(distinct path) as n from artifacts").to_pylist()
    assert twice["n"] == 0


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
