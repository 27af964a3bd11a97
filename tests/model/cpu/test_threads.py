"""One thread for small steps, and as many as before for all else."""

import pytest
import torch

from model.cpu.threads import one_thread
from model.valle import decoding
from model.valle.decoding import say_first
from model.valle.sampling import Sampling
from tests.model.small import random_pair, requests


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_number_of_threads_comes_back_whatever_happens():
    with pytest.raises(RuntimeError, match="tensor size"), one_thread():
        torch.zeros(torch.get_num_threads()) @ torch.zeros(2)  # which fits two threads, and no one
    assert torch.get_num_threads() == 2
    with one_thread(where=False):
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("small", "expected"), [(1 << 21, {1}), (0, {2})])
def test_a_small_step_is_made_by_one_thread(monkeypatch, small, expected):
    monkeypatch.setattr(decoding, "SMALL", small)
    ar, met = random_pair().ar, set()
    step = ar.step
    monkeypatch.setattr(ar, "step", lambda *args: met.add(torch.get_num_threads()) or step(*args))
    say_first(ar, requests(1), Sampling())
    assert met == expected
    assert torch.get_num_threads() == 2
