"""A real object store: SeaweedFS on this machine, with the keys and the folder of a test alone."""

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from warehouse.errors import Mistake
from warehouse.object_backend import ByObstore
from warehouse.objects import Unanswered

BUCKET = "warehouse"
WEED = Path(sys.executable).parent / "weed"


def _free_ports(number: int) -> list[int]:
    """Ports that are free, with those of gRPC 10,000 above them."""
    found: list[int] = []
    while len(found) < number:
        port = random.randrange(10_000, 22_000)  # below those that a system gives away
        with suppress(OSError):
            for one in (port, port + 10_000):
                with socket.socket() as taken:
                    taken.bind(("127.0.0.1", one))
            if port not in found:
                found.append(port)
    return found


[_PORT] = _free_ports(1)
ENVIRONMENT = {  # by which it is reached: Ray's workers get it when Ray starts, before there is a server
    "AWS_ACCESS_KEY_ID": "the-key-of-a-test",
    "AWS_SECRET_ACCESS_KEY": "the-secret-of-a-test",
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{_PORT}",
    "AWS_REGION": "us-east-1",
    "NO_PROXY": "127.0.0.1",
}


@contextmanager
def object_server(folder: Path) -> Iterator[None]:
    """Runs a server whose objects lie in a folder."""
    names = ("master", "filer", "volume", "admin", "s3.metrics")
    ports = dict(zip(names, _free_ports(len(names)), strict=True)) | {"s3": _PORT}
    words = [
        *(f"-dir={folder}", f"-bucket={BUCKET}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false"),
        *("-master.telemetry=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-metricsPort=0"),
        *(f"-{name}.port={ports[name]}" for name in ("master", "filer", "volume", "admin", "s3")),
        f"-s3.metricsPort={ports['s3.metrics']}",
    ]
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen(
            [WEED, "mini", *words], env=os.environ | ENVIRONMENT, stdout=log, stderr=log, cwd=folder
        )
        try:
            _wait(server, folder / "log.txt")
            yield
        finally:
            server.kill()
            server.wait()
            shutil.rmtree(folder, ignore_errors=True)


def _wait(server: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until the bucket can be written to."""
    os.environ |= ENVIRONMENT
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(Unanswered, Mistake):  # its port, its bucket, its volumes: it is up in this order
            ByObstore(f"s3://{BUCKET}").put("begun", b"yes", "overwrite")
            return
        time.sleep(0.2)
    raise TimeoutError(f"the object store does not start: {log.read_text(errors='replace')[-2000:]}")
