"""Words that commands share: the options that say where and what, and how rows are shown.

Heavy imports wait inside, so that help and SQL start at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from warehouse.working_copy import root_at

Command = Callable[..., Any]


def where(command: Command) -> Command:
    """The options of every command on a warehouse."""
    root = click.option("--root", envvar="VALLE_ROOT", help="The warehouse. Default: ./warehouse-data.")
    site = click.option("--site", help="A site: TOML that says where things are.")
    return root(site(command))


def what(command: Command) -> Command:
    """The options that say what to make."""
    for option in (
        click.option("--set", "settings", multiple=True, metavar="STAGE.FIELD=VALUE", help="Change a setting."),
        click.option("--until", metavar="TABLE", help="The last table to make. Default: all."),
        click.option("--audio", envvar="VALLE_AUDIO", help="Where the corpus lies. Default: audio under the root."),
        click.option("--recipe", default="demo", show_default=True, help="A name, or FILE.py:FUNCTION."),
    ):
        command = option(command)
    return where(command)


def show(rows: Any, format_: str, nothing: str = "", output: str | None = None) -> None:
    """Rows to standard output or a file."""
    from flows.terminal.output import render, say

    if nothing and not rows and format_ != "json":
        say(nothing)
        return
    text = render(rows, format_)
    if output:
        Path(output).write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)


def select(root: str | None, site: str | None, query: str, at: str | None = None) -> Any:
    """The rows of one SELECT over a warehouse's catalogue, or over one of its commits."""
    from warehouse.query import select as answer

    return answer(root_of(root, site), query, at)


def root_of(root: str | None, site: str | None) -> Path:
    """The warehouse, as the command line and the site say."""
    if not site:
        return root_at(root or "warehouse-data")
    from flows.engine.site import load_site  # reads TOML with pydantic, which takes longer than the query

    return load_site(site, root=root).root
