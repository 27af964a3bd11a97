"""Full precision: fp32 that no device rounds to TF32, whose ten bits of mantissa are no more than fp16's.

Torch lets cuDNN do so unasked, and an EnCodec's convolutions and LSTM would make other codes on a GPU than on a CPU,
and the voice encoder other voices. Whatever loads a model says so here, and it holds for the whole process.
Source: PyTorch's notes on CUDA semantics, section TensorFloat-32.
"""

from typing import Any

import torch


def keep_fp32() -> None:
    """From now on, fp32 is fp32 in all matrix products, convolutions and recurrent layers of this process."""
    backends: Any = torch.backends
    torch.set_float32_matmul_precision("highest")
    backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = False
    if hasattr(backends.cudnn, "conv"):  # torch 2.9 has a second way to say it, which has the last word
        cudnn, cpu = backends.cudnn, backends.mkldnn
        for part in (backends.cuda.matmul, cudnn.conv, cudnn.rnn, cpu.conv, cpu.rnn):
            part.fp32_precision = "ieee"
