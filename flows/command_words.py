"""Words that commands share: the options that say where and what.

Heavy imports wait inside, so that help and SQL start at once.
"""

from collections.abc import Callable
from typing import Any

import click

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
