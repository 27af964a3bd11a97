"""Linear layers of a CPU through oneDNN, exact in fp32.

Torch multiplies fp32 matrices with MKL, which leaves half of an
AMD core unused; oneDNN, in the same wheel, is twice as fast there. Sums are taken in
another order, and nothing else differs. The way there is an operator of torch's own, which may go or change: a torch
without it multiplies as torch does. Source: measured, `python -m bench.training`.

Shapes: I and O what goes into and comes out of a layer; any others in front.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CELLS = 225_000  # of an attention's weights at a time: 900 kB, which stay in the cache between the two products


def hasten(model: nn.Module) -> None:
    """Lets the linear layers of a model on the CPU run, and train, through oneDNN where torch has it."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.forward = partial(_linear, module)  # type: ignore[method-assign]


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`[..., I]` and `[O, I]`, both fp32 and on the CPU, to `[..., O]`."""
    through_onednn = _operator()
    if through_onednn is None:
        return functional.linear(x, weight, bias)
    y: Tensor = through_onednn(x, weight, bias, "none", [], "")
    return y


@cache
def _operator() -> Callable[..., Tensor] | None:
    """Torch's private way to oneDNN, where this torch has it and it does as it did in 2.13; else none."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    x, weight = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0], [7.0, 11.0]])
    try:
        operator: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise
        right = torch.equal(operator(x, weight, None, "none", [], ""), torch.tensor([[13.0, 29.0]]))
    except (AttributeError, RuntimeError, TypeError):  # it is missing, does not serve here, or takes other arguments
        return None
    return operator if right else None


def serves(x: Tensor) -> bool:
    """Whether `attention` is for such a tensor here."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled()


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Of all slots to all, `[B, H, S, D]` thrice to the same, fp32 on the CPU, without gradients.

    Some rows at a time, so that what is between the two products stays in the cache.
    """
    mixed, size = torch.empty_like(query), max(1, CELLS // key.shape[2])
    scaled = query * query.shape[-1] ** -0.5
    for row in range(query.shape[0]):
        for head in range(query.shape[1]):
            keys, values = key[row, head].contiguous(), value[row, head].t().contiguous()
            for start in range(0, query.shape[2], size):
                weights = product(scaled[row, head, start : start + size], keys, None).softmax(-1)
                mixed[row, head, start : start + size] = product(weights, values, None)
    return mixed


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """`[..., I]` to `[..., O]`."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return functional.linear(x, layer.weight, layer.bias)
    y: Tensor = _Linear.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return y


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous()
        rows = grad.flatten(0, -2)
        grad_x = product(grad, weight.t(), None) if ctx.needs_input_grad[0] else None
        grad_weight = product(rows.t(), x.flatten(0, -2).t(), None)
        return grad_x, grad_weight, rows.sum(0) if ctx.has_bias else None
