"""Parallel: gradients in buckets are the gradients, and clipping them is torch's."""

import pytest
import torch
from torch import nn

from model.training.optimizer import scale_and_clip
from model.training.parallel import Buckets, Workers

ALONE = Workers(0, 1)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 4), nn.LayerNorm(4))


def passed(model):
    """A backward pass."""
    model(torch.tensor([1, 2, 2])).square().sum().backward()


def test_gradients_in_buckets_are_what_they_are_without():
    plain, ours = network(), network()
    passed(plain)
    buckets = Buckets(list(ours.parameters()), ALONE, bucket_bytes=100)
    for _ in range(2):
        buckets.clear()
        buckets.expect()
        passed(ours)
        flat = buckets.meet()
    assert len(flat) == 3
    assert sum(len(bucket) for bucket in flat) == sum(parameter.numel() for parameter in ours.parameters())
    for one, two in zip(plain.parameters(), ours.parameters(), strict=True):
        assert one.grad.equal(two.grad)


@pytest.mark.parametrize("max_norm", [0.1, 1e6])
def test_scaling_and_clipping_is_dividing_and_then_torch_s_clipping(max_norm):
    plain, ours = network(), network()
    passed(plain)
    for parameter in plain.parameters():
        parameter.grad /= 3
    expected = nn.utils.clip_grad_norm_(plain.parameters(), max_norm)
    buckets = Buckets(list(ours.parameters()), ALONE)
    passed(ours)
    norm = scale_and_clip(buckets.meet(), buckets.squared_norm(), torch.tensor(3.0, dtype=torch.float64), max_norm)
    assert norm.item() == pytest.approx(expected.item(), rel=1e-5)
    for one, two in zip(plain.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)
