"""Ray, started where it can be: in a folder whose path is short, with workers that import what this process would."""

import os
from typing import Any

from flows.machine.folders import folder_for_ray
from flows.machine.namesakes import python_path
from flows.machine.signals import are_heeded, heed_again


def start_ray(address: str, **room: Any) -> None:
    """Start a local Ray, or join a cluster.

    Ray would have its workers look for modules in the current folder, before all others. This process does not look
    there, and somebody's folder may hold a `random.py` or a `whisper/`. Ray would also end this process on SIGTERM in
    its own way.

    Args:
        address: `local`, `auto` or `host:port`.
        room: of a local Ray: `object_store_memory` and the like.

    Raises:
        Mistake: there is no folder for its sockets.
    """
    import ray
    from ray._private import utils
    from ray.job_config import JobConfig

    class NoFolder(JobConfig):  # type: ignore[misc]
        """A job that hands no folder on, as one does whose folder is a package of its own."""

        def _runtime_env_has_working_dir(self) -> bool:
            return True

    if address == "local":
        room["_temp_dir"] = folder_for_ray()
    said = os.environ.get("PYTHONPATH", "")
    if (needed := python_path(said)) != said:
        os.environ["PYTHONPATH"] = needed
    theirs = utils.set_sigterm_handler
    if are_heeded():
        utils.set_sigterm_handler = lambda _handler: None
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", job_config=NoFolder(), **room)
    finally:
        utils.set_sigterm_handler = theirs
        heed_again()  # of what its core, which is no Python, has taken over
