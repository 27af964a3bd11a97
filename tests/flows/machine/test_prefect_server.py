"""Prefect's temporary server: how long it is waited for. That it ends with the command is in `test_kill.py`."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.machine.prefect_server import PORT_TAKEN, Server, _wait_for
from warehouse.errors import Mistake


def process(code: str) -> Server:
    return Server([sys.executable, "-c", code], stdin=subprocess.PIPE)


def test_one_that_does_not_start_is_said_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with process("import sys; sys.exit(1)") as server, pytest.raises(Mistake, match="does not start; .*server.log"):
        _wait_for(server, 9, tmp_path / "server.log")
    assert time.monotonic() - begun < 60


def test_one_whose_port_is_taken_is_left_to_prefect_which_takes_another(tmp_path: Path) -> None:
    with process(f"import sys; sys.exit({PORT_TAKEN})") as server:
        _wait_for(server, 9, tmp_path / "server.log")


def test_it_ends_when_its_pipe_does_and_not_by_a_signal() -> None:
    """As `serve` does, without Prefect."""
    code = "from flows.machine import prefect_server as p; import types; p.PATIENCE = 0; "
    code += "p._end_with_the_pipe(types.SimpleNamespace())"
    with Server([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=Path(__file__).parents[3]) as server:
        os.kill(server.pid, 0)
        assert server.poll() is None
        server.terminate()
        assert server.wait(timeout=60) == 0
