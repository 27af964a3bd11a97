"""Where a training stands, and what was known at each validation on the way there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.training.alarms import Spikes
from model.training.batches import Position
from model.training.validation import Validation


@dataclass(frozen=True)
class Progress:
    """What was known at a validation. Figures of it are null where nothing validates."""

    step: int
    learning_rate: float
    train_loss: float | None  # nats per code since the last one; null at step 0
    valid_loss: float | None  # nats per code
    valid_perplexity: float | None
    valid_top10: float | None  # share of codes among the ten likeliest
    valid_loss_by_codebook: tuple[float | None, ...] | None  # the first codebook first
    valid_top10_by_codebook: tuple[float | None, ...] | None
    valid_loss_shuffled: float | None  # with the phones of each example shuffled
    alarms: tuple[str, ...]  # since the last one, see `model.training.alarms`
    tokens_seen: int  # codes trained on, by all workers
    num_parameters: int


@dataclass
class State:
    """Where a training stands, beside its weights and its optimizer."""

    step: int = 0
    tokens_seen: int = 0
    loss_sum: float = 0.0  # since the last validation, over all workers
    loss_codes: int = 0
    positions: list[Position] = field(default_factory=list)  # in the stream of each of a step's batches
    progress: list[Progress] = field(default_factory=list)
    spikes: Spikes = field(default_factory=Spikes)


def best(progress: Sequence[Progress]) -> Progress:
    """The record whose weights are kept as the best: of the least loss; the last where nothing validates."""
    validated = [record for record in progress if record.valid_loss is not None]
    return min(validated, key=lambda record: record.valid_loss or 0.0) if validated else progress[-1]


def best_folder(folder: Path, step: int) -> Path:
    """Where the best weights lie, if they are not the last."""
    return folder / f"best-{step:09d}"


def figures(found: Validation | None) -> dict[str, Any]:
    """A validation as `Progress` names its figures."""
    return {
        "valid_loss": found and found.loss,
        "valid_perplexity": found and found.perplexity,
        "valid_top10": found and found.top10,
        "valid_loss_by_codebook": found and found.loss_by_codebook,
        "valid_top10_by_codebook": found and found.top10_by_codebook,
        "valid_loss_shuffled": found and found.loss_shuffled,
    }
