"""Ray, started where it can be: in a folder whose path is short, with workers that import what this process would."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from flows.machine.folders import folder_for_ray
from flows.machine.namesakes import python_path
from flows.machine.signals import are_heeded, heed_again
from warehouse.errors import Mistake, WorkFailed

ANSWERS_WITHIN = 10.0  # seconds
PATIENCE = 150.0  # seconds that Ray's first node may take to start, rather than its own 30: a machine may be busy


def start_ray(address: str, **room: Any) -> None:
    """Start a local Ray, or join a cluster.

    Ray would have its workers look for modules in the current folder, before all others. This process does not look
    there, and somebody's folder may hold a `random.py` or a `whisper/`. Ray would also end this process on SIGTERM in
    its own way.

    Args:
        address: `local`, `auto` or `host:port`.
        room: of a local Ray: `object_store_memory` and the like.

    Raises:
        Mistake: there is no folder for its sockets, or no cluster at this address, or one of another version of Ray.
        WorkFailed: it does not start.
    """
    import ray
    from ray.job_config import JobConfig

    class NoFolder(JobConfig):  # type: ignore[misc]
        """A job that hands no folder on, as one does whose folder is a package of its own."""

        def _runtime_env_has_working_dir(self) -> bool:
            return True

    is_local = address == "local"
    if is_local:
        room["_temp_dir"] = folder_for_ray()
    else:
        _check_that_somebody_answers(address)
    said = os.environ.get("PYTHONPATH", "")
    if (needed := python_path(said)) != said:
        os.environ["PYTHONPATH"] = needed
    try:
        with _in_our_way(), _bare() if is_local else nullcontext():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", job_config=NoFolder(), **room)
    except Exception as error:
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if is_local:
            logs = f"{room['_temp_dir']}/session_latest/logs"
            raise WorkFailed(f"Ray does not start ({words}); its logs lie in {logs}, and nothing is lost") from error
        raise Mistake(f"site key ray_address is {address!r}, and Ray cannot join a cluster there ({words})") from error


def _check_that_somebody_answers(address: str) -> None:
    """Ray itself would ask for minutes at an address where nobody is."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return  # `auto`
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN).close()
    except OSError as error:
        words = f"nobody answers there ({error.strerror or error})"
        raise Mistake(f"site key ray_address is {address!r}, and {words}: start Ray's head, or mend the key") from error


@contextmanager
def _in_our_way() -> Iterator[None]:
    """Ray's start, without its own handlers of SIGTERM and its impatience."""
    from ray._private import services, utils

    handlers, get_node = utils.set_sigterm_handler, services.get_node
    services.get_node = _patient(get_node)
    if are_heeded():
        utils.set_sigterm_handler = lambda _handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler, services.get_node = handlers, get_node
        heed_again()  # of what its core, which is no Python, has taken over


@contextmanager
def _bare() -> Iterator[None]:
    """A local Ray without what nobody asks of it: an autoscaler, a dashboard, and what carries logs to the driver.

    Each is a process of Python's that is imported, waited for and then polls as long as the run lasts.
    """
    from ray._private.node import Node

    def no_dashboard(node: Any, **_: object) -> None:
        node._webui_url = ""

    theirs = {name: getattr(Node, name) for name in ("start_api_server", "start_log_monitor", "start_monitor")}
    Node.start_api_server = no_dashboard
    Node.start_log_monitor = Node.start_monitor = lambda _node: None
    try:
        yield
    finally:
        for name, start in theirs.items():
            setattr(Node, name, start)


def _patient(ask: Callable[..., Any]) -> Callable[..., Any]:
    """A question that is asked again while it is too early for an answer."""

    def asked(*words: Any, **more: Any) -> Any:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return ask(*words, **more)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    return asked
