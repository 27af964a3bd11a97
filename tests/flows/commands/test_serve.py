"""`valle serve`: a schedule that fires, a run that fails on one shard, and a retry that makes that shard alone."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TOY, Said
from tests.toy import write_corpus
from warehouse.errors import Mistake
from warehouse.query import select

PATIENCE = 240  # seconds that anything may take on a busy machine


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cron", "61 3 * * *"], "--cron '61 3 * * *' cannot be used: Invalid cron string"),
        (["--cron", "0 0 30 2 *"], "--cron '0 0 30 2 *' cannot be used: failed to find next date"),
        (["--cron", "0 3 * * *", "--timezone", "Mars/Olympus"], "--timezone 'Mars/Olympus' cannot be used"),
        (["--recipe", "dmo"], "there is no recipe 'dmo'"),
        (["--until", "code"], "recipe demo makes no table 'code'; did you mean 'codes'?"),
        (["--limit", "0"], "0 is not in the range"),
    ],
)
def test_a_wrong_word_is_said_in_one_sentence_before_anything_is_started(
    valle: Callable[..., Said], tmp_path: Path, words: list[str], says: str
) -> None:
    code, out, err = valle("serve", "--root", tmp_path / "root", *words)
    assert (code, out) == (2, "")
    assert says in err


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    from flows.machine.prefect_server import lasting_server

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Mistake, match=f"port {port} is taken"), lasting_server(port, tmp_path / "log"):
            pass


@pytest.mark.integration
def test_a_server_that_does_not_answer_is_said(tmp_path: Path) -> None:
    said = subprocess.run(
        [Path(sys.executable).parent / "valle", "serve", "--root", tmp_path / "root"],
        env=os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path / "prefect")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2, said.stderr
    assert "Failed to reach API at http://127.0.0.1:9/api: start Prefect's server" in said.stderr
    assert "Traceback" not in said.stderr


class Served:
    """`valle serve` in a process of its own, with a server of its own, on the toy."""

    def __init__(self, folder: Path, log: Path, *words: str, **variables: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.root, self.log = folder / "root", log
        site = folder / "site.toml"
        site.write_text(f'root = "{self.root}"\naudio = "{folder}/audio"\ndevice = "cpu"\nretries = 0\n')
        kept = {name: value for name, value in os.environ.items() if name not in ("PREFECT_API_URL", "PREFECT_PROFILE")}
        kept |= {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
        self.begun = folder / "begun"
        kept["VALLE_TEST_BEGUN"] = str(self.begun)
        command = [Path(sys.executable).parent / "valle", "serve", "--recipe", TOY, "--site", site]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), *words], env=kept | variables, stderr=log.open("wb"), cwd=folder
        )

    def wait_for(self, what: str, look: Callable[[], Any]) -> Any:
        """What `look` finds, as soon as there is something."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()
            with suppress(OSError):
                if found := look():
                    return found
            time.sleep(0.5)
        raise AssertionError(f"no {what}: {self.log.read_text()}")

    def is_there(self) -> bool:
        """Whether somebody listens at the port."""
        with socket.socket() as place:
            return place.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self) -> str:
        """Ask it to end, as a batch system does: what it has said when nothing of it is left."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=200) == 130, self.log.read_text()
        assert not self.is_there(), "the server is still there"
        until = time.monotonic() + PATIENCE
        while descendants(self.root.parent) and time.monotonic() < until:
            time.sleep(0.5)
        assert descendants(self.root.parent) == []
        said = self.log.read_text()
        assert said.endswith("the next run goes on from there\n"), said
        assert "leaked" not in said
        assert "Warning" not in said
        return said


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts it, with more words and variables."""
    begun: list[Served] = []

    def start(*words: str, **variables: str) -> Served:
        begun.append(Served(tmp_path, tmp_path / "said.txt", *words, **variables))
        return begun[-1]

    yield start
    for served in begun:
        if served.process.poll() is None:
            served.process.terminate()
        served.process.wait(timeout=200)


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[str]:
    """A PostgreSQL of its own, where Prefect can keep what it knows."""
    import pgserver

    database = pgserver.get_server(tmp_path / "postgresql", cleanup_mode="stop")
    yield database.get_uri().replace("postgresql:", "postgresql+asyncpg:")
    database.cleanup()


def descendants(folder: Path) -> list[str]:
    """What has been started with a folder as Prefect's home, and is still there. Two of Ray's take a minute to end."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"PREFECT_HOME={folder}/prefect".encode() in (process / "environ").read_bytes().split(b"\0"):
                command = (process / "cmdline").read_text().replace("\0", " ")
                found += [] if re.match("ray::[A-Za-z]+Agent", command) else [command]
    return found


def made(root: Path) -> list[str]:
    """Every attempt that made a shard."""
    rows = select(root, "select table_name || '/' || shard as name from runs where state = 'made' order by ended_at")
    return [row["name"] for row in rows.to_pylist()]


def assert_made(shards: list[str], *first: str) -> None:
    """These came first; what hangs on them came in either order."""
    assert tuple(shards[:2]) == first
    assert sorted(shards[2:]) == [f"examples/{first[0][-1]}", "totals/all"]


@contextmanager
def client_of(served: Served) -> Iterator[Any]:
    """Prefect's client of its server."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    address = f"http://127.0.0.1:{served.port}/api"
    with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
        yield client


def assert_it_serves(served: Served, client: Any) -> None:
    """The server knows all five flows, has the scheduled one's runs to come, and ends zombies."""
    runs = served.wait_for("scheduled run", client.read_flow_runs)
    assert all(run.deployment_id for run in runs)
    deployments = client.read_deployments()
    assert {one.name for one in deployments} == {"here"}
    assert len(deployments) == 5
    [zombies] = client.read_automations_by_name("valle runs without a heartbeat have crashed")
    assert zombies.enabled


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")
def test_a_schedule_fires_a_run_fails_and_a_retry_makes_only_what_is_missing_and_another_is_ended(
    serve: Callable[..., Served], tmp_path: Path, prefect_home: Path
) -> None:
    from prefect.states import AwaitingRetry

    shutil.copytree(prefect_home, tmp_path / "prefect")
    write_corpus(tmp_path / "audio", a="pause one", b="pause wrong", c="pause three")
    served = serve("--cron", "* * * * * */10", "--set", "codes.pause=0.01")
    served.wait_for("sentence", lambda: "pipeline/here runs at" in served.log.read_text())
    with client_of(served) as client:
        assert_it_serves(served, client)

        def with_state(name: str) -> Any:
            return [run for run in client.read_flow_runs() if run.state_name == name]

        [first, *_] = served.wait_for("run that runs", lambda: with_state("Running"))
        client.pause_deployment(first.deployment_id)
        for late in client.read_flow_runs():
            if late.id != first.id:  # and would take its turn before the retry
                client.delete_flow_run(late.id)
        served.wait_for("run that fails", lambda: client.read_flow_run(first.id).state_name == "Failed")
        failed = client.read_flow_run(first.id)
        assert "1 shard failed, the first utterances/b: ValueError: these are no utterances" in failed.state.message
        assert failed.name == "toy"
        before = made(served.root)
        assert sorted(before) == ["codes/a", "codes/c", "examples/a", "examples/c", "utterances/a", "utterances/c"]

        write_corpus(tmp_path / "audio", b="pause right")
        client.set_flow_run_state(first.id, AwaitingRetry())  # what the button on Prefect's pages does
        served.wait_for("run that completes", lambda: client.read_flow_run(first.id).state_name == "Completed")
        assert client.read_flow_run(first.id).run_count == 2
        assert_made(made(served.root)[len(before) :], "utterances/b", "codes/b")

        served.begun.unlink()
        endless = {"settings": [*failed.parameters["settings"], "codes.poison=a#1 hangs"], "again": ["codes/a"]}
        client.create_flow_run_from_deployment(first.deployment_id, parameters=failed.parameters | endless)
        served.wait_for("shard that takes an hour", served.begun.exists)
    assert len(descendants(tmp_path)) > 2
    served.end()


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")
def test_it_serves_with_a_postgresql_too(serve: Callable[..., Served], tmp_path: Path, postgresql: str) -> None:
    write_corpus(tmp_path / "audio", a="pause one")
    served = serve("--cron", "0 3 1 1 *", PREFECT_API_DATABASE_CONNECTION_URL=postgresql)
    served.wait_for("sentence", lambda: "pipeline/here runs at" in served.log.read_text())
    with client_of(served) as client:
        assert_it_serves(served, client)
        run = client.create_flow_run_from_deployment(client.read_flow_runs()[0].deployment_id)
        served.wait_for("run that completes", lambda: client.read_flow_run(run.id).state_name == "Completed")
    assert_made(made(served.root), "utterances/a", "codes/a")
    assert not list((tmp_path / "prefect").glob("*.db")), "it is the one"
    served.end()
