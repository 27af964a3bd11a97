"""The trial of `valle say` tells speech, refusals and crashes apart."""

import json
from pathlib import Path

import pytest
import soundfile

from bench.say import outcome, trial


def test_a_call_ends_in_speech_or_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "text.wav").write_text("no audio")
    found = trial(tmp_path / "prompts", tmp_path / "root", num_calls=1, seed=0)
    assert found["outcomes"] == {"refused": 1}
    assert found["crashes"] == []


@pytest.mark.parametrize(
    ("code", "out", "err", "expected"),
    [
        (2, "", "valle: there is nothing to say\n", "refused"),
        (2, "", "", "crashed"),
        (1, "", "Traceback (most recent call last):", "crashed"),
        (-11, "", "", "crashed"),
        (124, "", "too slow", "crashed"),
    ],
)
def test_what_counts_as_a_crash(code: int, out: str, err: str, expected: str) -> None:
    assert outcome(code, out, err) == expected


def test_speech_is_a_file_that_is_what_its_row_says(tmp_path: Path) -> None:
    path = str(tmp_path / "x.wav")
    soundfile.write(path, [0.0] * 24_000, 24_000)
    assert outcome(0, json.dumps([{"path": path, "seconds": 1.0}]), "") == "spoken"
    assert outcome(0, json.dumps([{"path": path, "seconds": 2.0}]), "") == "crashed"
