"""What the tests of `valle say` share: a spoken warehouse, the command, and a model and a Whisper that cost nothing."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.conftest import Said

if TYPE_CHECKING:  # else every test of a flow would wait for torch
    from model.valle.synthesis import Generated, Request
    from tests.flows.spoken_warehouse import Say
    from tests.tasks.small_evaluation import World


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> "World":
    """The warehouse, which no test may change."""
    from tests.flows import spoken_warehouse

    return spoken_warehouse.make(tmp_path_factory.mktemp("spoken"))


@pytest.fixture
def world(spoken: "World", tmp_path: Path) -> "World":
    """A copy of the warehouse that a test may change."""
    from warehouse.catalogue import Catalogue

    root = tmp_path / "root"
    shutil.copytree(spoken.root, root)
    Catalogue(root).take_up()  # its views name the folder
    return type(spoken)(root, {name: list(rows) for name, rows in spoken.tables.items()}, spoken.codec)


@pytest.fixture
def say(
    valle: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> "Say":
    """Runs `valle say` in a folder of its own, on a copy of the warehouse unless another root is named."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *words, root=None: valle("say", *words, "--root", root or request.getfixturevalue("world").root)


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> "list[Request]":
    """What the model is asked for; it answers 15 frames and ends."""
    from model.valle import synthesis
    from model.valle.synthesis import Generated

    asked: list[Request] = []

    def generate(_pair: object, requests: "Sequence[Request]", *_: Any, **__: Any) -> "list[Generated]":
        asked.extend(requests)
        return [Generated(np.full((8, 15), 7, np.uint16), True) for _ in requests]

    monkeypatch.setattr(synthesis, "generate", generate)
    return asked


@pytest.fixture
def hears(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples Whisper is given each time; it hears the short sentence."""
    from model.asr import recognition
    from tests.tasks.small_evaluation import SHORT

    heard: list[int] = []

    def transcribe(_model: object, waveforms: Sequence[Any], **_: Any) -> list[SimpleNamespace]:
        heard.extend(len(waveform) for waveform in waveforms)
        return [SimpleNamespace(text=SHORT)]

    monkeypatch.setattr(recognition, "transcribe", transcribe)
    return heard
