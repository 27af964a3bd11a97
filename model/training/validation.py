"""What a half is asked, and how well it answers: loss and accuracy, codebook by codebook.

A validation asks the same at every call: stage and prompt of an example depend on
its place among the examples alone, and every stage is asked where there are
examples enough. So figures of two steps differ by the weights and nothing else.

Shapes: B batch, P phones, T frames, V vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from model.training.batches import pack
from model.training.own_codes import own_codes
from model.training.parallel import Workers, autocast
from model.valle import ar, nar
from model.valle.ar import AR, IGNORED, NUM_CODES
from model.valle.batch import Batch, Example, collate
from model.valle.nar import NAR, STAGES
from model.valle.settings import NUM_CODEBOOKS

SHUFFLED_EVERY = 4  # of so many batches, one is asked again with its phones shuffled


@dataclass(frozen=True)
class Validation:
    """How well a half knows some examples."""

    loss: float  # nats per code
    top10: float  # share of codes among the ten likeliest
    loss_by_codebook: tuple[float | None, ...]  # the first codebook first; null where none was asked
    top10_by_codebook: tuple[float | None, ...]
    loss_shuffled: float  # nats per code with the phones of each example shuffled

    @property
    def perplexity(self) -> float:
        """Among how many codes, equally likely, it would be as unsure."""
        return math.exp(min(self.loss, 700.0))


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of logits `[B, T, V]`, in nats, summed over the targets `[B, T]` that are not `IGNORED`."""
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def losses(logits: Tensor, targets: Tensor) -> Tensor:
    """As `loss`, but of each row: `[B]`."""
    return functional.cross_entropy(
        logits.transpose(1, 2).float(), targets, ignore_index=IGNORED, reduction="none"
    ).sum(1)


def top10(logits: Tensor, targets: Tensor) -> Tensor:
    """How many of the targets `[B, T]` are among the ten likeliest of logits `[B, T, V]`, by row `[B]`."""
    likeliest = logits.topk(10, dim=-1).indices
    return (likeliest == targets.unsqueeze(-1)).any(dim=-1).sum(1)


class Asked(NamedTuple):
    """What a half says of a batch, and what it should have said."""

    logits: Tensor  # [B, T, V]
    targets: Tensor  # [B, T]
    beside: Tensor | float = 0.0  # nats, summed: what a monotonic AR has missed of when its phones go on


class Followed(NamedTuple):
    """What a monotonic half is told of a batch whose codes are known; nothing for another."""

    pointed: Tensor | None  # [B, K, 4], of the AR's K groups or of the NAR's frames
    choices: Tensor | None = None  # [B, K], of the AR


def follow(model: AR | NAR, batch: Batch) -> Followed:
    """What a half is told of a batch: the same each time, and on a GPU as slow as a step."""
    if isinstance(model, AR):
        return Followed(*model.follow(batch.phones, batch.phone_lengths, batch.codes[:, 0], batch.code_lengths))
    return Followed(model.follow(batch.phones, batch.phone_lengths, batch.codes, batch.code_lengths))


def ask(
    model: AR | NAR,
    batch: Batch,
    generator: torch.Generator,
    stages: Tensor | None = None,
    own: float = 0.0,
    followed: Followed | None = None,
) -> Asked:
    """Logits of a batch and the targets they should meet.

    The generator draws the NAR's prompts, its stages unless `stages` `[B]` says them, and the share `own` of the
    codes that the AR hears as itself would say them. `followed` is what `follow` gives, where it is known already.
    """
    languages = batch.languages if model.settings.languages else None
    pointed, choices = followed or follow(model, batch)
    if isinstance(model, AR):
        codes = batch.codes[:, 0]
        heard = own_codes(model, batch, languages, pointed, own, generator) if own else codes
        logits = model(batch.phones, batch.phone_lengths, heard, batch.code_lengths, languages, pointed)
        said, moves = logits[..., :NUM_CODES], logits[:, :: model.settings.group, NUM_CODES:]
        beside = 0.0 if choices is None else loss(moves[:, : choices.shape[1]], choices)
        return Asked(said, ar.targets(codes, batch.code_lengths), beside)
    task = nar.draw(batch.code_lengths, generator, model.settings.prompt, model.settings.stages)
    if stages is not None:
        task = replace(task, stages=stages)
    logits = model(batch.phones, batch.phone_lengths, batch.codes, batch.code_lengths, task, languages, pointed)
    return Asked(logits, nar.targets(batch.codes, batch.code_lengths, task))


@torch.no_grad()
def validate(
    model: AR | NAR, valid: Sequence[Example], batch_frames: int, workers: Workers, precision: str = "fp32"
) -> Validation:
    """How well a half knows examples, over all workers; the same question at every call."""
    device = next(model.parameters()).device
    sums = torch.zeros(NUM_CODEBOOKS, 3, dtype=torch.float64, device=device)  # loss, hits, codes
    shuffled = torch.zeros(3, dtype=torch.float64, device=device)  # loss so, loss unshuffled, codes
    model.eval()
    questions = list(_questions(model, valid, batch_frames))
    for first in range(0, len(questions), workers.world):
        place = first + workers.rank
        counts = place < len(questions)  # all work as often as any: where weights are shared out, each needs the others
        examples, stages = questions[place if counts else 0]
        batch, rows = collate(examples), stages.to(device)
        with autocast(device, precision):
            logits, targets, _ = ask(model, batch.to(device), torch.Generator().manual_seed(place), rows)
        row_losses, num_codes = losses(logits, targets), (targets != IGNORED).sum(1)
        if counts:
            sums.index_add_(0, rows - 1, torch.stack([row_losses, top10(logits, targets), num_codes], 1).to(sums))
        if any(_is_asked_again(other) for other in range(first, first + workers.world)):
            mixed = _shuffled(batch, place).to(device)
            with autocast(device, precision):
                logits, targets, _ = ask(model, mixed, torch.Generator().manual_seed(place), rows)
            if counts and _is_asked_again(place):
                shuffled += torch.stack([loss(logits, targets), row_losses.sum(), num_codes.sum()]).to(shuffled)
    model.train()
    workers.add([sums, shuffled])
    return _answer(sums.tolist(), shuffled.tolist())


def _answer(sums: list[list[float]], shuffled: list[float]) -> Validation:
    codes = max(sum(row[2] for row in sums), 1.0)
    mean_loss = sum(row[0] for row in sums) / codes
    return Validation(
        loss=mean_loss,
        top10=sum(row[1] for row in sums) / codes,
        loss_by_codebook=tuple(row[0] / row[2] if row[2] else None for row in sums),
        top10_by_codebook=tuple(row[1] / row[2] if row[2] else None for row in sums),
        loss_shuffled=mean_loss + (shuffled[0] - shuffled[1]) / max(shuffled[2], 1.0),
    )


def _is_asked_again(place: int) -> bool:
    """Whether a batch is asked again with its phones shuffled; such batches fall to every worker."""
    return place % SHUFFLED_EVERY == place // SHUFFLED_EVERY % SHUFFLED_EVERY


def _questions(
    model: AR | NAR, valid: Sequence[Example], batch_frames: int
) -> Iterator[tuple[Sequence[Example], Tensor]]:
    """Batches, each with what its rows are asked: the codebook `[B]`, 1 of the AR, 2..8 of the NAR."""
    if isinstance(model, AR):
        yield from ((examples, torch.ones(len(examples), dtype=torch.long)) for examples in pack(valid, batch_frames))
        return
    rounds = min(len(STAGES), -(-len(STAGES) // len(valid))) if valid else 0
    place = 0
    for _ in range(rounds):
        for examples in pack(valid, batch_frames):
            yield examples, STAGES.start + torch.arange(place, place + len(examples)) % len(STAGES)
            place += len(examples)


def _shuffled(batch: Batch, seed: int) -> Batch:
    """The same batch with the phones of each row in another order."""
    generator = torch.Generator().manual_seed(seed)
    phones = batch.phones.clone()
    for row, length in zip(phones, batch.phone_lengths.tolist(), strict=True):
        row[:length] = row[:length][torch.randperm(length, generator=generator)]
    return replace(batch, phones=phones)
