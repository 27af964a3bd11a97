"""Trains a half on codes that arrive meanwhile: `python -m deploy.embedded.accelerated.train ar FOLDER OUT`.

FOLDER is where `deploy.embedded.accelerated.speak` leaves codes; run again, it goes on. What `model.training.trainer`
does for a corpus that lies there, this does for speech that is made in the same minutes: all of it lies on the device,
in batches that are made anew when there is half as much speech again, and each is aligned with its phones once and not
at every step. The learning rate falls by the clock. OUT/ar and OUT/nar are checkpoints of the moving average, and
OUT/ar/log.jsonl says every minute how it stands.

How phones sound, their symbols and all settings but the size are those of the pair that ships.

Shapes: B batch, T frames, G codes of a group.
"""

import argparse
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from deploy.embedded.accelerated import lines
from model.codec.weights import codebooks
from model.training import states
from model.training.batches import Curriculum, pack
from model.training.initialization import begin
from model.training.optimizer import Average, adamw, moments, set_moments, set_weights, weights
from model.training.parallel import Workers, autocast
from model.training.validation import Followed, ask, follow, loss, validate
from model.valle import checkpoint
from model.valle.ar import AR, IGNORED
from model.valle.batch import Batch, Example, collate
from model.valle.nar import NAR
from model.valle.settings import SIZES, Settings
from tasks.evaluation import checkpoint_pairs

_FRAMES = range(20, 1_001)  # that a row may have, one utterance or two
_PAIRED = 0.45  # of the utterances are joined with another of their voice
_OWN_FROM, _OWN = 0.35, 0.5  # of the time, and the share of its own codes that an AR hears from then on
_DROPOUT = 0.03  # no utterance comes more than thirty times
_EMA = 0.999
_WARM_UP = 150  # steps
_ALIGNED = 6  # batches that are aligned side by side, since a step of it is as slow for one


def main() -> None:
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = _options()
    Run(options).to_the_end()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains a half on codes that arrive; run again to go on.")
    parser.add_argument("half", choices=checkpoint_pairs.HALVES)
    parser.add_argument("folder", type=Path, help="where deploy.embedded.accelerated.speak leaves codes")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=9.5, help="of training, all goes together")
    parser.add_argument("--layers", type=int, default=SIZES["embedded"].num_layers)
    parser.add_argument("--width", type=int, default=SIZES["embedded"].width)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="AdamW's, at its height")
    parser.add_argument("--batch-frames", type=int, default=32_000, help="of a step")
    parser.add_argument("--first", type=int, default=1_500, help="utterances that it waits for")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between saved states")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Heard:
    """The utterances whose codes have come so far."""

    def __init__(self, folder: Path) -> None:
        self.train: list[Example] = []
        self.valid: list[Example] = []
        self._folder, self._lines, self._seen = folder / "codes", lines.read(folder).lines, set[Path]()

    def look(self) -> int:
        """Takes what is new; gives the number of utterances to train on."""
        for path in sorted(self._folder.glob("*.npz")):
            if path not in self._seen:
                self._seen.add(path)
                for place, codes in lines.codes(path):
                    self._take(self._lines[place], codes)
        return len(self.train)

    def _take(self, line: lines.Line, codes: Any) -> None:
        heard = self.valid if line.held_out else self.train
        heard.append(Example(np.array(line.phones, np.uint16), codes, speaker=str(line.voice)))


class Aligned(NamedTuple):
    """A batch on the device, and what the half is told of it."""

    batch: Batch
    followed: Followed


@torch.no_grad()
def aligned(model: AR | NAR, packed: list[list[Example]], device: torch.device) -> Iterator[Aligned]:
    """Batches on the device, several of them aligned at once."""
    for first in range(0, len(packed), _ALIGNED):
        some = packed[first : first + _ALIGNED]
        together = collate([example for rows in some for example in rows]).to(device)
        followed, begin_row = follow(model, together), 0
        for rows in some:
            here = slice(begin_row, begin_row + len(rows))
            begin_row = here.stop
            batch = collate(rows).to(device)
            num_frames = batch.codes.shape[2]
            slots = num_frames // model.settings.group + 1 if isinstance(model, AR) else num_frames
            yield Aligned(batch, Followed(*(None if t is None else t[here, :slots].clone() for t in followed)))


class Run:
    """A training from its state on."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.out / options.half
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.precision = "bf16" if self.device.type == "cuda" else "fp32"
        torch.manual_seed(options.seed)
        self.model = _begin(options).to(self.device).train()
        self.optimizer = adamw(self.model, options.rate, (0.9, 0.95), weight_decay=0.01)
        self.average = Average(self.model, _EMA)
        self.step = self.epoch = self.built = 0
        self.seconds = 0.0  # of earlier goes
        self.sums = torch.zeros(2, dtype=torch.float64, device=self.device)  # loss and codes since the last note
        self._resume()
        self.heard, self.begun = Heard(options.folder), time.time()

    def to_the_end(self) -> None:
        """Trains until the time is over."""
        while self.heard.look() < self.options.first:
            time.sleep(1)
        self.begun = noted = time.time()
        for batch, followed in self._batches():
            if self._done() >= 1:
                break
            self._learn(batch, followed)
            if time.time() > noted + self.options.every:
                self._note()
                noted = time.time()
        self._note()

    def _done(self) -> float:
        """The share of the time that is over."""
        minutes: float = self.options.minutes
        return (self.seconds + time.time() - self.begun) / (60 * minutes)

    def _batches(self) -> Iterator[Aligned]:
        """Batches without end, made anew every eight epochs, or when there is half as much speech again."""
        between = self.model.settings.symbols.index(" ")
        made: list[Aligned] = []
        while True:
            pick = np.random.default_rng([self.options.seed, self.epoch])
            number = self.heard.look()
            if not made or number > 1.5 * self.built or self.epoch % 8 == 0:
                shuffled = [self.heard.train[place] for place in pick.permutation(number)]
                paired = Curriculum(paired=_PAIRED, between=between).pair(shuffled, pick)
                rows = [row for row in paired if row.codes.shape[1] in _FRAMES]
                made = list(aligned(self.model, pack(rows, self.options.batch_frames), self.device))
                if not made:
                    raise SystemExit(
                        f"none of the {number} utterances has {_FRAMES.start} to {_FRAMES.stop - 1} frames"
                    )
                self.built = number
                logging.getLogger("train").info(
                    "%d batches of %d rows; %d are too long or too short", len(made), len(rows), len(paired) - len(rows)
                )
            yield from (made[place] for place in pick.permutation(len(made)))
            self.epoch += 1

    def _learn(self, batch: Batch, followed: Followed) -> None:
        """One step."""
        done = self._done()
        torch.manual_seed(self.options.seed + self.step)  # dropout
        draws = torch.Generator().manual_seed(self.options.seed + self.step)
        with autocast(self.device, self.precision):
            asked = ask(self.model, batch, draws, own=_OWN if done > _OWN_FROM else 0.0, followed=followed)
            loss_sum = loss(asked.logits, asked.targets)
        num_codes = (asked.targets != IGNORED).sum()
        torch.autograd.backward((loss_sum + asked.beside) / num_codes)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.options.rate, self.step, done)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.follow(self.step)
        self.sums += torch.stack([loss_sum.detach(), num_codes]).to(self.sums)
        self.step += 1

    def _note(self) -> None:
        """Validates, writes a line of the log, the checkpoint, and the state."""
        loss_sum, num_codes = self.sums.tolist()
        self.sums.zero_()
        seconds = self.seconds + time.time() - self.begun
        line: dict[str, Any] = {"seconds": round(seconds), "step": self.step, "utterances": self.built}
        line |= {"loss": round(loss_sum / num_codes, 3) if num_codes else None}
        saved: dict[str, Any] = {"weights": weights(self.model), "moments": moments(self.model, self.optimizer)}
        with self.average.shown():
            if self.heard.valid:
                found = validate(
                    self.model, self.heard.valid, self.options.batch_frames, Workers.here(), self.precision
                )
                line |= {"valid": round(found.loss, 3), "shuffled": round(found.loss_shuffled, 3)}
                line |= {"codebooks": [None if one is None else round(one, 3) for one in found.loss_by_codebook]}
            saved["average"] = weights(self.model)
            checkpoint.save(self.folder, self.model)
        states.keep(
            self.folder,
            self.step,
            saved | {"seconds": seconds, "epoch": self.epoch + 1, "step": self.step},
            keep_last=1,
        )
        logging.getLogger("train").info("%s %s", self.options.half, json.dumps(line))
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _resume(self) -> None:
        """Goes on from the state, if there is one, with the next epoch."""
        saved = states.newest(self.folder)
        if saved:
            with self.average.shown():
                set_weights(self.model, saved["average"])
            set_weights(self.model, saved["weights"])
            set_moments(self.model, self.optimizer, saved["moments"])
            self.step = saved["step"]
            self.seconds, self.epoch = saved["seconds"], saved["epoch"]


def rate(peak: float, step: int, done: float) -> float:
    """The learning rate: warm at the beginning, and from a quarter of the time on falling to a hundredth."""
    falling = 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * (done - 0.25) / 0.75))
    return peak * min(1.0, (step + 1) / _WARM_UP) * (1.0 if done < 0.25 else falling)


def _begin(options: argparse.Namespace) -> AR | NAR:
    """A half with random weights, but for the codec's entries and how phones sound."""
    shipped = checkpoint_pairs.folder(checkpoint_pairs.EMBEDDED)
    like: Settings = checkpoint.read_settings(shipped / options.half)
    size = replace(SIZES["embedded"], num_layers=options.layers, width=options.width, ffn_width=4 * options.width)
    model = begin(replace(like, size=size, monotonic=True), None, codebooks("embedded"))
    model.heard_as.data.copy_(_heard_as(shipped))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = _DROPOUT
    return model


def _heard_as(pair: Path) -> Tensor:
    table: Tensor = checkpoint.load(pair / "ar").heard_as
    return table


if __name__ == "__main__":
    main()
