"""One run on a machine that has everything against it."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flows.machine.ray_start import start_ray
from tests.conftest import TOY
from tests.toy import write_corpus
from warehouse.errors import Mistake
from warehouse.query import select

NAMESAKES = ("tasks", "flows", "model/__init__", "warehouse/__init__")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_in_a_hostile_place(tmp_path: Path, prefect_home: Path) -> None:
    """Somebody's own modules, a dead proxy, a long TMPDIR, no home, no name, few files, no streams, no network."""
    shutil.copytree(prefect_home, tmp_path / "root" / "logs" / "home" / ".prefect")  # books take long to make
    for name in (*NAMESAKES, "here/random", "here/pyarrow"):
        for place in ("mine", "here"):
            path = tmp_path / place / f"{name.removeprefix('here/')}.py"
            if place == "here" or not name.startswith("here/"):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"raise RuntimeError('{name} of {place}')")
    long = tmp_path / ("x" * 90)
    long.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("USER", "LOGNAME")} | {
        "PYTHONPATH": str(tmp_path / "mine"),
        "HTTP_PROXY": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "ALL_PROXY": "nonsense://",
        "NO_PROXY": "fd00::/8,[::1]",
        "TMPDIR": str(long),
        "HOME": "/proc/nowhere",
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
    }
    corpus = write_corpus(tmp_path / "corpus", a="pause one three", b="pause i seven")
    valle = Path(sys.executable).parent / "valle"
    alone = "unshare --net sh -c 'ip link set lo up && exec \"$@\"' sh "  # which not every user may
    may = subprocess.run(["bash", "-c", f"{alone} true"], capture_output=True, check=False).returncode == 0
    words = f"run --recipe {TOY} --audio {corpus} --root {tmp_path / 'root'}"
    command = f"ulimit -n 256; exec {alone if may else ''}{valle} {words}"
    ended = subprocess.run(
        ["bash", "-c", f"{command} <&- >&- 2>&-"], cwd=tmp_path / "here", env=environment, check=False
    )
    logs = tmp_path / "root" / "logs"
    said = "\n".join(path.read_text(errors="replace") for path in logs.glob("*.*")) if logs.is_dir() else "nothing"
    assert ended.returncode == 0, said
    assert [row["frames"] for row in select(tmp_path / "root", "from totals").to_pylist()] == [13]


def test_a_local_ray_starts_no_process_that_nobody_asks_anything_of(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.node import Node

    started: list[str] = []
    names = ("start_monitor", "start_log_monitor", "start_api_server", "start_gcs_server")
    for name in names:
        monkeypatch.setattr(Node, name, lambda *_, name=name, **__: started.append(name))

    def init(**_: object) -> None:
        node = object.__new__(Node)
        for name in names:
            getattr(node, name)(**{"include_dashboard": False} if name == "start_api_server" else {})

    monkeypatch.setattr("ray.init", init)
    start_ray("local")
    assert started == ["start_gcs_server"]
    Node.start_monitor(None)
    assert started[1:] == ["start_monitor"], "whoever starts a Ray of their own has all of it"


def test_a_cluster_that_is_not_there_is_said_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"  # nobody listens
        with pytest.raises(Mistake, match=f"ray_address is '{address}', and nobody answers there"):
            start_ray(address)


def test_a_cluster_of_another_version_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.11.7")

    monkeypatch.setattr("ray.init", refuse)
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        with pytest.raises(Mistake, match="cannot join a cluster there .*started with: Ray: 2.59.0") as error:
            start_ray(f"127.0.0.1:{head.getsockname()[1]}")
    assert "\n" not in str(error.value)
