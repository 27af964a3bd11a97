"""Options: the words that say what to make and where, and how they reach Prefect's flows."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.engine.recipe import Recipe
from flows.engine.site import Site, environment, load_site
from flows.machine.folders import settle_home, settle_prefect
from flows.machine.prefect_server import ours_where_none_is_named
from flows.terminal.output import say
from warehouse.errors import Mistake


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
    """Prefect calls nobody, and says on the console only what a person asked for; the rest goes to a file.

    Where its home, or anybody's, cannot be used, a folder of the warehouse's logs is one.
    """
    settle_home(root / "logs" / "home")
    settle_prefect(root / "logs" / "prefect")
    for name, value in {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_FLOW_RUNS_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_TASK_RUNS_LEVEL": "INFO" if verbose else "CRITICAL",
    }.items():
        os.environ.setdefault(name, value)
    if verbose:
        say(f"logs lie in {root / 'logs'}")


@contextmanager
def prefects_mistakes(root: Path, *, needs_server: bool = True) -> Iterator[None]:
    """Prefect is imported and flows are run in here: its temporary server ends with us, its own troubles are sentences.

    Args:
        root: whose logs say what the server says.
        needs_server: start a temporary one where none is named.

    Raises:
        Mistake: it cannot be set up, or the server that somebody has named does not answer.
    """
    warnings.filterwarnings("ignore", "Setting .* is not recognized")  # by this version, in a profile of another's
    try:
        import prefect.context
    except Exception as error:
        words = " ".join(str(error).split())
        raise Mistake(f"Prefect cannot be set up: {type(error).__name__}: {words} ({_settings_files()})") from error
    (root / "logs").mkdir(parents=True, exist_ok=True)
    named = os.environ.get("PREFECT_API_URL")
    try:
        if needs_server:
            ours_where_none_is_named(root / "logs" / "prefect-server.log")
        yield
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        if named:
            raise Mistake(f"{error}: start Prefect's server, or unset PREFECT_API_URL to do without") from error
        profile = prefect.context.get_settings_context().profile.name
        raise Mistake(
            f"{error}: start Prefect's server, or do without by PREFECT_PROFILE=ephemeral; its address is said by "
            f"profile {profile!r} or another of Prefect's settings ({_settings_files()})"
        ) from error


def _settings_files() -> str:
    """The files that Prefect's settings are read from, of those that there are."""
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    files = [profiles, *(Path(name).absolute() for name in (".env", "prefect.toml", "pyproject.toml"))]
    return f"see {', '.join(str(path) for path in files if path.exists()) or 'its variables in the environment'}"
