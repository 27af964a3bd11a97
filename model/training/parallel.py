"""Workers that train one model together: each has it whole, or each has a part of every weight.

With `ddp` gradients lie in a few flat buckets, and a bucket is added up over all
workers as soon as the backward pass has filled it, while the pass goes on. With
`fsdp` (torch's `fully_shard`) weights, gradients and optimizer state are split, so
a model may be larger than a device. Either way what is added up are gradients of
summed losses, so workers are one large batch, and either saves the same state.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor, distributed, nn

if TYPE_CHECKING:
    from model.training.batches import Position

Sharding = Literal["ddp", "fsdp"]

BUCKET_BYTES = 25 << 20  # enough to fill a network, few enough to begin early


@dataclass(frozen=True)
class Workers:
    """The torch.distributed group, or this process alone."""

    rank: int
    world: int

    @staticmethod
    def here() -> "Workers":
        """The group this process is in."""
        if distributed.is_available() and distributed.is_initialized():
            return Workers(distributed.get_rank(), distributed.get_world_size())
        return Workers(0, 1)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Puts the sum over all workers in place of each tensor."""
        if self.world > 1:
            for work in [distributed.all_reduce(tensor, async_op=True) for tensor in tensors]:
                work.wait()

    def gather(self, item: "list[Position]") -> "list[list[Position]]":
        """Every worker's item, by rank."""
        items = [item] * self.world
        if self.world > 1:
            distributed.all_gather_object(items, item)
        return items

    def wait(self) -> None:
        """Goes on when all have come here."""
        if self.world > 1:
            distributed.barrier()


class Gradients(Protocol):
    """The gradients of a model, and how they become those of all workers."""

    def expect(self) -> None:
        """The next backward pass is a step's last: what it fills may be added up."""

    def meet(self) -> list[Tensor]:
        """Waits until all is added up; gives this worker's part of it."""

    def clear(self) -> None:
        """Sets them to zero."""

    def squared_norm(self) -> Tensor:
        """The sum of the squares of all of them, those of other workers' parts too; 0-d."""


class Buckets:
    """Gradients in flat buckets, every worker with all of them; a worker alone has the same.

    torch's DistributedDataParallel takes as long, 0.95 to 1.07 of a step's time (medians of pairs of steps, gloo, two
    workers), and would leave no less to understand: a worker alone has no group, a forward pass has to know whether it
    is a step's last, and a weight that nobody read needs zeros for a gradient, or a resumed training differs.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], workers: Workers, bucket_bytes: int = BUCKET_BYTES) -> None:
        self._workers = workers
        self._buckets = _split(parameters, bucket_bytes)
        self._flat = [_flatten(bucket) for bucket in self._buckets]
        self._missing: list[int] = []  # gradients that a bucket still waits for, while a last pass runs
        self._works: list[distributed.Work] = []
        if workers.world > 1:
            for place, bucket in enumerate(self._buckets):
                for parameter in bucket:
                    hook = partial(self._filled, place)
                    parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

    def expect(self) -> None:
        """As `Gradients` says."""
        self._missing = [len(bucket) for bucket in self._buckets]

    def meet(self) -> list[Tensor]:
        """As `Gradients` says. Buckets are added up in one order everywhere, whatever a worker's rows left unread."""
        if self._workers.world > 1:
            self._missing = [0] * len(self._buckets)
            self._launch()
            for work in self._works:
                work.wait()
            self._works = []
        self._missing = []
        return self._flat

    def clear(self) -> None:
        """As `Gradients` says."""
        torch._foreach_zero_(self._flat)

    def squared_norm(self) -> Tensor:
        """As `Gradients` says."""
        return _squared_norm(self._flat)

    def _filled(self, place: int, _: Tensor) -> None:
        if self._missing:
            self._missing[place] -= 1
            self._launch()

    def _launch(self) -> None:
        while len(self._works) < len(self._flat) and self._missing[len(self._works)] == 0:
            self._works.append(distributed.all_reduce(self._flat[len(self._works)], async_op=True))


class Parts:
    """Gradients of a model that `split` has shared out: each worker ends with its own part of the sum."""

    def __init__(self, model: nn.Module, workers: Workers) -> None:
        self._model, self._workers = model, workers
        self._sync(False)

    def expect(self) -> None:
        """As `Gradients` says."""
        self._sync(True)

    def meet(self) -> list[Tensor]:
        """As `Gradients` says."""
        self._sync(False)
        return [local(parameter.grad) for parameter in self._model.parameters() if parameter.grad is not None]

    def clear(self) -> None:
        """As `Gradients` says."""
        for parameter in self._model.parameters():
            parameter.grad = None

    def squared_norm(self) -> Tensor:
        """As `Gradients` says."""
        total = _squared_norm(self.meet())
        self._workers.add([total])
        return total

    def _sync(self, wanted: bool) -> None:
        self._model.set_requires_gradient_sync(wanted)  # type: ignore[operator]


def split(model: nn.Module, layers: Sequence[nn.Module], device: str, workers: Workers) -> None:
    """Shares the weights of a model out over all workers, a layer at a time (FSDP2)."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(torch.device(device).type, (workers.world,))
    for module in (*layers, model):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)  # a validation ends with parts, too
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # losses are summed, and so are their gradients
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no other way


def local(tensor: Tensor) -> Tensor:
    """This worker's part of a tensor; all of it where it is not shared out."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def whole(tensor: Tensor) -> Tensor:
    """A copy of all of a tensor, on every worker and on the CPU; every worker must ask."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full.detach().to("cpu", copy=True)


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """This worker's share of a whole tensor, shared out and lying where `like` does."""
    tensor = tensor.to(like.device)
    if not hasattr(like, "to_local"):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor, like.device_mesh, like.placements)


def autocast(device: torch.device, precision: str) -> "torch.autocast | nullcontext[None]":
    """Where matrices are multiplied as `bf16`, if that is the precision; the weights stay fp32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def _split(parameters: Sequence[nn.Parameter], bucket_bytes: int) -> list[list[nn.Parameter]]:
    """The parameters, last ones first, as the backward pass comes to them."""
    buckets: list[list[nn.Parameter]] = [[]]
    size = 0
    for parameter in reversed(parameters):
        if buckets[-1] and size + parameter.nbytes > bucket_bytes:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.nbytes
    return buckets


def _flatten(bucket: Sequence[nn.Parameter]) -> Tensor:
    """Zeros that the gradients of a bucket are views of."""
    flat = bucket[0].new_zeros(sum(parameter.numel() for parameter in bucket), requires_grad=False)
    start = 0
    for parameter in bucket:
        parameter.grad = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return flat


def _squared_norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([norm.double() ** 2 for norm in torch._foreach_norm(list(tensors))]).sum()
