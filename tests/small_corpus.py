"""Corpora of a few seconds, made in one call, and what `recordings` says of them."""

import json
import os
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import soundfile

from tasks.recordings import Recordings
from warehouse.tables import RECORDINGS

RATE = 16_000  # Hz
BOOK = "sea_fairies_0812_librivox_64kb_mp3"
ABOUT = {
    "speaker": "100",
    "book_meta": {"id": "812", "title": "The Sea Fairies", "meta_genre": "Literature", "Dramatic Readings": False},
    "snr": 5.391,
    "voice_activity": [[0.08, 0.8], [0.96, 1.6]],
    "file_length_sec": 2.0,
}


def audio(path: Path, seconds: float = 2.0) -> Path:
    """A tone, of another phase for each path: no two files sound exactly alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    phase = crc32(os.fsencode(path))
    soundfile.write(path, 0.5 * np.sin(np.arange(round(seconds * RATE)) / 20 + phase), RATE)
    return path


def chapter(root: Path, speaker: str = "100", name: str = "01_baum", subset: str = "small", **about: Any) -> Path:
    path = audio(root / subset / speaker / BOOK / f"{name}.flac")
    path.with_suffix(".json").write_text(json.dumps(ABOUT | {"speaker": speaker} | about))
    return path


def rows(stage: Recordings) -> dict[str, dict[str, Any]]:
    """Every row of every shard by its id, which no other row has."""
    made = [stage(shard) for shard in stage.shards()]
    assert all(table.schema == RECORDINGS.schema for table in made)
    found = [row for table in made for row in table.to_pylist()]
    by_id = {row["recording_id"]: row for row in found}
    assert len(by_id) == len(found)
    return by_id


def folder(root: Path, **settings: Any) -> Recordings:
    return Recordings(layout="folder", audio=root, **settings)


def librilight(root: Path, **settings: Any) -> Recordings:
    return Recordings(layout="librilight", audio=root, **settings)
