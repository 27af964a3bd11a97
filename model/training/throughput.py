"""Throughput: how much arithmetic a training step is, and how fast this device multiplies: what MFU is a ratio of.

FLOPs count the matrix products of the real slots, padding left out, three times
for forward and backward; attention as if every slot saw every other (PaLM,
arXiv:2204.02311, appendix B). The device's rate is measured, not read off a sheet.

Shapes: B batch, S slots, D width, V vocabulary.
"""

import time

import torch

from model.cpu import onednn
from model.valle.batch import Batch
from model.valle.settings import CODEBOOK_SIZE, Size


def training_flops(size: Size, batch: Batch) -> float:
    """Floating-point operations of forward and backward over a batch on the CPU."""
    slots = (batch.phone_lengths + batch.code_lengths).double()
    weights = size.num_layers * (4 * size.width**2 + 2 * size.width * size.ffn_width)
    products = 2 * weights * slots.sum().item()
    attention = 4 * size.num_layers * size.width * (slots**2).sum().item()
    head = 2 * size.width * CODEBOOK_SIZE * batch.code_lengths.sum().item()
    return 3 * (products + attention + head)


def matmul_rate(device: torch.device, precision: str, width: int | None = None) -> float:
    """Floating-point operations per second of a large product of square matrices, the best of a few."""
    width = width or (8192 if device.type == "cuda" else 768)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one = torch.randn(width, width, dtype=dtype, device=device)  # ones are multiplied faster than data: less power
    is_fp32_on_cpu = device.type == "cpu" and dtype == torch.float32
    best = float("inf")
    for _ in range(4):  # the first one warms up
        begun = _now(device)
        onednn.product(one, one, None) if is_fp32_on_cpu else torch.mm(one, one)
        best = min(best, _now(device) - begun)
    return 2 * width**3 / max(best, 1e-9)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
