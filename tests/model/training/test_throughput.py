"""Pace: FLOPs by hand, and a rate that is one."""

import torch

from model.training.throughput import matmul_rate, training_flops
from model.valle.batch import Batch
from model.valle.settings import Size


def test_flops_are_those_of_the_real_slots():
    size = Size(num_layers=2, num_heads=1, width=4, ffn_width=8, dropout=0.0)
    alone = Batch(torch.zeros(1, 3), torch.tensor([3]), torch.zeros(1, 1, 5), torch.tensor([5]), torch.tensor([0]))
    padded = Batch(torch.zeros(1, 30), torch.tensor([3]), torch.zeros(1, 1, 50), torch.tensor([5]), torch.tensor([0]))
    weights = 2 * (4 * 4 * 4 + 2 * 4 * 8)
    by_hand = 3 * (2 * weights * 8 + 4 * 2 * 4 * 8**2 + 2 * 4 * 1024 * 5)
    assert training_flops(size, alone) == training_flops(size, padded) == by_hand


def test_the_device_multiplies_at_some_rate():
    assert 1e6 < matmul_rate(torch.device("cpu"), "fp32", width=64) < 1e15
