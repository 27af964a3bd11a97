"""Options: the words that say what to make and where, and how they reach Prefect's flows."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.engine.recipe import Recipe
from flows.engine.site import Site, environment, load_site
from flows.terminal.output import say


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The words that say what to make, and where."""

    recipe: str = "demo"
    site: str | None = None
    root: str | None = None
    audio: str | None = None
    until: str | None = None
    settings: Sequence[str] = ()
    only: Sequence[str] | None = None
    again: Sequence[str] = ()
    verbose: bool = False

    def where(self) -> Site:
        """The site."""
        return load_site(self.site, root=self.root, audio=self.audio)

    def what(self) -> Recipe:
        """The recipe, with its settings put in.

        Raises:
            Mistake: a word is wrong.
        """
        from flows.recipes import load_recipe

        return load_recipe(self.recipe)[0].set(self.settings)


@contextmanager
def said_by_the_environment(site: Site) -> Iterator[None]:
    """Flows are given plain names; the folders of the command line reach them by the environment."""
    before = dict(os.environ)
    os.environ.update(environment(site))
    try:
        yield
    finally:
        for name in environment(site):
            os.environ.pop(name)
        os.environ.update({name: value for name, value in before.items() if name in environment(site)})


def quiet(root: Path, verbose: bool) -> None:
    """Prefect calls nobody, and says on the console only what a person asked for; the rest goes to a file."""
    for name, value in {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_FLOW_RUNS_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_TASK_RUNS_LEVEL": "INFO" if verbose else "CRITICAL",
    }.items():
        os.environ.setdefault(name, value)
    if verbose:
        say(f"logs lie in {root / 'logs'}")
