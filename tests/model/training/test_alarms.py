"""Alarms: each is raised by what it names, and by nothing else."""

import numpy as np
import pytest

from model.training.alarms import SETTLED, Codebook, Spikes, at_chance, codebooks, dead, phones_ignored
from model.valle.batch import Example


def noisy(number, level=6.0, seed=0):
    """Losses of an even training."""
    return (level + 0.1 * np.random.default_rng(seed).standard_normal(number)).tolist()


def spikes(losses):
    """What has been seen of some losses."""
    seen = Spikes()
    for step, loss in enumerate(losses):
        seen.look(step, loss)
    return seen


def test_an_even_loss_and_a_falling_one_are_no_spike():
    assert spikes(noisy(500)).told() == []
    assert spikes([6.9 * 0.99**step for step in range(300)]).told() == []


def test_a_spike_is_told_once_with_its_step_and_figures():
    seen = spikes([*noisy(100), 9.0, *noisy(20, seed=1)])
    [alarm] = seen.told()
    assert alarm.startswith("loss_spike: 1 of the steps, worst step 100 with 9.000 nats")
    assert seen.told() == []


def test_before_it_has_settled_nothing_is_a_spike():
    assert spikes([*noisy(SETTLED - 1), 60.0]).told() == []


def test_a_loss_that_stays_high_is_the_new_mean_in_the_end():
    seen = spikes([*noisy(100), *noisy(400, level=8.0)])
    assert seen.told()
    assert seen.mean == pytest.approx(8.0, abs=0.1)


def test_a_codebook_that_says_one_thing_is_dead():
    draw = np.random.default_rng(0)
    codes = np.stack([draw.integers(0, 1024, 4_000), np.full(4_000, 7)]).astype(np.uint16)
    living, silent = codebooks([Example(np.zeros(1, np.uint16), codes)])
    assert 9 < living.bits <= 10
    assert (silent.bits, silent.common) == (0.0, 1.0)
    assert dead([living, silent]) == ["dead_codebook: 2 (0.00 bits)"]
    assert codebooks([]) == []


def test_guessing_the_commonest_codes_is_chance():
    found = [Codebook(bits=8.0, common=0.2), Codebook(bits=8.0, common=0.2), Codebook(bits=8.0, common=0.2)]
    assert at_chance(found, (None, 0.2, 0.5)) == ["at_chance: 2 (20.0%, its ten commonest codes 20.0%)"]
    assert at_chance(found, (None, 0.3, 0.5)) == []


def test_phones_that_may_be_shuffled_are_ignored():
    assert phones_ignored(5.0, 5.001) == ["phones_ignored: shuffling them costs 0.0010 nats per code"]
    assert phones_ignored(5.0, 5.1) == []
