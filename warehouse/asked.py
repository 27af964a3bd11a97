"""What recipes asked for when they last ran: `recipes/<name>.json`, which views, status and rerun follow."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.copies import keep
from warehouse.fingerprint import short_hash
from warehouse.plan import Wanted, from_json, to_json
from warehouse.store import write_atomically
from warehouse.working_copy import objects_of, send

FOLDER = "recipes"


@dataclass(frozen=True)
class LastRun:
    """What the last run of a recipe asked for."""

    name: str
    options: dict[str, Any]  # the words it was asked with: recipe, settings, audio, …
    stages: list[Wanted]
    ran_at: float  # seconds since 1970

    @property
    def digest(self) -> str:
        """Of the stages: what the catalogue's views are made of."""
        return short_hash(json.dumps(to_json(self.stages), sort_keys=True))


def remember(root: Path, name: str, stages: list[Wanted], options: dict[str, Any]) -> None:
    """Writes down what a recipe asks for now."""
    said = {"name": name, "ran_at": time.time(), "options": options, "stages": to_json(stages)}
    path = root / FOLDER / f"{name}.json"
    write_atomically(path, json.dumps(said, indent=1).encode())
    send(path)


def runs(root: Path) -> Iterator[tuple[Path, LastRun | None]]:
    """What each recipe's last run asked for; null where its file is damaged."""
    paths = sorted((root / FOLDER).glob("[!.]*.json"))
    if objects := objects_of(root):
        paths = [keep(root / name, objects.get(name)) for name in sorted(objects.list(FOLDER))]
    for path in paths:
        try:
            said = json.loads(path.read_bytes())
            yield path, LastRun(said["name"], said["options"], from_json(said["stages"]), float(said["ran_at"]))
        except (ValueError, KeyError, TypeError):
            yield path, None


def last_run(root: Path) -> LastRun | None:
    """Of the runs that can be read; a full disk may have damaged what another has left."""
    return max((run for _, run in runs(root) if run), key=lambda run: run.ran_at, default=None)
