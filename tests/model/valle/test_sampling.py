"""Choosing the next code, against tables worked by hand."""

import pytest
import torch

from model.valle.sampling import EMPTY, Sampling, draw, nucleus, repetition, sample

PROBABILITIES = torch.tensor([[0.1, 0.5, 0.05, 0.35]], dtype=torch.float64)


def test_top_k_keeps_the_likeliest():
    assert nucleus(PROBABILITIES, 2, 1.0).tolist() == [[0.0, 0.5, 0.0, 0.35]]


@pytest.mark.parametrize(("uniform", "place"), [(0.0, 1), (0.49, 1), (0.51, 3), (0.999999, 3)])
def test_a_draw_falls_in_proportion_to_weight_and_never_on_a_code_without(uniform, place):
    weights = torch.tensor([[0.0, 0.2, 0.0, 0.2, 0.0]])
    assert draw(weights, torch.tensor([uniform])).tolist() == [place]


# Codes 0..3 with the probabilities above; top_p 0.5 leaves code 1 alone. The first draw is code 1 whatever its number,
# and the second falls on 0 below .1, on 1 below .6, on 2 below .65, else on 3.
@pytest.mark.parametrize(
    ("recent", "share", "second", "chosen"),
    [
        ([0, 2, 3, 0, 2, 3, 0, 2, 3, 0], 0.0, 0.99, 1),  # new: kept
        ([1, 2, 3, 0, 2, 3, 0, 2, 3, 0], 0.1, 0.99, 1),  # once in ten is not more than 0.1: kept
        ([1, 2, 3, 0, 2, 1, 0, 2, 3, 0], 0.2, 0.05, 0),  # twice: drawn again, from all codes
        ([1, 2, 3, 0, 2, 1, 0, 2, 3, 0], 0.2, 0.30, 1),  # drawn again, and it may be the same
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], 1.0, 0.62, 2),  # out of the tail
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], 1.0, 0.70, 3),
        ([EMPTY] * 9 + [1], 0.1, 0.99, 1),  # the share is of the whole window, also at the start
        ([EMPTY] * 8 + [1, 1], 0.2, 0.99, 3),
    ],
)
def test_repetition_aware_sampling_draws_again_what_fills_the_window(recent, share, second, chosen):
    window = torch.tensor([recent])
    assert repetition(torch.tensor([1]), window).item() == pytest.approx(share)
    sampling = Sampling(top_p=0.5, window=10, threshold=0.1)
    uniforms = torch.tensor([[0.7, second]], dtype=torch.float64)
    assert sample(PROBABILITIES.log(), window, uniforms, sampling).tolist() == [chosen]


def test_without_a_window_a_loop_is_kept():
    sampling = Sampling(top_p=0.5, window=0)
    recent = torch.ones(1, 0, dtype=torch.long)
    assert sample(PROBABILITIES.log(), recent, torch.tensor([[0.7, 0.99]]), sampling).tolist() == [1]


def test_temperature_zero_takes_the_likeliest_and_a_high_one_flattens():
    recent, uniforms = torch.full((1, 10), EMPTY), torch.tensor([[0.2, 0.2]])
    assert sample(PROBABILITIES.log(), recent, uniforms, Sampling(temperature=0)).tolist() == [1]
    assert sample(PROBABILITIES.log(), recent, uniforms, Sampling(temperature=1e6, top_p=1.0)).tolist() == [0]


def test_draws_have_the_distribution_they_claim():
    uniforms = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(draw(PROBABILITIES.expand(20_000, 4), uniforms), minlength=4) / 20_000
    torch.testing.assert_close(counts.double(), PROBABILITIES[0], atol=0.01, rtol=0)


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}])
def test_a_sampling_that_means_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="must not be negative"):
        Sampling(**wrong)
