"""Prefect's server, where nobody has named one: it ends with the command that it was started for, however that ends.

Prefect starts one where none is named, as a child that it stops when Python goes down, and imports all of a server into
the command to do so. A `kill -9` of the command leaves it behind, a signal to the whole process group takes it away too
soon, and it imports what lies in the current folder. So it is started otherwise: by this file, which imports nothing of
ours, in a session of its own, deaf to signals, and with a pipe as its standard input. The pipe ends with the command,
and the server with the pipe.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

PATIENCE = 4.0  # seconds for it to stop; Prefect waits five
PORT_TAKEN = 3  # an exit code: somebody was faster, and another port is tried
TEMPORARY = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}  # as Prefect's


class Server(subprocess.Popen[bytes]):
    """The server's process."""

    def terminate(self) -> None:
        """Close its pipe, which is the one thing that it heeds."""
        if self.stdin:
            self.stdin.close()


def ours_where_none_is_named(log: Path) -> None:
    """Start a temporary server that ends with this process, unless Prefect knows one; what it says goes to `log`.

    Raises:
        Mistake: it does not start.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

    if PREFECT_API_URL.value() or not PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        return
    server: Server | None = None
    while server is None or server.poll() == PORT_TAKEN:
        port = _free_port()
        server = _start(port, log, TEMPORARY)
    atexit.register(_end, server)  # behind what Prefect registers later, which still has something to say to it
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    refresh_global_settings_context()  # which is what threads see that nobody handed a context


@contextmanager
def lasting_server(port: int, log: Path) -> Iterator[str]:
    """A server with its pages and its schedules, while the block lasts: its address. What it says goes to `log`.

    Raises:
        Mistake: it does not start, or the port is somebody else's.
    """
    from warehouse.errors import Mistake

    url = f"http://127.0.0.1:{port}"
    try:
        _place(port).close()
    except OSError as error:
        raise Mistake(
            f"port {port} is taken; `--port` says another, and if a Prefect server listens there, "
            f"PREFECT_API_URL={url}/api uses it"
        ) from error
    with _start(port, log, {"PREFECT_API_URL": f"{url}/api"}) as process:
        try:
            yield url
        finally:
            process.terminate()


def _start(port: int, log: Path, own: dict[str, str]) -> Server:
    """Start one, and wait until it answers or has found its port taken; `own` is more of its environment."""
    from prefect.settings import get_current_settings

    said = get_current_settings().to_environment_variables(exclude_unset=True)
    with log.open("ab") as file:
        process = Server(
            [sys.executable, "-P", __file__, str(port)],
            env={**os.environ, **said, **own},
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    _wait_for(process, port, log)
    return process


def _wait_for(process: Server, port: int, log: Path) -> None:
    """Wait until it answers. Prefect's own waiting takes a first answer of more than five seconds for an error."""
    from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS as PATIENCE_TO_START

    from warehouse.errors import Mistake

    until = time.monotonic() + PATIENCE_TO_START.value()
    while process.poll() is None and time.monotonic() < until:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)  # which knows no proxies
        try:
            connection.request("GET", "/api/health")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            time.sleep(0.1)
        finally:
            connection.close()
    if process.poll() != PORT_TAKEN:
        process.kill()
        raise Mistake(f"Prefect's temporary server does not start; {log} says why")


def serve(port: int) -> None:
    """Serve until standard input ends. Runs in a process of its own."""
    import uvicorn

    class DeafServer(uvicorn.Server):
        """Whoever signals a whole group of processes, or a terminal, does not mean the server."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    app = "prefect.server.api.server:create_app"
    server = DeafServer(uvicorn.Config(app, factory=True, log_level="error", lifespan="on"))
    threading.Thread(target=_end_with_the_pipe, args=(server,), daemon=True).start()
    try:
        place = _place(port)
    except OSError:
        os._exit(PORT_TAKEN)
    with suppress(SystemExit):  # it exits where it cannot start, which the thread that reads would make an abort
        server.run(sockets=[place])  # which listens when there is somebody to answer
    os._exit(0 if server.started else 1)


def _free_port() -> int:
    with _place(0) as place:
        return int(place.getsockname()[1])


def _end(server: Server) -> None:
    """Have it stop, and wait for that: the next command's server keeps the same books."""
    server.terminate()
    try:
        server.wait(PATIENCE + 1)
    except subprocess.TimeoutExpired:
        server.kill()


def _place(port: int) -> socket.socket:
    """A socket at a port of this machine, for nobody else."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind(("127.0.0.1", port))
    except OSError:
        place.close()
        raise
    return place


def _end_with_the_pipe(server: Any) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True
    time.sleep(PATIENCE)
    os._exit(0)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
