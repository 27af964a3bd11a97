"""The README tells the truth: its commands, options, views and files are there."""

import re
from pathlib import Path

import click
import pytest

from flows.cli import valle
from flows.recipes import RECIPES
from tests.readme_tree import with_tree
from warehouse.statistics import VIEWS
from warehouse.tables import TABLES

HOUSE = Path(__file__).parents[1]
README = (HOUSE / "README.md").read_text()


def commands() -> list[str]:
    """Every `valle …` in the README, as written."""
    return sorted({found.strip() for found in re.findall(r"`valle ([a-z][^`]*)`", README)})


def find(words: list[str]) -> click.Command:
    command: click.Command = valle
    while isinstance(command, click.Group) and words:
        command = command.commands[words.pop(0)]
    return command


@pytest.mark.parametrize("words", commands())
def test_a_command_of_the_readme_exists_with_its_options(words: str) -> None:
    command = find(re.findall(r"[a-z]+", words.split("[")[0])[:2])
    known = {name for option in [*command.params, *valle.params] for name in option.opts}
    assert set(re.findall(r"--[a-z0-9-]+", words)) <= known


def test_every_command_is_in_the_readme() -> None:
    for name, command in valle.commands.items():
        for path in [f"{name} {sub}" for sub in command.commands] if isinstance(command, click.Group) else [name]:
            assert f"`valle {path}" in README, path


def test_every_recipe_view_and_folder_is_in_the_readme() -> None:
    for word in RECIPES:
        assert f"| `{word}` |" in README
    for view in set(VIEWS) - {"refusals", "funnel_at_a_glance"}:
        assert f"`{view}`" in README, view
    for table in TABLES:
        assert table.name in README
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (HOUSE / path).exists(), path


def test_the_two_commands_are_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (HOUSE / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)) == {"demo", "test"} <= targets


def test_what_the_pages_and_the_ci_make_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (HOUSE / "Makefile").read_text(), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        made = set(re.findall(r"(?:^|`)make ([a-z-]+)", (HOUSE / name).read_text(), re.MULTILINE))
        assert {"demo", "test"} <= made <= targets, name


def test_the_tree_is_made_of_the_first_sentences_of_the_modules() -> None:
    assert with_tree(README) == README, "a file was moved, or tells another first sentence: python -m tests.readme_tree"
