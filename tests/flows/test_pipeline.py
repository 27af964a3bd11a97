"""The flows, as Prefect sees them. Two of these tests notice what `pip check` does not: see pyproject.toml."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.toy import write_corpus
from warehouse.query import select

HOUSE = Path(__file__).parents[2]


def test_flows_have_parameters_that_a_schedule_can_hold() -> None:
    from flows import pipeline

    for flow in (pipeline.prepare, pipeline.train, pipeline.evaluate, pipeline.pipeline):
        assert {"recipe", "site", "until", "settings"} <= flow.parameters.properties.keys()


def test_a_task_run_is_a_shard(pipeline: Callable[..., dict[str, int]], tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client

    write_corpus(tmp_path / "audio", a="pause one", b="pause two")
    pipeline()
    [row] = select(tmp_path / "root", "select distinct flow_run_id from runs").to_pylist()
    wanted = {"utterances/a", "utterances/b", "codes/a", "codes/b", "totals/all"}
    with get_client(sync_client=True) as client:
        for _ in range(240):  # the server hears of task runs by events, which take a moment
            runs = client.read_task_runs()
            names = {run.name for run in runs if str(run.flow_run_id) == row["flow_run_id"]}
            if wanted <= names:
                break
            time.sleep(0.5)
    assert wanted <= names


def test_many_shards_share_task_runs(
    pipeline: Callable[..., dict[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.engine.lane.MOST_TASKS", 2)
    write_corpus(tmp_path / "audio", **{name: "pause one" for name in "abcde"}, f="pause wrong")
    with pytest.raises(Exception, match="1 shard failed, the first utterances/f"):
        pipeline()
    [row] = select(tmp_path / "root", "select count(*) as n from artifacts where table_name = 'codes'").to_pylist()
    assert row["n"] == 5


@pytest.fixture
def real_server(tmp_path: Path, prefect_home: Path) -> Iterator[str]:
    """A server as users start it, with its services; that of the other tests has none, and schedules nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    place = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": url}
    shutil.copytree(prefect_home, tmp_path / "prefect")
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with subprocess.Popen(command, env=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        for _ in range(240):
            with suppress(OSError):
                urlopen(f"{url}/health", timeout=1).close()
                break
            time.sleep(0.5)
        yield url
        server.terminate()


@pytest.mark.slow
def test_what_is_deployed_is_scheduled(real_server: str, tmp_path: Path) -> None:
    """As docs/cluster.md says it: a pool, `prefect deploy`, and the server schedules `pipeline`."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.settings import PREFECT_API_URL, temporary_settings

    place = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": real_server}
    words = ["--no-prompt", "deploy", "--prefect-file", "deploy/prefect.yaml", "--name", "process"]
    with temporary_settings({PREFECT_API_URL: real_server}), get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="valle-process", type="process"))
        said = subprocess.run(
            [sys.executable, "-m", "prefect", *words], env=place, cwd=HOUSE, capture_output=True, text=True, check=False
        )
        assert said.returncode == 0, said.stdout + said.stderr
        deployments = {one.entrypoint: one for one in client.read_deployments()}
        assert {one.name for one in deployments.values()} == {"process"}
        assert len(deployments) == 5
        for _ in range(240):
            if runs := client.read_flow_runs():
                break
            time.sleep(0.5)
        automations = {one.name for one in client.read_automations()}
    assert runs, "the server schedules nothing: is SQLAlchemy newer than 2.0?"
    assert all(run.state is not None and run.state.is_scheduled() for run in runs)
    assert {run.deployment_id for run in runs} == {deployments["flows.pipeline.pipeline"].id}
    assert automations == {"valle process train after prepare", "valle process evaluate after train"}
