"""Training of either half, alone or under torch.distributed, that a kill does not change.

Nothing random outlives a step: dropout, stages and prompts are drawn anew from
(seed, step, rank), and the order of batches from (seed, epoch), so the state is
the weights, the optimizer and a place in the data. Workers add up gradients of
summed losses and divide by all their codes, which is one large batch exactly. A
step is so many batches, each from a stream of its own, and workers share them out:
a training is the same for however many workers, also when their number changes.
Losses are read off the device a few steps late, so nothing waits for it.
Source: VALL-E (arXiv:2301.02111), section 5.1, for AdamW, warm-up and decay.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.cpu import onednn
from model.gpu.full_precision import keep_fp32
from model.training import alarms, states, throughput
from model.training.batches import Chunks, Curriculum, Position, Share, ahead, stream
from model.training.initialization import begin, listen
from model.training.optimizer import Average, adamw, moments, scale_and_clip, set_moments, set_weights, weights
from model.training.parallel import Buckets, Gradients, Parts, Sharding, Workers, autocast, split
from model.training.progress import Progress, State, best, best_folder, figures
from model.training.training_log import Clock, Journal, Line
from model.training.validation import ask, loss, validate
from model.valle.ar import IGNORED
from model.valle.batch import Batch, Example
from model.valle.checkpoint import build, num_parameters, save
from model.valle.settings import Settings

READ_EVERY = 10  # steps between two looks at the losses, and two lines of progress


class Diverged(ArithmeticError):
    """A training whose loss is no number any more."""


@dataclass(frozen=True)
class Training:
    """How a half is trained: what its weights depend on."""

    steps: int  # optimizer steps
    seed: int = 0
    learning_rate: float = 5e-4  # at its peak
    warmup_steps: int = 32_000  # to the peak; then it falls, linearly, to 0 at the last step
    betas: tuple[float, float] = (0.9, 0.95)  # of AdamW
    weight_decay: float = 0.01  # of matrices; biases and norms are left alone
    max_gradient_norm: float = 1.0
    batch_frames: int = 6_000  # padded frames of a step, over all workers
    accumulate: int = 1  # batches that a step is made of, shared out over the workers
    window_chunks: int = 8  # that are mixed with each other, in each batch's stream
    precision: str = "fp32"  # of products: fp32 or bf16; weights, sums and optimizer are fp32
    ema: float = 0.0  # decay of the weights' moving average, which then validates and speaks; 0 for none
    own_codes: float = 0.0  # the share of codes that an AR hears as itself would say them; 0: the truth alone
    validate_every: int = 5_000  # steps
    curriculum: Curriculum = field(default_factory=Curriculum)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = (step + 1) / max(self.warmup_steps, 1)
        falling = (self.steps - step) / max(self.steps - self.warmup_steps, 1)
        return self.learning_rate * min(rising, falling, 1.0)


@dataclass(frozen=True)
class Where:
    """How a training is run: what its weights do not depend on, rounding aside."""

    device: str = "cpu"
    save_every: int = 1_000  # steps between states that a stopped training goes on from
    keep_last: int = 2  # of those states
    sharding: Sharding = "ddp"
    checkpoint_activations: bool = False  # less memory for a third more arithmetic
    compile: bool = False  # by torch.compile
    tensorboard: bool = True


def train(
    settings: Settings,
    training: Training,
    chunks: Chunks,
    valid: Sequence[Example],
    folder: Path,
    where: Where | None = None,
    start: Path | None = None,
    codebooks: Tensor | None = None,
) -> list[Progress]:
    """Trains a half, or goes on where `folder` says that it was stopped, and leaves checkpoints there.

    The last weights lie in `folder` itself, the best in its `best-<step>` unless they are the last.
    Called alike by every worker of a torch.distributed group, where there is one; their number divides the number of
    batches of a step.

    Args:
        settings: of the half.
        training: how.
        chunks: examples, each worker sees all and takes its share; `[1, T]` codes will do for the AR.
        valid: examples to validate on; the same stages and prompts every time.
        folder: of this training alone; all workers see it.
        where: on what, and how it is run.
        start: a checkpoint of the same settings to begin from, in place of random weights.
        codebooks: the codec's `[8, 1024, D]`, for embeddings of codes that begin as near as the codes' sounds are.

    Returns:
        One record for each validation: at step 0, every `validate_every` steps, and at the end.

    Raises:
        NoExamples: a batch's share of the examples is empty.
        Diverged: the loss is no number any more; the last state saved is from before.
        CheckpointError: `start` is of other settings, or damaged.
        ValueError: the workers cannot share out the batches of a step evenly.
        OSError: workers went on from different states, for a file system told some of them late of the last.
    """
    where = where or Where()
    workers = Workers.here()
    if training.accumulate % workers.world:
        raise ValueError(f"{workers.world} workers cannot share out the {training.accumulate} batches of a step evenly")
    workers.wait()  # nobody still writes what another is about to read
    with torch.random.fork_rng(devices=[torch.device(where.device)] if where.device.startswith("cuda") else []):
        run = _Run(settings, training, chunks, valid, folder, where, start, codebooks, workers)
        begun = run.state.positions
        if any(theirs != begun for theirs in workers.gather(begun)):  # all have read before anybody writes
            raise OSError(f"workers went on from different states of {folder}: their file systems differ")
        with ahead(run.batches(chunks)) as batches, run.states:
            run.to_the_end(batches)
        workers.wait()
    return run.state.progress


class _Run:
    """One worker's part of a training, from its state on."""

    def __init__(
        self,
        settings: Settings,
        training: Training,
        chunks: Chunks,
        valid: Sequence[Example],
        folder: Path,
        where: Where,
        start: Path | None,
        codebooks: Tensor | None,
        workers: Workers,
    ) -> None:
        torch.manual_seed(training.seed)
        self.settings, self.training, self.valid = settings, training, valid
        self.folder, self.where, self.workers = folder, where, workers
        self.lanes = range(workers.rank, training.accumulate, workers.world)  # the batches of a step that are ours
        self.codebooks = alarms.codebooks(valid)
        self.journal = Journal(folder, settings.half, silent=workers.rank > 0, tensorboard=where.tensorboard)
        self.states = states.Writer(folder, where.keep_last)
        self.clock = Clock()
        self.unread: list[tuple[int, Tensor, Tensor]] = []  # step, [loss, codes] of all workers, gradient norm
        self.model = begin(settings, start, codebooks)
        if settings.monotonic and not self.model.heard_as.any() and states.newest(folder) is None:
            self.model.heard_as.data.copy_(listen(chunks, settings, training.seed))
        keep_fp32()
        self.model = self.model.to(where.device)
        self.model.transformer.checkpoint_activations = where.checkpoint_activations
        self.gradients = self._share_out()
        self.optimizer = adamw(self.model, training.learning_rate, training.betas, training.weight_decay)
        self.average = Average(self.model, training.ema) if training.ema else None
        self.state = self._resume()
        self.device = torch.device(where.device)
        self.device_flops = workers.world * throughput.matmul_rate(self.device, training.precision)

    def batches(self, chunks: Chunks) -> Iterator[tuple[Batch, Position]]:
        """Without end, a batch of each of this worker's streams in turn, with the position after it in that stream."""
        training, state = self.training, self.state
        streams = {
            lane: stream(
                Share(chunks, lane, training.accumulate),
                training.batch_frames // training.accumulate,
                training.seed,
                state.positions[lane],
                training.window_chunks,
                training.curriculum,
            )
            for lane in self.lanes
        }
        for step in count(state.step):
            longest = training.curriculum.longest(step / training.steps)
            for batches in streams.values():
                yield _let_in(batches, longest)

    def to_the_end(self, batches: Iterator[tuple[Batch, Position]]) -> None:
        """All steps that are left, and the checkpoint."""
        state, steps = self.state, self.training.steps
        self.journal.begin(state.step, steps, state.tokens_seen)
        if not state.progress:
            self._note()
        self.clock.lap()
        while state.step < steps:
            self._step(batches)
            is_last = state.step == steps
            is_noted = state.step % self.training.validate_every == 0 or is_last
            is_saved = state.step % self.where.save_every == 0 or is_last
            if state.step % READ_EVERY == 0 or is_noted or is_saved:
                self._read()
            if is_noted:
                self._note()
            if is_saved:
                self._save_state()
        with self._speaking():
            self._save_checkpoint(self.folder)
        self.states.wait()
        self.journal.close()

    def _step(self, batches: Iterator[tuple[Batch, Position]]) -> None:
        training, state, workers = self.training, self.state, self.workers
        self.model.train()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)  # loss, codes
        for lane in self.lanes:
            batch, state.positions[lane] = next(batches)
            self.clock.count(throughput.training_flops(self.settings.size, batch))
            words = np.random.SeedSequence([training.seed, state.step, lane]).generate_state(1, np.uint64)
            seed = int(words[0] >> np.uint64(1))
            torch.manual_seed(seed)  # dropout
            with autocast(self.device, training.precision):
                draws = torch.Generator().manual_seed(seed)
                asked = ask(self.model, batch.to(self.device), draws, own=training.own_codes)
            loss_sum, targets = loss(asked.logits, asked.targets), asked.targets
            if lane == self.lanes[-1]:
                self.gradients.expect()
            torch.autograd.backward(loss_sum + asked.beside)
            sums += torch.stack([loss_sum.detach(), (targets != IGNORED).sum()]).to(sums)
        workers.add([sums])
        gradients = self.gradients.meet()
        norm = scale_and_clip(gradients, self.gradients.squared_norm(), sums[1], training.max_gradient_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = training.rate(state.step)
        self.optimizer.step()
        self.gradients.clear()
        if self.average:
            self.average.follow()
        self.unread.append((state.step, sums, norm))
        state.step += 1

    def _read(self) -> None:
        """Looks at the losses since the last look, all at once, and writes a line."""
        state, steps = self.state, self.training.steps
        total = num_codes = norm = 0.0
        for step, sums, norm_then in self.unread:
            loss_sum, codes, norm = *sums.tolist(), norm_then.item()
            if not math.isfinite(loss_sum + norm):
                what, value = ("gradient", norm) if math.isfinite(loss_sum) else ("loss", loss_sum)
                self.journal.write(self._line(None, None, f"nan_loss: the {what} became {value} at step {step}"))
                raise Diverged(f"the {what} became {value} at step {step}: lower the learning rate or warm up longer")
            state.spikes.look(step, loss_sum / max(codes, 1))
            state.loss_sum += loss_sum  # one by one, so that no sum depends on how often they are looked at
            state.loss_codes += int(codes)
            state.tokens_seen += int(codes)
            total, num_codes = total + loss_sum, num_codes + codes
        number = len(self.unread)
        self.unread.clear()
        seconds, flops = self.clock.lap()
        if number:
            self.journal.write(
                self._line(
                    total / max(num_codes, 1),
                    norm,
                    tokens_per_second=num_codes / seconds,
                    mfu=flops * self.workers.world / seconds / self.device_flops,
                    seconds_left=(steps - state.step) * seconds / number,
                )
            )

    def _line(self, train_loss: float | None, norm: float | None, note: str | None = None, **pace: float) -> Line:
        state = self.state
        rate = self.training.rate(max(state.step - 1, 0))
        figures: dict[str, Any] = {"tokens_per_second": None, "mfu": None, "seconds_left": None, **pace}
        figures |= {"note": note, "workers": self.workers.world}
        return Line(state.step, self.training.steps, train_loss, rate, norm, state.tokens_seen, **figures)

    def _note(self) -> None:
        """Validates, adds a record to the progress, and keeps the weights if they are the best."""
        state, training = self.state, self.training
        with self._speaking():
            found = (
                validate(self.model, self.valid, training.batch_frames, self.workers, training.precision)
                if self.valid
                else None
            )
            told = state.spikes.told() + alarms.dead(self.codebooks)
            if found and state.step > training.warmup_steps:
                told += alarms.at_chance(self.codebooks, found.top10_by_codebook)
                told += alarms.phones_ignored(found.loss, found.loss_shuffled)
            record = Progress(
                step=state.step,
                learning_rate=training.rate(max(state.step - 1, 0)),
                train_loss=state.loss_sum / state.loss_codes if state.loss_codes else None,
                **figures(found),
                alarms=tuple(told),
                tokens_seen=state.tokens_seen,
                num_parameters=num_parameters(self.model),
            )
            state.progress.append(record)
            state.loss_sum, state.loss_codes = 0.0, 0
            if state.step < training.steps and found and best(state.progress) is record:
                self._save_checkpoint(best_folder(self.folder, state.step))
        self.journal.validated(asdict(record))
        self.clock.lap()

    def _speaking(self) -> Any:
        """The model with the weights that it speaks with."""
        return self.average.shown() if self.average else nullcontext()

    def _share_out(self) -> Gradients:
        model, workers, where = self.model, self.workers, self.where
        if where.sharding == "fsdp" and workers.world > 1:
            split(model, list(model.transformer.layers), where.device, workers)
            gradients: Gradients = Parts(model, workers)
        else:
            gradients = Buckets([weight for weight in model.parameters() if weight.requires_grad], workers)
        if where.compile:
            model.compile(dynamic=True, options={"fallback_random": True})  # or dropout would draw other numbers
        else:
            onednn.hasten(model)
        return gradients

    def _save_checkpoint(self, folder: Path) -> None:
        """Writes the weights as they are; every worker must ask."""
        spoken = weights(self.model)
        if self.workers.rank == 0:
            with torch.device("meta"):
                model = build(self.settings)
            model.load_state_dict(spoken, assign=True)
            save(folder, model)

    def _save_state(self) -> None:
        """Has a state written to go on from; every worker must ask. Then weights that were best and are not go."""
        self.states.wait()
        state = self.state
        state.positions = self._gathered(state.positions)
        saved: dict[str, Any] = {"weights": weights(self.model), "moments": moments(self.model, self.optimizer)}
        with self._speaking():
            saved["average"] = weights(self.model) if self.average else None
        if self.workers.rank == 0:
            gone = set(self.folder.glob("best-*")) - {best_folder(self.folder, best(state.progress).step)}
            self.states.keep(state.step, {**saved, "state": asdict(state)}, gone)

    def _gathered(self, positions: list[Position]) -> list[Position]:
        """The positions in all streams, each as the worker whose it is knows it."""
        known = self.workers.gather(positions)
        return [known[lane % self.workers.world][lane] for lane in range(len(positions))]

    def _resume(self) -> State:
        """The newest state, model and optimizer included, or a fresh one."""
        saved = states.newest(self.folder)
        if saved is None:
            return State(positions=[Position()] * self.training.accumulate)
        if self.average:
            with self.average.shown():
                set_weights(self.model, saved["average"])
        set_weights(self.model, saved["weights"])
        set_moments(self.model, self.optimizer, saved["moments"])
        record = saved["state"]
        positions = [Position(**position) for position in record.pop("positions")]
        progress = [Progress(**progress) for progress in record.pop("progress")]
        if len(positions) != self.training.accumulate:  # of a version whose streams were its workers'
            positions = [Position(max(position.epoch for position in positions) + 1)] * self.training.accumulate
        spikes = alarms.Spikes(**record.pop("spikes"))
        return State(**record, positions=positions, progress=progress, spikes=spikes)


def _let_in(batches: Iterator[tuple[Batch, Position]], longest: float) -> tuple[Batch, Position]:
    """The next batch that is not longer; where two epochs hold none, the next at all."""
    batch, position = next(batches)
    last = position.epoch + 2
    while batch.codes.shape[2] > longest and position.epoch < last:
        batch, position = next(batches)
    return batch, position
