"""The bench of the mark in the codes at its smallest."""

import json

import numpy as np
import pytest

from bench import mark
from model.cpu.threads import one_thread
from tasks.provenance.code_mark import Listener


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


@pytest.mark.slow
def test_a_file_travels_and_is_judged(capsys):
    mark.main(["--strengths", "3", "--files", "1", "--travelled", "0"])
    found = json.loads(capsys.readouterr().out)["strength 3"]
    assert found["sentences"] == 4
    assert 0 <= found["WER"] < 1
    assert "of" in found["found"]["3 s"]


def test_whatever_a_file_may_meet_leaves_speech():
    speech = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) / 10
    for what, journey in mark.journeys(Listener("embedded")).items():
        assert 40_000 < len(journey(speech)) < 60_000, what


def test_pieces_are_cut_without_what_is_left_over():
    assert [len(piece) for piece in mark.pieces([np.zeros(24_000 * 7, np.float32)], 3)] == [72_000, 72_000]
