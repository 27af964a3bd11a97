"""Namesakes: `tasks`, `model` and the like are common names, and what we import by them has to be ours.

Python looks first in the script's folder and in PYTHONPATH. A finder that stands before them knows our four packages
by the folder that this file lies in. This file imports nothing of ours, and is loaded by its path where our names
cannot be trusted yet.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

OURS = ("flows", "tasks", "model", "warehouse")
HOUSE = Path(__file__).absolute().parents[2]


class OursFirst:
    """Finds our packages in our folder, whoever else has one of the same name; the rest is found as ever."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The place of one of our packages."""
        return PathFinder.find_spec(name, [str(HOUSE)], target) if path is None and name in OURS else None


def ours_first() -> None:
    """From here on our names mean our packages, in this process.

    Raises:
        SystemExit: one of them has been imported already, and it is somebody else's.
    """
    for name in OURS:
        there = getattr(sys.modules.get(name), "__file__", None)
        if there and not Path(there).resolve().is_relative_to(HOUSE.resolve()):
            print(
                f"valle: {name} has been imported from {there}, and ours lies in {HOUSE}: rename that one, or take "
                f"it out of PYTHONPATH",
                file=sys.stderr,
            )
            sys.exit(2)
    if not any(getattr(finder, "__name__", "") == OursFirst.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, OursFirst)


def python_path(said: str, house: Path = HOUSE) -> str:
    """PYTHONPATH for processes that are to find ours: as it was, but behind our folder where it holds a namesake.

    Args:
        said: folders as PYTHONPATH names them; an empty one is the current folder.
        house: where we lie.
    """
    folders = [Path(folder or ".").absolute() for folder in said.split(os.pathsep)] if said else []
    before = folders[: folders.index(house)] if house in folders else folders
    strangers = any(PathFinder.find_spec(name, [str(folder)]) for folder in before for name in OURS)
    return os.pathsep.join([str(house), said]) if strangers else said
