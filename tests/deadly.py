"""A recipe whose recordings and utterances kill the workers that take them up, where their name says so."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flows.engine.recipe import Recipe
from tasks.corpora.listing import Entry
from tasks.recordings import Recordings
from tasks.utterances import Utterances


@dataclass(frozen=True, kw_only=True)
class DeadlyRecordings(Recordings):
    """Opening a file called `deadly` is the end."""

    def _heard(self, entry: Entry) -> dict[str, Any]:
        if "deadly" in entry.path:
            os.abort()
        return super()._heard(entry)


@dataclass(frozen=True, kw_only=True)
class DeadlyUtterances(Utterances):
    """Cutting a recording called `endless` is the end."""

    def _rows(self, recording: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "endless" in recording["recording_id"]:
            os.abort()
        return super()._rows(recording)


def deadly() -> Recipe:
    """Recordings and utterances."""
    return Recipe((DeadlyRecordings(layout="folder"), DeadlyUtterances()))
