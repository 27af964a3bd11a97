"""The training log: lines in `progress.jsonl`, figures for TensorBoard, words for whoever watches.

A line every few steps, so anyone may read how far a training is, how fast, and for
how long yet. A training that goes on after a kill takes back the lines of steps that
it will do again, and says how many those are. Timings live here and never in rows.
"""

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROGRESS, TENSORBOARD = "progress.jsonl", "tensorboard"
LOG_SECONDS = 60.0  # between two words in the log
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Line:
    """How a training stood at a step."""

    step: int
    steps: int  # when it will be done
    train_loss: float | None  # nats per code, mean since the line before
    learning_rate: float
    gradient_norm: float | None
    tokens_seen: int
    tokens_per_second: float | None  # codes, of all workers
    mfu: float | None  # share of the devices' measured rate of multiplying that goes into the model
    seconds_left: float | None
    note: str | None = None  # what happened, in words
    workers: int | None = None  # that trained it


class Journal:
    """Written by one worker; the others hold a silent one."""

    def __init__(self, folder: Path, name: str, *, silent: bool, tensorboard: bool) -> None:
        self._path, self._name, self._silent = folder / PROGRESS, name, silent
        self._board: Any = None
        self._wants_board = tensorboard and not silent
        self._logged = time.monotonic()
        if not silent:
            folder.mkdir(parents=True, exist_ok=True)

    def begin(self, step: int, steps: int, tokens_seen: int) -> None:
        """A training begins, or goes on at a step."""
        if self._silent:
            return
        lines = [line for line in _lines(self._path) if line["step"] <= step]
        lost = max((line["step"] for line in _lines(self._path)), default=step) - step
        self._path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self._board = _board(self._path.parent / TENSORBOARD, step) if self._wants_board else None
        if (step or lost) and step < steps:
            note = f"resumed at step {step}, {lost} steps lost"
            _LOG.warning("%s %s", self._name, note)
            self.write(Line(step, steps, None, 0.0, None, tokens_seen, None, None, None, note))

    def write(self, line: Line) -> None:
        """Adds a line."""
        if self._silent:
            return
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(line)) + "\n")
        self._plot(line.step, {key: value for key, value in asdict(line).items() if key not in ("step", "steps")})
        if time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            _LOG.info("%s %s", self._name, _words(line))

    def validated(self, record: dict[str, Any]) -> None:
        """Tells the figures of a validation, and its alarms aloud."""
        if self._silent:
            return
        for alarm in record["alarms"]:
            _LOG.warning("%s at step %d: %s", self._name, record["step"], alarm)
            if self._board is not None:
                self._board.add_text("alarms", alarm, record["step"])
        valid = {key: value for key, value in record.items() if key.startswith("valid_")}
        for name in ("valid_loss_by_codebook", "valid_top10_by_codebook"):
            for codebook, value in enumerate(valid.pop(name) or (), start=1):
                valid[f"{name}/{codebook}"] = value
        self._plot(record["step"], valid)

    def close(self) -> None:
        """Nothing more will be said."""
        if self._board is not None:
            self._board.close()

    def _plot(self, step: int, figures: dict[str, Any]) -> None:
        if self._board is not None:
            for name, value in figures.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(name, value, step)


def how_far(folder: Path) -> str | None:
    """How a training that works in this folder stands, in words: its step, loss, rate, and the time left."""
    lines = _lines(folder / PROGRESS)
    return _words(Line(**lines[-1])) if lines else None


class Clock:
    """How fast a training goes, from line to line."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._flops = 0.0

    def count(self, flops: float) -> None:
        """This much arithmetic has been asked for by this worker."""
        self._flops += flops

    def lap(self) -> tuple[float, float]:
        """Seconds and FLOPs since the last call."""
        now = time.monotonic()
        seconds, flops = now - self._begun, self._flops
        self._begun, self._flops = now, 0.0
        return max(seconds, 1e-9), flops


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole; a kill may have torn the last."""
    lines = []
    for text in path.read_text("utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def _board(folder: Path, step: int) -> Any:
    """Where TensorBoard reads, or nothing where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _LOG.info("tensorboard is not installed: the figures are in %s alone", PROGRESS)
        return None
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _words(line: Line) -> str:
    parts = [f"step {line.step} of {line.steps}"]
    if line.train_loss is not None:
        parts.append(f"loss {line.train_loss:.3f}")
    if line.tokens_per_second is not None:
        parts.append(f"{line.tokens_per_second:,.0f} codes/s")
    if line.mfu is not None:
        parts.append(f"MFU {line.mfu:.0%}")
    if line.seconds_left is not None:
        parts.append(f"{line.seconds_left / 60:.0f} min left")
    return ", ".join(parts)
