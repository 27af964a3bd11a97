"""How fast training is, where a step's time goes, and what the device could do.

    python -m bench.training                      6 layers x 512, batches of 8 x 750 frames and 100 phones, CPU
    python -m bench.training --device cuda        the paper's size, bf16; needs nothing but this repository
    python -m bench.training --short              batches of 2 x 375 frames, fp32 alone
    python -m bench.training --size tiny --batch 2 --frames 60 --steps 1 --utterances 8

`plain` is the same model as torch runs it by itself; the two take turns, step by step, so whatever
else the machine does falls on both; where it does much, `frames per core second` with OMP_NUM_THREADS=1
is the figure that lasts. Figures are medians of steps. Rates are in frames per second:
the AR says one code of a frame in a step, and so does the NAR.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bench.progress import options, tell, told
from model.cpu import onednn
from model.training import throughput
from model.training.batches import Position, Share, ahead, stream
from model.training.optimizer import adamw, scale_and_clip
from model.training.parallel import Buckets, Workers, autocast
from model.training.validation import ask, loss
from model.valle.batch import Batch
from model.valle.checkpoint import build, num_parameters
from model.valle.settings import SIZES, Half, Settings, Size
from tasks.text.symbols import SYMBOLS
from tasks.training.worker import ShardFiles, TrainShards
from warehouse.tables import CODEBOOKS, CODES, EXAMPLES, PHONES

BASE = Size(num_layers=6, num_heads=8, width=512, ffn_width=2048, dropout=0.1)
Parts = dict[str, float]  # seconds by part of a step


class Trainer:
    """A half that is trained a step at a time, on a watch."""

    def __init__(self, half: Half, size: Size, device: torch.device, precision: str, *, plain: bool = False) -> None:
        torch.manual_seed(0)
        self.size, self.device, self.precision, self.plain = size, device, precision, plain
        self.workers = Workers.here()
        self.model = build(Settings(half, size, SYMBOLS, "")).to(device)
        if plain:
            self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(self.model.parameters())
        else:
            onednn.hasten(self.model)
            self.gradients = Buckets(list(self.model.parameters()), self.workers)
            self.optimizer = adamw(self.model, 1e-4, (0.9, 0.95), 0.01)

    def step(self, batches: Iterator[tuple[Batch, Position]]) -> Parts:
        """One step, on the next batch."""
        marks = [self._now()]
        worked = time.process_time()
        batch = next(batches)[0]
        marks.append(self._now())
        with autocast(self.device, self.precision):
            logits, targets, _ = ask(self.model, batch.to(self.device), torch.Generator().manual_seed(0))
        loss_sum = loss(logits, targets)
        marks.append(self._now())
        if self.plain:
            torch.autograd.backward(loss_sum)
            marks += [self._now()] * 2
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        else:
            self.gradients.expect()
            torch.autograd.backward(loss_sum)
            marks.append(self._now())
            summed = self.gradients.meet()
            marks.append(self._now())
            codes = torch.tensor(float(batch.code_lengths.sum()), dtype=torch.float64, device=self.device)
            scale_and_clip(summed, self.gradients.squared_norm(), codes, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True) if self.plain else self.gradients.clear()
        marks.append(self._now())
        names = ("loader", "forward", "backward", "all-reduce", "optimizer")
        parts = dict(zip(names, np.diff(marks).tolist(), strict=True))
        frames = float(batch.code_lengths.sum())
        return {
            **parts,
            "seconds": marks[-1] - marks[0],
            "core seconds": time.process_time() - worked,
            "frames": frames,
            "flops": throughput.training_flops(self.size, batch),
        }

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def corpus(folder: Path, num_utterances: int, frames: tuple[int, int], phones: int, num_shards: int = 4) -> TrainShards:
    """Shards of random codes on disk, as a warehouse has them; lengths are uniform in `frames`."""
    draw = np.random.default_rng(0)
    shards = []
    for shard in range(num_shards):
        ids = [f"{shard}#{number}" for number in range(num_utterances // num_shards)]
        lengths = draw.integers(frames[0], frames[1] + 1, len(ids)).tolist()
        columns: dict[str, dict[str, Any]] = {
            EXAMPLES.name: {"split": ["train"] * len(ids)},
            PHONES.name: {"phone_ids": [draw.integers(0, len(SYMBOLS), phones) for _ in ids]},
            CODES.name: {name: [draw.integers(0, 1024, length) for length in lengths] for name in CODEBOOKS},
        }
        paths = []
        for table in (EXAMPLES, PHONES, CODES):
            given: dict[str, Any] = {"utterance_id": ids, **columns[table.name]}
            rows = {name: given.get(name, [None] * len(ids)) for name in table.schema.names}
            paths.append(folder / f"{table.name}-{shard}.parquet")
            pq.write_table(pa.table(rows, schema=table.schema), paths[-1])
        shards.append(ShardFiles(*map(str, paths)))
    return TrainShards(tuple(shards), CODEBOOKS, "dev")


def loader(shards: TrainShards, half: Half, batch_frames: int) -> dict[str, float]:
    """Frames per second that batches are made at, over three epochs, and how much of a batch is padding."""
    ours = TrainShards(shards.shards, CODEBOOKS[:1] if half == "ar" else CODEBOOKS, "dev")
    real = padded = 0
    begun = time.perf_counter()
    for batch, position in stream(Share(ours), batch_frames, 0, Position()):
        if position.epoch == 3:
            break
        real += int(batch.code_lengths.sum())
        padded += batch.codes.shape[0] * batch.codes.shape[2]
    return {"loader frames/s": real / (time.perf_counter() - begun), "padding": 1 - real / padded}


def measure(
    trainers: dict[str, Trainer], shards: TrainShards, batch_frames: int, steps: int, rate: float
) -> dict[str, Any]:
    """What each trainer does a second, and where its step's time goes; they take turns."""
    found: dict[str, list[Parts]] = {name: [] for name in trainers}
    with ahead(stream(Share(shards), batch_frames, 0, Position())) as batches:
        for _ in range(steps + 1):  # the first one warms up
            for name, trainer in trainers.items():
                found[name].append(trainer.step(batches))
                tell(f"{name}: a step of {found[name][-1]['seconds']:.2f} s")
    return {name: _summary(parts[1:], rate) for name, parts in found.items()}


def _summary(steps: list[Parts], rate: float) -> dict[str, Any]:
    parts = {name: statistics.median(step[name] for step in steps) for name in steps[0]}
    flops = statistics.median(step["flops"] / step["seconds"] for step in steps)
    return {
        "frames/s": statistics.median(step["frames"] / step["seconds"] for step in steps),
        "frames per core second": statistics.median(step["frames"] / step["core seconds"] for step in steps),
        "GFLOP/s": flops / 1e9,
        "MFU": flops / rate,
        "seconds": {name: parts[name] for name in ("loader", "forward", "backward", "all-reduce", "optimizer")},
    }


def main(words: list[str] | None = None) -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", choices=[*SIZES, "base"], help="base on a CPU, paper on a GPU")
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], help="both on a CPU, bf16 on a GPU")
    parser.add_argument("--batch", type=int, default=8, help="utterances of a batch")
    parser.add_argument("--frames", type=int, default=750, help="of an utterance")
    parser.add_argument("--phones", type=int, default=100, help="of an utterance")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--utterances", type=int, default=800, help="in the loader's corpus")
    said = options(parser, words, batch=2, frames=375, precision=["fp32"], steps=2, utterances=200)
    device = torch.device(said.device)
    on_gpu = device.type == "cuda"
    size = {**SIZES, "base": BASE}[said.size or ("paper" if on_gpu else "base")]
    figures: dict[str, Any] = {}
    halves: tuple[Half, ...] = ("ar", "nar")
    precisions: list[str] = said.precision or (["bf16"] if on_gpu else ["fp32", "bf16"])
    rates = {precision: throughput.matmul_rate(device, precision, 8192 if on_gpu else 1024) for precision in precisions}
    figures["device GFLOP/s"] = {precision: rate / 1e9 for precision, rate in rates.items()}
    with tempfile.TemporaryDirectory() as folder:
        even, uneven = Path(folder) / "even", Path(folder) / "uneven"
        even.mkdir()
        uneven.mkdir()
        alike = corpus(even, max(said.batch * 4, 16), (said.frames, said.frames), said.phones)
        various = corpus(uneven, said.utterances, (said.frames // 2, 2 * said.frames), said.phones)
        for half in halves:
            for precision in precisions:
                trainers = {"ours": Trainer(half, size, device, precision)}
                if not on_gpu:
                    trainers["plain"] = Trainer(half, size, device, precision, plain=True)
                found = measure(trainers, alike, said.batch * said.frames, said.steps, rates[precision])
                figures |= told({f"{half} {precision}": _rounded(found)})
            figures |= told({f"{half} loader": loader(various, half, said.batch * said.frames)})
            trained = max(figures[f"{half} {precision}"]["ours"]["frames/s"] for precision in precisions)
            found = figures[f"{half} loader"]
            found["times as fast as training"] = found["loader frames/s"] / trained
            figures[f"{half} parameters"] = num_parameters(trainers["ours"].model)
    print(json.dumps(_rounded(figures), indent=1))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
