"""The bench of codes at its smallest: it runs, and its two loops make the same codes."""

import json

import pytest

from bench import codes
from model.cpu.threads import one_thread


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def test_the_plain_loop_and_the_stage_make_the_same_codes():
    figures = codes.speeds(num_files=1, rounds=1, shortest=2)
    assert figures["codes equal to the plain loop's, but for the last frame"] > 0.995
    assert figures["seconds of speech"] == 2
    assert all(value > 0 for value in figures.values())


def test_a_long_file_is_measured_in_a_process_of_its_own(capsys):
    codes.main(["--long", "0.1"])
    figures = json.loads(capsys.readouterr().out)
    assert figures["minutes encoded in one piece"] == 0.1
    assert figures["of which the samples themselves, MB"] == 1
