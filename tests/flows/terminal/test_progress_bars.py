"""What is said while a table is made."""

import time
from pathlib import Path

import pytest

from flows.terminal.progress_bars import Progress
from model.training.training_log import Journal, Line, how_far


def test_long_work_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Progress, "EVERY", 0.01)
    asked: list[int] = []

    def look() -> list[str]:
        asked.append(1)
        return [f"checkpoints/ar: step {len(asked)}"]

    progress = Progress("checkpoints", "f1", 0, look)
    progress.expect(1)
    while len(asked) < 3:
        time.sleep(0.01)
    progress.advance(1, 0)
    progress.end()
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["checkpoints/ar: step 1", "checkpoints/ar: step 2"]
    assert lines[-1].startswith("checkpoints f1: 0 current, 1 made")


def test_nothing_is_looked_at_where_nothing_is_to_make() -> None:
    Progress("checkpoints", "f1", 2, lambda: pytest.fail("nobody works")).end()


def test_a_training_says_where_it_stands(tmp_path: Path) -> None:
    assert how_far(tmp_path) is None
    journal = Journal(tmp_path, "ar", silent=False, tensorboard=False)
    journal.write(Line(100, 400, 5.25, 1e-3, 1.0, 9_000, 3_210.0, 0.125, 120.0))
    with (tmp_path / "progress.jsonl").open("a") as file:
        file.write('{"step": 101, "st')  # torn by a kill
    assert how_far(tmp_path) == "step 100 of 400, loss 5.250, 3,210 codes/s, MFU 12%, 2 min left"
