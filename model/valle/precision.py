"""Halves that speak with lighter weights: bfloat16, and 8-bit integers on a CPU.

Decoding reads every weight once for each frame, so at small batches its pace is that of
memory, and lighter weights are faster in proportion. On a CPU only
the weights are worth lightening. What flows between the layers stays float32 there, and
with it norms, softmax and sums, for torch's attention of one slot is ten times slower in
bfloat16 than in float32. What is said differs from float32's; a row's independence of
its neighbours does not suffer, since these products sum each row by itself.

Shapes: B batch, S slots, N outputs and K inputs of a layer.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.valle.ar import AR
from model.valle.nar import NAR

Precision = Literal["float32", "bfloat16", "int8"]
Half = TypeVar("Half", AR, NAR)


class BFloat16(nn.Module):
    """A linear layer whose weights are bfloat16; what comes in and what goes out is float32."""

    weight: Tensor  # [N, K]
    bias: Tensor  # [N]

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", linear.weight.detach().bfloat16())
        self.register_buffer("bias", linear.bias.detach().bfloat16())

    def forward(self, x: Tensor) -> Tensor:
        """`[..., K]` to `[..., N]`."""
        return functional.linear(x.bfloat16(), self.weight, self.bias).float()


class Int8(nn.Module):
    """A linear layer whose weights are integers in -127..127, with a scale for each output."""

    weight: Tensor  # [N, K]
    scale: Tensor  # [N]
    bias: Tensor  # [N]

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.detach().abs().amax(dim=1).clamp(min=1e-12) / 127
        self.register_buffer("weight", (linear.weight.detach() / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale.bfloat16())
        self.register_buffer("bias", linear.bias.detach().clone())
        self._product = _packed_product() or unpacked_product

    def forward(self, x: Tensor) -> Tensor:
        """`[..., K]` to `[..., N]`."""
        rows = x.bfloat16().flatten(0, -2)
        return self._product(rows, self.weight, self.scale).view(*x.shape[:-1], -1) + self.bias


def unpacked_product(rows: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """Rows `[R, K]` in bfloat16 times integers `[N, K]` times a scale for each output, `[R, N]` in bfloat16.

    What torch's private operator gives, with sums in float32, from weights that are made four times as heavy for it.
    """
    return (functional.linear(rows.float(), weight.float()) * scale.float()).bfloat16()


@cache
def _packed_product() -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """Torch's product with 8-bit weights, where this torch has it and it does as it did in 2.13; else none."""
    ones = torch.ones(1, 32, dtype=torch.bfloat16)
    weight, scale = torch.full((16, 32), 3, dtype=torch.int8), torch.full((16,), 0.5, dtype=torch.bfloat16)
    try:
        operator: Callable[[Tensor, Tensor, Tensor], Tensor] = torch._weight_int8pack_mm
        right = torch.equal(operator(ones, weight, scale), torch.full((1, 16), 48, dtype=torch.bfloat16))
    except (AttributeError, RuntimeError, TypeError):
        return None
    return operator if right else None


def lighten(half: Half, precision: Precision) -> Half:
    """A half with lighter weights; it can speak and not be trained. As float32 it is the half itself.

    On an accelerator `bfloat16` is everything. `int8` is for the AR at one or two rows on a CPU: a NAR, whose pace is
    that of arithmetic and not of memory, becomes bfloat16.

    Raises:
        ValueError: `int8` is asked for where there is an accelerator.
    """
    if precision == "float32":
        return half
    device = next(half.parameters()).device
    if device.type != "cpu":
        if precision == "int8":
            raise ValueError(f"int8 is for the CPU, and the model is on {device}: take bfloat16 there")
        return deepcopy(half).to(torch.bfloat16)
    light = deepcopy(half)
    kind = Int8 if precision == "int8" and isinstance(light, AR) else BFloat16
    for module in list(light.transformer.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, kind(child))
    if isinstance(light, AR) and (kind is BFloat16 or _packed_product() is not None):
        light.even_rows = 1  # these products sum a lone row as they sum many
    return light
