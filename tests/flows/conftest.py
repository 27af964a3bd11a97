"""What the tests of `valle say` share: a spoken warehouse, the command, and a model and a Whisper that cost nothing."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model import asr, synthesis
from model.synthesis import Generated, Request
from tests.conftest import Said
from tests.flows import spoken_warehouse
from tests.flows.spoken_warehouse import Say
from tests.tasks.evaluation import SHORT, World
from warehouse.catalogue import Catalogue


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The warehouse, which no test may change."""
    return spoken_warehouse.make(tmp_path_factory.mktemp("spoken"))


@pytest.fixture
def world(spoken: World, tmp_path: Path) -> World:
    """A copy of the warehouse that a test may change."""
    root = tmp_path / "root"
    shutil.copytree(spoken.root, root)
    Catalogue(root).rebuild()
    return World(root, {name: list(rows) for name, rows in spoken.tables.items()}, spoken.codec)


@pytest.fixture
def say(valle: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, world: World) -> Say:
    """Runs `valle say` in a folder of its own, on the warehouse unless another root is named."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *words, root=world.root: valle("say", *words, "--root", root)


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What the model is asked for; it answers 15 frames and ends."""
    asked: list[Request] = []

    def generate(_pair: object, requests: Sequence[Request], *_: Any, **__: Any) -> list[Generated]:
        asked.extend(requests)
        return [Generated(np.full((8, 15), 7, np.uint16), True) for _ in requests]

    monkeypatch.setattr(synthesis, "generate", generate)
    return asked


@pytest.fixture
def hears(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples Whisper is given each time; it hears the short sentence."""
    heard: list[int] = []

    def transcribe(_model: object, waveforms: Sequence[Any], **_: Any) -> list[SimpleNamespace]:
        heard.extend(len(waveform) for waveform in waveforms)
        return [SimpleNamespace(text=SHORT)]

    monkeypatch.setattr(asr, "transcribe", transcribe)
    return heard
