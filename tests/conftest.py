"""What the tests share. Prefect's server and Ray start once in a process, for the tests that ask for them."""

import atexit
import fcntl
import os
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.machine.standard_streams import hush_leaks

atexit.register(hush_leaks)
os.environ |= {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # or workers would wait for whatever else the machine does, and their tests for them
    "OMP_NUM_THREADS": "1",
}
for name in ("VALLE_ROOT", "VALLE_AUDIO"):
    os.environ.pop(name, None)

SPEECH = Path(__file__).parents[2] / "shared" / "speech"
Said = tuple[int, str, str]  # exit code, standard output, standard error
TOY = f"{Path(__file__).parent / 'toy.py'}:toy"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Every other process collects from the end: in a fresh checkout each then compiles half of the tests."""
    report = yield
    if isinstance(collector, pytest.Directory) and os.environ.get("PYTEST_XDIST_WORKER", "gw0")[-1] in "13579":
        report.result.reverse()
    return report


@pytest.hookimpl(tryfirst=True)  # before `-m` looks for its markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For `--dist loadgroup`: what shares something goes to one process, and so does a file.

    That is Prefect's server and Ray, of which each process has its own, or the trained pair. Slow tests that need the
    server and no Ray go to one process, too, perhaps to the other. Groups come by their longest time limit, and then
    by their number of tests, so that no long one is left for the end. A test that may take longer than all others is
    slow, and one of Prefect's or Ray's is one of integration.
    """
    items.sort(key=lambda item: item.path)  # stable: all processes have one order
    groups: dict[str, list[pytest.Item]] = defaultdict(list)
    usual = float(config.getini("timeout"))
    engines = dict.fromkeys(("engine 1", "engine 2"), 0)
    home: dict[Path, str] = {}
    for item in items:
        if any(mark.args[0] > usual for mark in item.iter_markers("timeout")):
            item.add_marker(pytest.mark.slow)
        name, needs = str(item.path), {"prefect_server", "ray_here", "learned"} & set(getattr(item, "fixturenames", ()))
        if "learned" in needs:
            name = "learned"
        elif "ray_here" not in needs and item.get_closest_marker("slow") and needs:
            name = "server"
        elif needs:
            name = home.setdefault(item.path, min(engines, key=engines.__getitem__))
            engines[name] += not item.get_closest_marker("slow")
        if needs - {"learned"}:
            item.add_marker(pytest.mark.integration)
        item.add_marker(pytest.mark.xdist_group(name))
        groups[name].append(item)

    def size(group: list[pytest.Item]) -> tuple[float, int]:
        limits = [mark.args[0] for item in group for mark in item.iter_markers("timeout")]
        return max(limits, default=0), len(group)

    items[:] = [item for group in sorted(groups.values(), key=size, reverse=True) for item in group]


@pytest.fixture(scope="session")
def speech() -> Path:
    """Real recorded speech beside the checkout; without it the test is skipped."""
    if not SPEECH.is_dir():
        pytest.skip("no recorded speech beside this checkout")
    return SPEECH


@contextmanager
def _kept_for_prefect(config: pytest.Config) -> Iterator[Path]:
    """Where a home of Prefect's is, or is to be made by whoever is here first: one for all processes of a run.

    It is kept for the next run beside what pytest keeps.
    """
    from prefect import __version__

    folder = config.rootpath / ".pytest_cache" / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(folder / "begun", ignore_errors=True)
        yield folder / __version__


def _server(log: Path, own: dict[str, str]) -> tuple[int, Any]:
    """A server of Prefect's at a port that was free, and still is."""
    from flows.machine import prefect_server

    while True:
        port = prefect_server._free_port()
        server = prefect_server._start(port, log, own)
        if server.poll() != prefect_server.PORT_TAKEN:
            return port, server


@pytest.fixture(scope="session")
def prefect_home(pytestconfig: pytest.Config) -> Path:
    """A home of Prefect's, to be copied: a server takes longer to make new books than for all else at its start."""
    from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings

    from flows.machine import prefect_server

    with _kept_for_prefect(pytestconfig) as home:
        if not home.exists():
            begun = home.with_name("begun")
            own = prefect_server.TEMPORARY | {"PREFECT_HOME": str(begun)}
            with temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 280}):
                _, server = _server(home.with_name("log"), own)
            prefect_server._end(server)
            begun.rename(home)
    return home


@pytest.fixture(scope="session")
def prefect_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Prefect server of the tests' own, started as a command's is; Prefect's harness would import all of one here.

    Where there is no home of Prefect's yet, its new books make one.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOCAL_STORAGE_PATH,
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
        temporary_settings,
    )

    from flows.machine import prefect_server

    own = tmp_path_factory.mktemp("prefect")
    quick: dict[Any, Any] = {
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # else every flow takes a second to end
        PREFECT_LOCAL_STORAGE_PATH: tmp_path_factory.mktemp("results"),
    }
    with _kept_for_prefect(pytestconfig) as home:
        for book in home.glob("prefect.db*"):
            shutil.copy(book, own)
        with temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 280}):
            port, server = _server(own / "log", prefect_server.TEMPORARY | {"PREFECT_HOME": str(own)})
        quick[PREFECT_API_URL] = f"http://127.0.0.1:{port}/api"
        atexit.register(prefect_server._end, server)  # behind what Prefect registers later
        if not home.exists():
            begun = home.with_name("begun")
            begun.mkdir()
            with (
                closing(sqlite3.connect(own / "prefect.db")) as ours,
                closing(sqlite3.connect(begun / "prefect.db")) as theirs,
            ):
                ours.backup(theirs)
            begun.rename(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", quick[PREFECT_API_URL])
        refresh_global_settings_context()  # which is what threads see that nobody handed a context
    with temporary_settings(quick):
        yield


@pytest.fixture
def prefect_address(prefect_server: None) -> dict[str, str]:
    """The variables by which a command in a process of its own tells that server of its runs, and starts none."""
    from prefect.settings import PREFECT_API_URL

    return {"PREFECT_API_URL": str(PREFECT_API_URL.value())}


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """A local Ray with two CPUs, whose workers go from run to run; as bare as a run's own."""
    import ray

    from flows.machine.ray_start import _bare
    from tests.object_server import ENVIRONMENT
    from tests.parked import parked

    os.environ |= ENVIRONMENT
    with _bare():
        ray.init(address="local", num_cpus=2, log_to_driver=False, object_store_memory=200_000_000)
    with parked():
        yield
    ray.shutdown()


@pytest.fixture
def pipeline(
    prefect_server: None, ray_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, int]]:
    """Runs the toy pipeline: corpus in `tmp_path/audio`, warehouse in `tmp_path/root`. Retries wait for nothing.

    `keys` are more lines of its site.
    """
    from flows.pipeline import pipeline as flow

    site = tmp_path / "site.toml"
    here = f'root = "{tmp_path}/root"\naudio = "{tmp_path}/audio"\ndevice = "cpu"\nretry_delay_seconds = 0.0\n'

    def run(recipe: str = TOY, max_failed_share: float = 0.0, keys: str = "", **words: Any) -> dict[str, int]:
        site.write_text(f"{here}max_failed_share = {max_failed_share}\n{keys}")
        return flow(recipe=recipe, site=str(site), **words)

    return run


@pytest.fixture
def valle(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Runs one command in this process."""
    from flows.cli import main

    monkeypatch.setattr("flows.cli.atexit.register", lambda _: None)

    def run(*words: object) -> Said:
        monkeypatch.setattr("sys.argv", ["valle", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run
