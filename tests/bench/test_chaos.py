"""A trial of chaos, and that it is not blind: what is not as it should be makes a trial wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partialmethod
from pathlib import Path

import pytest

from bench import chaos
from bench.chaos_kinds import KINDS
from bench.moved_clock import MovedClock, compiler
from flows.machine import prefect_server
from tests.conftest import Said


def unbroken(chaos_: chaos.Chaos, valle: Callable[..., Said]) -> chaos.Truth:
    """What a run makes that nobody breaks, in this process."""
    root = chaos_.folder / "unbroken" / "root"
    code, _, said = valle("run", "--recipe", chaos.RECIPE, "--audio", chaos_.audio, "--root", root)
    assert code == 0, said
    return chaos.Truth.of(root)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_that_is_killed_and_run_again_is_as_an_unbroken_one(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    valle: Callable[..., Said],
    prefect_address: dict[str, str],
    ray_here: None,
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    server = prefect_address["PREFECT_API_URL"].removesuffix("/api")
    monkeypatch.setattr(prefect_server, "lasting_server", lambda *_: nullcontext(server))
    monkeypatch.setattr(chaos.Chaos, "truth", partialmethod(unbroken, valle))
    [trial] = chaos.run(tmp_path / "chaos", ["power"], 1, 4)
    assert not trial.wrong
    assert "all processes killed | first -9 after" in capsys.readouterr().out


def test_each_kind_is_had_as_often() -> None:
    planned = chaos.plan(list(KINDS), 2 * len(KINDS), 7)
    assert [seed for _, seed in planned] == list(range(7, 7 + 2 * len(KINDS)))
    assert sorted(kind for kind, _ in planned) == sorted([*KINDS, *KINDS])


def test_the_table_counts_what_went_wrong() -> None:
    trials = [
        chaos.Trial(0, "power", first="-9 after 20 s"),
        chaos.Trial(1, "power", first="0 after 9 s", late=True, wrong=["codes has other rows"]),
    ]
    assert chaos.summary(trials).splitlines()[-1] == "| power | 2 | 1 | -9 (1), 0 (1) | 1 |"


@pytest.mark.skipif(not compiler(), reason="no C compiler")
def test_a_moved_clock_is_moved_for_python_alone_and_while_it_runs(tmp_path: Path) -> None:
    clock = MovedClock(tmp_path)
    code = "import time, datetime\nfor _ in range(2): input(); print(time.time(), datetime.datetime.now().timestamp())"
    with subprocess.Popen(
        [sys.executable, "-uc", code],
        env=os.environ | clock.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        told = []
        for seconds in (0, -7200):
            clock.move(seconds)
            print(file=process.stdin, flush=True)
            told.append([float(word) for word in process.stdout.readline().split()])
        process.send_signal(signal.SIGTERM)
    for before, after in zip(*told, strict=True):
        assert -7200 <= after - before < -7100
