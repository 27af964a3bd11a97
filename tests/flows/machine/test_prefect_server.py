"""Prefect's temporary server: how long it is waited for. That it ends with the command is in `test_kill.py`."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.machine import prefect_server
from flows.machine.prefect_server import PORT_TAKEN, Server, _wait_for
from warehouse.errors import Mistake

HOUSE = Path(__file__).parents[3]


def process(code: str) -> Server:
    return Server([sys.executable, "-c", code], stdin=subprocess.PIPE)


def test_one_that_does_not_start_is_said_at_once(tmp_path: Path) -> None:
    with process("import sys; sys.exit(1)") as server, pytest.raises(Mistake, match="does not start; .*server.log"):
        _wait_for(server, 9, tmp_path / "server.log")


def test_one_whose_port_is_taken_is_started_at_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    codes = iter([PORT_TAKEN, None])
    tried: list[int] = []

    def start(port: int, _log: Path, _own: dict[str, str]) -> SimpleNamespace:
        tried.append(port)
        return SimpleNamespace(poll=partial(next, codes))

    monkeypatch.setattr(prefect_server, "_start", start)
    monkeypatch.setattr("atexit.register", lambda *_: None)
    monkeypatch.setattr("prefect.context.refresh_global_settings_context", lambda: None)
    monkeypatch.setenv("PREFECT_API_URL", "")
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        prefect_server.ours_where_none_is_named(tmp_path / "server.log")
    assert len(tried) == 2
    assert os.environ["PREFECT_API_URL"] == f"http://127.0.0.1:{tried[1]}/api"


def test_where_one_is_named_none_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setattr(prefect_server, "_start", lambda *_: pytest.fail("it was started"))
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        prefect_server.ours_where_none_is_named(tmp_path / "server.log")


@pytest.mark.integration
def test_a_command_that_starts_its_own_imports_nothing_of_a_server() -> None:
    code = "import sys; from flows.pipeline import pipeline; from prefect.client.orchestration import get_client; "
    code += "get_client(sync_client=True); print(*sys.modules)"
    place = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}  # as it then is
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=HOUSE, env=place, capture_output=True, text=True, check=True
    )
    assert "prefect" in loaded.stdout.split()
    assert not {"prefect.server", "sqlalchemy", "fastapi"} & set(loaded.stdout.split())


def test_it_ends_when_its_pipe_does_and_not_by_a_signal() -> None:
    """As `serve` does, without Prefect."""
    code = "from flows.machine import prefect_server as p; import types; p.PATIENCE = 0; "
    code += "p._end_with_the_pipe(types.SimpleNamespace())"
    with Server([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=HOUSE) as server:
        os.kill(server.pid, 0)
        assert server.poll() is None
        server.terminate()
        assert server.wait(timeout=200) == 0
