"""What the tests of `samples` share: the stage in a small world, its rows, and a model that says what it is told."""

from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from model.valle.synthesis import Generated, Request
from tasks.samples import Samples
from tests.tasks.small_evaluation import PROMPT_SECONDS, Row, World
from warehouse.tables import SAMPLES

FRAMES = 75  # of a prompt of one second


def stage(world: World, **settings: Any) -> Samples:
    """The stage in a world, of prompts of a second."""
    chosen = {"min_seconds": 1.0, "prompt_seconds": PROMPT_SECONDS, "seeds": (0,), **settings}
    return Samples(**{**world.where(), **chosen})


def make(world: World, samples: Samples, fingerprint: str = "abcdef012345", shard: str = "all") -> list[Row]:
    """The rows of a shard."""
    folder = world.root / "samples" / fingerprint / shard
    table = samples(*(world.dataset(table) for table in samples.takes), shard=shard, folder=folder)
    assert table.schema == SAMPLES.schema
    rows: list[Row] = table.to_pylist()
    return rows


def speech(world: World, row: Row) -> NDArray[np.float32]:
    """A row's samples, `[num_samples]` at 24 kHz."""
    waveform, rate = soundfile.read(world.root / row["audio_path"], dtype="float32")
    assert rate == 24_000
    assert waveform.ndim == 1
    return np.asarray(waveform)


def by_system(rows: list[Row], system: str) -> list[Row]:
    """The rows of one system."""
    return [row for row in rows if row["system"] == system]


def saying(num_frames: int, finished: bool = True, heard: list[Request] | None = None) -> Any:
    """A model that says so much, the code 7 throughout, and remembers what it was asked."""

    def generate(_pair: object, requests: list[Request], *_: object, **__: object) -> list[Generated]:
        if heard is not None:
            heard.extend(requests)
        return [Generated(np.full((8, num_frames), 7, np.uint16), finished) for _ in requests]

    return generate
