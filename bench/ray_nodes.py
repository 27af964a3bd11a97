"""A Ray cluster on one machine: a head without CPUs, and nodes that come and go, each a raylet of its own.

It is kept by a process of its own, so whoever asks for it may have another Ray, or none; its ports and its folder are
its own, and it ends with the pipe that it hears. `auto` finds it nowhere.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

OBJECT_STORE = 80 << 20  # bytes, of each node
SOON = {  # a node that does not answer is given up after some four seconds, rather than fifteen
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "2",
}
OPEN = {"RAY_AUTH_MODE": "disabled"}  # what whoever joins by the address has to have in the environment, too
_SAYS = "node: "  # how a line begins that is meant for us


class RayNodes:
    """A context manager: the cluster, with its head and no other node."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self._folder = tempfile.mkdtemp(prefix="valle-ray-", dir="/tmp")  # sockets want a short path
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.ray_nodes", self._folder],
            cwd=Path(__file__).parents[1],
            env={**os.environ, **(environment or {}), **OPEN, **SOON, "RAY_TMPDIR": self._folder},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._hear()

    def add(self, cpus: int = 2) -> int:
        """Another node, once it is there: the process of its raylet."""
        assert self._process.stdin
        print(cpus, file=self._process.stdin, flush=True)
        return int(self._hear())

    def kill(self, raylet: int) -> None:
        """`kill -9` of a node's raylet; its workers go on answering for some seconds, until they miss it."""
        os.kill(raylet, signal.SIGKILL)

    def _hear(self) -> str:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(_SAYS):
                return line.removeprefix(_SAYS).strip()
        raise RuntimeError("the cluster has ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)


def main() -> None:
    """Keep a cluster until standard input ends; each line of it is the CPUs of a node to add."""
    from ray.cluster_utils import Cluster

    folder = Path(sys.argv[1], "ray")  # where Ray, too, would put the address, by RAY_TMPDIR
    folder.mkdir()
    own: dict[str, Any] = {"include_dashboard": False, "temp_dir": str(folder), "object_store_memory": OBJECT_STORE}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **own})
    try:
        print(f"{_SAYS}{cluster.address}", flush=True)
        for line in sys.stdin:
            node = cluster.add_node(num_cpus=int(line), object_store_memory=OBJECT_STORE)
            [raylet] = node.all_processes["raylet"]
            print(f"{_SAYS}{raylet.process.pid}", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
