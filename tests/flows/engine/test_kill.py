"""A run that is killed at any instant, with all of its processes, ends as one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import TOY
from tests.toy import write_corpus
from warehouse.query import select

TABLES = ("utterances", "codes", "examples", "totals")
SLOW = TOY.replace(":toy", ":slow")


def start(root: Path, audio: Path) -> subprocess.Popen[bytes]:
    """`valle run` in a process group of its own, which hears Ctrl-C even where these tests run in the background."""
    command = [Path(sys.executable).parent / "valle", "run", "--recipe", SLOW, "--audio", audio, "--root", root]
    return subprocess.Popen(
        command,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell ignores it for what it puts there
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def contents(root: Path) -> list[list[dict[str, object]]]:
    return [select(root, f"from {table} order by all").to_pylist() for table in TABLES]


@pytest.mark.timeout(400)
def test_a_killed_run_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    audio = write_corpus(tmp_path / "audio", **{f"s{i}": "pause one three eleven"[: 10 + i] for i in range(8)})
    pick = random.Random(1)
    killed = tmp_path / "killed"
    for _ in range(2):
        process = start(killed, audio)
        deadline = time.monotonic() + 120
        made = len(list(killed.glob("codes/*/*.parquet")))
        while len(list(killed.glob("codes/*/*.parquet"))) == made and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(pick.uniform(0, 0.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for process in [start(root, audio) for root in (killed, tmp_path / "unbroken")]:  # side by side: both mostly wait
        said = process.communicate()[1].decode()
        assert process.returncode == 0, said
    assert contents(killed) == contents(tmp_path / "unbroken")
    [twice] = select(killed, "select count(*) - count(distinct path) as n from artifacts").to_pylist()
    assert twice["n"] == 0


def test_a_ctrl_c_at_the_terminal_ends_soon_and_says_so(tmp_path: Path) -> None:
    audio = write_corpus(tmp_path / "audio", **{f"s{i}": "pause one three" for i in range(8)})
    process = start(tmp_path / "root", audio)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "root").glob("codes/*/*.parquet")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert "interrupted; what is made is kept" in said
    assert "Traceback" not in said
