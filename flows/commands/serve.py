"""`valle serve`: the five flows as deployments of this machine, with a schedule of their own.

Whoever uses Prefect with workers deploys `deploy/prefect.yaml` instead; here one process does it all. A server that
somebody has named is used; without one, a lasting one with its pages is started beside us, and ends with us.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.commands.options import RunOptions, prefects_mistakes, quiet, said_by_the_environment
from flows.machine.namesakes import python_path
from flows.machine.prefect_server import lasting_server
from flows.terminal.output import say
from warehouse.errors import Mistake
from warehouse.working_copy import said as said_of

HERE = "here"  # what the deployments are called, as in `pipeline/here`


def serve(options: RunOptions, *, cron: str | None, timezone: str, limit: int, port: int) -> None:
    """Serve the flows until somebody ends it.

    Args:
        options: what the scheduled `pipeline` makes and where; what the other flows have as defaults, too.
        cron: when `pipeline` runs; without it, nothing runs by itself.
        timezone: of the cron.
        limit: runs at a time.
        port: of the server that is started where none is named.

    Raises:
        Mistake: a word, the cron or its time zone is wrong, or the server that somebody has named does not answer.
    """
    from flows.recipes import words

    site = options.where()
    recipe = options.what()
    recipe.until(options.until)
    said = words(options.recipe, options.site, options.settings, site.corpus, options.until)
    quiet(site.root, options.verbose)
    with said_by_the_environment(site), prefects_mistakes(site.root, needs_server=False):
        schedule = _schedule(cron, timezone) if cron else None
        with _server(port, site.root / "logs" / "prefect-server.log") as url:
            from flows.machine.zombies import end_zombies

            end_zombies()
            tags = ["valle", f"recipe:{recipe.name}", f"root:{said_of(site.root)}"]
            deployments = _deployments(said, schedule, tags)
            os.environ["PYTHONSAFEPATH"] = "1"  # runs look for us where we lie, whatever the current folder holds
            os.environ["PYTHONPATH"] = python_path(os.environ.get("PYTHONPATH", ""))
            next_ = _next(schedule) if schedule else "nothing is scheduled; `--cron` says when `pipeline` runs"
            sentences = f"serving {', '.join(f'{one.flow_name}/{HERE}' for one in deployments)} at {url}\n{next_}"
            _keep_serving(deployments, limit, sentences)


def _keep_serving(deployments: list[Any], limit: int, sentences: str) -> None:
    """Run what is due until somebody interrupts us. What is at work then ends with us, and schedules pause.

    Args:
        deployments: what is served.
        limit: runs at a time.
        sentences: what is said once the server knows the deployments.
    """
    from prefect.runner import Runner

    runner = Runner(limit=limit)
    for deployment in deployments:
        runner.add_deployment(deployment)
    say(sentences)
    # Prefect's own handler calls a coroutine that nobody awaits.
    runner.handle_sigterm = signal.getsignal(signal.SIGTERM)  # type: ignore[method-assign,assignment]
    asyncio.run(runner.start())


def _schedule(cron: str, timezone: str) -> Any:
    """A schedule of Prefect's.

    Raises:
        Mistake: it is none, names a time zone that there is not, or never fires.
    """
    from prefect.schedules import Cron
    from pydantic import ValidationError

    try:
        _next_date(cron, timezone)
    except (ValidationError, ValueError) as error:
        words = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        wrong = f"--timezone {timezone!r}" if "timezone" in words.lower() else f"--cron {cron!r}"
        raise Mistake(f"{wrong} cannot be used: {words.removeprefix('Value error, ')}") from error
    return Cron(cron, timezone=timezone)


def _next_date(cron: str, timezone: str) -> Any:
    """When it fires next."""
    from prefect.server.schemas.schedules import CronSchedule

    [date] = asyncio.run(CronSchedule(cron=cron, timezone=timezone).get_dates(1))
    return date


def _next(schedule: Any) -> str:
    date = _next_date(schedule.cron, schedule.timezone)
    return (
        f"pipeline/{HERE} runs at {schedule.cron!r} of {schedule.timezone}, next on {date:%Y-%m-%d %H:%M}; a time that "
        "was missed is not made up for, since a run makes all that is missing"
    )


def _deployments(said: dict[str, Any], schedule: Any, tags: list[str]) -> list[Any]:
    """The five, each one run at a time. Their code is what is installed."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.types.entrypoint import EntrypointType

    from flows import pipeline as flows

    what = {"recipe": said["recipe"], "site": said["site"] or "", "settings": said["settings"]}
    parameters: dict[str, dict[str, Any]] = {
        "pipeline": what | {"until": said["until"]},
        **dict.fromkeys(("prepare", "train", "evaluate"), what),
        "download": {"site": what["site"]},
    }
    return [
        getattr(flows, name).to_deployment(
            HERE,
            schedule=schedule if name == "pipeline" else None,
            parameters=own,
            tags=tags,
            concurrency_limit=ConcurrencyLimitConfig(
                limit=1,
                collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
                if name == "pipeline"
                else ConcurrencyLimitStrategy.ENQUEUE,
            ),
            paused=False,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for name, own in parameters.items()
    ]


@contextmanager
def _server(port: int, log: Path) -> Iterator[str]:
    """The address of the server that somebody has named, or of one that we start."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if named := PREFECT_API_URL.value():
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            if error := client.api_healthcheck():
                raise RuntimeError(f"Failed to reach API at {named}") from error
        yield named.removesuffix("/api")
        return
    with lasting_server(port, log) as url, temporary_settings({PREFECT_API_URL: f"{url}/api"}):
        os.environ["PREFECT_API_URL"] = f"{url}/api"  # for the runs' processes
        yield url
