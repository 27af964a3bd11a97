"""Training of either half, alone or under torch.distributed, that a kill does not change.

Nothing random outlives a step: dropout, stages and prompts are drawn anew from
(seed, step, rank), and the order of batches from (seed, epoch), so the state is
the weights, the optimizer and a place in the data. Workers add up gradients of
summed losses and divide by all their codes, which is one large batch exactly.
Source: VALL-E (arXiv:2301.02111), section 5.1, for AdamW, warm-up and decay.

Shapes: B batch, T frames, V vocabulary.
"""

import io
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional

from model import ar, nar
from model.ar import AR, IGNORED
from model.batches import Batch, Chunks, Example, Position, Share, collate, pack, stream
from model.checkpoint import build, num_parameters, save, write_whole
from model.nar import NAR
from model.settings import Settings

STATE = "training.pt"
_LOG = logging.getLogger(__name__)


class Diverged(ArithmeticError):
    """A training whose loss is no number any more."""


@dataclass(frozen=True)
class Training:
    """How a half is trained."""

    steps: int  # optimizer steps
    seed: int = 0
    learning_rate: float = 5e-4  # at its peak
    warmup_steps: int = 32_000  # to the peak; then it falls, linearly, to 0 at the last step
    betas: tuple[float, float] = (0.9, 0.95)  # of AdamW
    weight_decay: float = 0.01  # of matrices; biases and norms are left alone
    max_gradient_norm: float = 1.0
    batch_frames: int = 6_000  # padded frames of a batch, per worker
    validate_every: int = 5_000  # steps

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = (step + 1) / max(self.warmup_steps, 1)
        falling = (self.steps - step) / max(self.steps - self.warmup_steps, 1)
        return self.learning_rate * min(rising, falling, 1.0)


@dataclass(frozen=True)
class Progress:
    """What was known at a validation."""

    step: int
    train_loss: float | None  # nats per code since the last one; null at step 0
    valid_loss: float | None  # nats per code; null where nothing validates
    valid_top10: float | None  # share of codes among the ten likeliest
    tokens_seen: int  # codes trained on, by all workers
    num_parameters: int


@dataclass
class State:
    """Where a training stands, beside its weights and its optimizer."""

    step: int = 0
    tokens_seen: int = 0
    loss_sum: float = 0.0  # since the last validation, over all workers
    loss_codes: int = 0
    positions: list[Position] = field(default_factory=list)  # of each worker
    progress: list[Progress] = field(default_factory=list)


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

    def gather(self, item: Position) -> list[Position]:
        """Every worker's item, by rank."""
        items = [item] * self.world
        if self.world > 1:
            distributed.all_gather_object(items, item)
        return items

    def wait(self) -> None:
        """Goes on when all have come here."""
        if self.world > 1:
            distributed.barrier()


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of logits `[B, T, V]`, in nats, summed over the targets `[B, T]` that are not `IGNORED`."""
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def top10(logits: Tensor, targets: Tensor) -> Tensor:
    """How many of the targets `[B, T]` are among the ten likeliest of logits `[B, T, V]`."""
    likeliest = logits.topk(10, dim=-1).indices
    return (likeliest == targets.unsqueeze(-1)).any(dim=-1).sum()


def ask(model: AR | NAR, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Logits `[B, T, V]` of a batch and the targets `[B, T]` they should meet; the generator draws the NAR's task."""
    if isinstance(model, AR):
        codes = batch.codes[:, 0]
        logits = model(batch.phones, batch.phone_lengths, codes, batch.code_lengths)
        return logits, ar.targets(codes, batch.code_lengths)
    task = nar.draw(batch.code_lengths, generator)
    logits = model(batch.phones, batch.phone_lengths, batch.codes, batch.code_lengths, task)
    return logits, nar.targets(batch.codes, batch.code_lengths, task)


def train(
    settings: Settings,
    training: Training,
    chunks: Chunks,
    valid: Sequence[Example],
    folder: Path,
    *,
    device: str = "cpu",
    save_every: int = 1_000,
) -> list[Progress]:
    """Trains a half, or goes on where `folder` says that it was stopped, and leaves a checkpoint there.

    Called alike by every worker of a torch.distributed group, where there is one.

    Args:
        settings: of the half.
        training: how.
        chunks: examples, each worker sees all and takes its share; `[1, T]` codes will do for the AR.
        valid: examples to validate on; the same stages and prompts every time.
        folder: of this training alone; all workers see it.
        device: where the model is.
        save_every: steps between states that a stopped training goes on from.

    Returns:
        One record for each validation: at step 0, every `validate_every` steps, and at the end.

    Raises:
        NoExamples: a worker's share of the examples is empty.
        Diverged: the loss is no number any more; the last state saved is from before.
    """
    workers = Workers.here()
    workers.wait()  # nobody still writes what another is about to read
    with torch.random.fork_rng(devices=[torch.device(device)] if device.startswith("cuda") else []):
        torch.manual_seed(training.seed)
        model = build(settings).to(device)
        optimizer = _optimizer(model, training)
        state = _resume(folder / STATE, model, optimizer, workers)
        workers.wait()  # everybody has read the state before anybody writes one
        batches = stream(
            Share(chunks, workers.rank, workers.world),
            training.batch_frames,
            training.seed,
            state.positions[workers.rank],
        )
        started = time.monotonic()
        if not state.progress:
            _note(state, model, training, valid, workers)
        while state.step < training.steps:
            batch, position = next(batches)
            _step(model, optimizer, training, state, batch.to(device), workers)
            state.positions[workers.rank] = position
            is_last = state.step == training.steps
            if state.step % training.validate_every == 0 or is_last:
                _note(state, model, training, valid, workers)
                if workers.rank == 0:
                    _LOG.info("%s after %.0f s: %s", settings.half, time.monotonic() - started, state.progress[-1])
            if state.step % save_every == 0 or is_last:
                state.positions = workers.gather(position)
                if workers.rank == 0:
                    _save_state(folder / STATE, model, optimizer, state)
        if workers.rank == 0:
            save(folder, model)
        workers.wait()
    return state.progress


def validate(model: AR | NAR, valid: Sequence[Example], batch_frames: int, workers: Workers) -> tuple[float, float]:
    """Loss in nats per code and top-10 accuracy over all workers; stages and prompts are the same at every call."""
    device = next(model.parameters()).device
    sums = torch.zeros(3, dtype=torch.float64, device=device)  # loss, hits, codes
    model.eval()
    with torch.no_grad():
        for place, examples in enumerate(pack(valid, batch_frames)):
            if place % workers.world == workers.rank:
                generator = torch.Generator().manual_seed(place)
                logits, targets = ask(model, collate(examples).to(device), generator)
                hits, num_codes = top10(logits, targets), (targets != IGNORED).sum()
                sums += torch.stack([loss(logits, targets), hits, num_codes]).to(sums)
    model.train()
    workers.add([sums])
    loss_sum, hits_sum, codes_sum = sums.tolist()
    return loss_sum / max(codes_sum, 1), hits_sum / max(codes_sum, 1)


def _step(
    model: AR | NAR, optimizer: torch.optim.Optimizer, training: Training, state: State, batch: Batch, workers: Workers
) -> None:
    seed = int(np.random.SeedSequence([training.seed, state.step, workers.rank]).generate_state(1, np.uint64)[0] >> 1)
    torch.manual_seed(seed)  # dropout
    model.train()
    with torch.autocast("cuda", torch.bfloat16, enabled=batch.codes.is_cuda):
        logits, targets = ask(model, batch, torch.Generator().manual_seed(seed))
    loss_sum = loss(logits, targets)
    torch.autograd.backward(loss_sum)

    sums = torch.stack([loss_sum.detach().double(), (targets != IGNORED).sum().double()])
    workers.add([sums])
    total, num_codes = sums.tolist()
    if not math.isfinite(total):
        raise Diverged(f"the loss became {total} at step {state.step}: lower the learning rate or warm up longer")
    parameters = list(model.parameters())
    for parameter in parameters:  # an embedding that only another worker's rows read has none here
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    workers.add(gradients)
    torch._foreach_div_(gradients, max(num_codes, 1.0))
    torch.nn.utils.clip_grad_norm_(parameters, training.max_gradient_norm)
    for group in optimizer.param_groups:
        group["lr"] = training.rate(state.step)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)

    state.step += 1
    state.tokens_seen += int(num_codes)
    state.loss_sum += total
    state.loss_codes += int(num_codes)


def _note(state: State, model: AR | NAR, training: Training, valid: Sequence[Example], workers: Workers) -> None:
    """Validates, and adds a record to the progress."""
    valid_loss, valid_top10 = validate(model, valid, training.batch_frames, workers) if valid else (None, None)
    train_loss = state.loss_sum / state.loss_codes if state.loss_codes else None
    state.progress.append(
        Progress(state.step, train_loss, valid_loss, valid_top10, state.tokens_seen, num_parameters(model))
    )
    state.loss_sum, state.loss_codes = 0.0, 0


def _optimizer(model: AR | NAR, training: Training) -> torch.optim.AdamW:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=training.betas)


def _save_state(path: Path, model: AR | NAR, optimizer: torch.optim.Optimizer, state: State) -> None:
    content = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": asdict(state)}, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.getvalue())


def _resume(path: Path, model: AR | NAR, optimizer: torch.optim.Optimizer, workers: Workers) -> State:
    """The state in a file, model and optimizer included, or a fresh one.

    Where the number of workers has changed, their shares have too, and a new epoch begins.
    """
    if not path.exists():
        return State(positions=[Position()] * workers.world)
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    positions = [Position(**position) for position in saved["state"].pop("positions")]
    progress = [Progress(**record) for record in saved["state"].pop("progress")]
    if len(positions) != workers.world:
        positions = [Position(max(position.epoch for position in positions) + 1)] * workers.world
    return State(**saved["state"], positions=positions, progress=progress)
