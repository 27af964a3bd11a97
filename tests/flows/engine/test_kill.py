"""A run that is killed at any instant, with all of its processes, ends as one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import TOY
from tests.toy import write_corpus
from warehouse.query import select

TABLES = ("utterances", "codes", "examples", "totals")
SLOW = TOY.replace(":toy", ":slow")
AGENTS = {"ray::DashboardA", "ray::RuntimeEnv"}  # of Ray's, which look for its head for a minute before they end
ENDLESS = TOY.replace(":toy", ":endless")


def start(root: Path, audio: Path, recipe: str = SLOW) -> subprocess.Popen[bytes]:
    """`valle run` in a process group of its own, which hears Ctrl-C even where these tests run in the background."""
    command = [Path(sys.executable).parent / "valle", "run", "--recipe", recipe, "--audio", audio, "--root", root]
    return subprocess.Popen(
        command,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell ignores it for what it puts there
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def left(mark: str) -> list[str]:
    """The processes that carry a mark in their environment."""
    names = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"VALLE_TEST_MARK={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                names.append((process / "comm").read_text().strip())
    return names


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


@pytest.mark.timeout(700)
def test_however_a_run_ends_no_process_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By SIGTERM and by `kill -9` of the command alone, each in the midst of a shard that takes an hour."""
    audio = write_corpus(tmp_path / "audio", a="pause one three")
    monkeypatch.setenv("VALLE_TEST_MARK", str(tmp_path))
    for number, code in ((signal.SIGTERM, 130), (signal.SIGKILL, -9)):
        begun = tmp_path / f"begun {number}"
        monkeypatch.setenv("VALLE_TEST_BEGUN", str(begun))
        process = start(tmp_path / "root", audio, ENDLESS)
        deadline = time.monotonic() + 300
        while not begun.exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1].decode()
        assert process.returncode == code, said
        assert "Traceback" not in said
        deadline = time.monotonic() + 30
        while remaining := set(left(str(tmp_path))) - (AGENTS if number == signal.SIGKILL else set()):
            assert time.monotonic() < deadline, remaining
            time.sleep(0.1)
