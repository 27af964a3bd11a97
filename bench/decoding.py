"""How fast speech is made: cached against computed anew, batched against one by one, lighter weights, first sound.

    python -m bench.decoding [--device cuda] [--threads N] [--short]

Weights are random and never end, so every row says as many frames as it is allowed. A and B of a ratio take turns in
one run. What `lifeiteng/vall-e` (no cache, 6 layers of 512) made with random weights on two cores of a
like machine is 14.6 frames a second, of 257 new frames behind a prompt of 225; it stands here for orientation alone.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from bench.progress import options, tell, told
from model.valle.ar import AR
from model.valle.decoding import Request, say_first, say_rest, speak
from model.valle.live import Chunking, stream_codes
from model.valle.nar import NAR
from model.valle.sampling import DEFAULT, sample
from model.valle.settings import CODEBOOK_SIZE, FRAME_RATE, SIZES, Settings, Size
from model.valle.synthesis import Pair

SYMBOLS = tuple(map(str, range(150)))
MIDDLE = Size(num_layers=6, num_heads=8, width=512, ffn_width=2048, dropout=0.0)
LIFEITENG = 14.6  # frames a second, see above


@dataclass(frozen=True)
class Load:
    """How much is asked for; the default is what the figures are of."""

    sizes: tuple[tuple[Size, int], ...] = ((SIZES["tiny"], 750), (MIDDLE, 257), (SIZES["paper"], 75))  # with new frames
    middle: Size = MIDDLE
    prompt_frames: int = 225
    new_frames: int = 257
    num_phones: int = 60
    every: int = 25  # of the frames computed anew, one in so many is; the figure is so many times that
    rows: int = 16
    device_rows: tuple[int, ...] = (1, 32, 128)
    device_size: Size = SIZES["paper"]
    times: int = 3


SHORT = Load(
    sizes=((SIZES["tiny"], 150),), prompt_frames=50, new_frames=40, num_phones=20, rows=4, device_rows=(1, 32), times=1
)


def endless_pair(size: Size, device: str) -> Pair:
    """Random halves, of which the AR never says `<EOS>`."""
    torch.manual_seed(0)
    size = replace(size, dropout=0.0)
    ar, nar = AR(Settings("ar", size, SYMBOLS, "")), NAR(Settings("nar", size, SYMBOLS, ""))
    ar.transformer.norm.norm.weight.data[0], ar.transformer.norm.norm.bias.data[0] = 0.0, 1.0
    ar.code_embedding.weight.data[CODEBOOK_SIZE] = 0.0
    ar.code_embedding.weight.data[CODEBOOK_SIZE, 0] = -100.0
    for half in (ar, nar):
        half.to(device).eval().requires_grad_(False)
    return Pair(ar, nar)


def requests(count: int, new_frames: int, load: Load) -> list[Request]:
    """Random texts and prompts."""
    draw = np.random.default_rng(0)
    return [
        Request(
            draw.integers(0, len(SYMBOLS), load.num_phones).astype(np.uint16),
            draw.integers(0, CODEBOOK_SIZE, (8, load.prompt_frames)).astype(np.uint16),
            seed,
            new_frames,
        )
        for seed in range(count)
    ]


def seconds(work: Callable[[], Any], device: str) -> float:
    """Wall clock of a piece of work, what an accelerator does of it included."""
    begun = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def in_turns(works: Sequence[Callable[[], Any]], device: str, times: int) -> list[float]:
    """The median seconds of each, one after the other, `times` times over, after a first time that is not counted."""
    taken: list[list[float]] = []
    for _ in range(times + 1):
        taken.append([])
        for place, work in enumerate(works, 1):
            taken[-1].append(seconds(work, device))
            tell(f"{place} of {len(works)}: {taken[-1][-1]:.2f} s")
    return [statistics.median(column) for column in zip(*taken[1:], strict=True)]


def one_by_one(ar: AR, asked: list[Request]) -> list[object]:
    """Each request by itself."""
    return [say_first(ar, [request], DEFAULT) for request in asked]


def compute_anew(ar: AR, request: Request, every: int) -> int:
    """Decodes without a cache, as others do: the whole sequence for each frame; gives how many frames were computed."""
    device = ar.code_embedding.weight.device
    phones = torch.from_numpy(request.phones.astype(np.int64))[None].to(device)
    codes = torch.from_numpy(request.prompt_codes[:1].astype(np.int64)).to(device)
    recent, computed = codes[:, -DEFAULT.window :], 0
    code, chance = codes[:, -1], torch.full((1, 2), 0.5, dtype=torch.float64, device=device)
    for frame in range(request.max_frames or 0):
        if frame % every == 0:
            lengths = (torch.tensor([held.shape[1]], device=device) for held in (phones, codes))
            logits = ar(phones, next(lengths), codes, next(lengths))[:, -1]
            code, computed = sample(logits, recent, chance, DEFAULT), computed + 1
        codes = torch.cat([codes, code[:, None]], dim=1)
        recent = codes[:, -DEFAULT.window :]
    return computed


def cache(load: Load, device: str) -> dict[str, Any]:
    """The cache against computing all anew."""
    found: dict[str, Any] = {}
    for size, frames in load.sizes:
        pair, [request] = endless_pair(size, device), requests(1, frames, load)
        cached, anew = in_turns(
            (
                partial(say_first, pair.ar, [request], DEFAULT),
                partial(compute_anew, pair.ar, request, load.every),
            ),
            device,
            1 if size.width > MIDDLE.width else load.times,
        )
        anew *= frames / -(-frames // load.every)
        name = f"{size.num_layers} layers of {size.width}, {frames / FRAME_RATE:.3g} s"
        found |= told({name: {"cached seconds": cached, "anew seconds": anew, "times faster": anew / cached}})
    return found


def middle(load: Load) -> dict[str, Any]:
    """Six layers of 512 on a CPU, in three precisions, one row and many."""
    plain = endless_pair(load.middle, "cpu")
    pairs = {"float32": plain, "bfloat16": plain.lighten("bfloat16"), "int8": plain.lighten("int8")}
    found: dict[str, Any] = {"lifeiteng/vall-e, frames per second": LIFEITENG}
    [one], many = requests(1, load.new_frames, load), requests(load.rows, load.new_frames // 4, load)
    first = [one.prompt_codes[0].repeat(2)[: load.new_frames]]
    works = [
        work
        for pair in pairs.values()
        for work in (
            lambda pair=pair: say_first(pair.ar, [one], DEFAULT),
            lambda pair=pair: say_rest(pair.nar, [one], first),
        )
    ]
    taken = in_turns(works, "cpu", load.times)
    for place, name in enumerate(pairs):
        ar, nar = taken[2 * place : 2 * place + 2]
        found[name] = {
            "AR frames per second": load.new_frames / ar,
            "AR and NAR frames per second": load.new_frames / (ar + nar),
            "times lifeiteng/vall-e": load.new_frames / (ar + nar) / LIFEITENG,
            "NAR's share of the time": nar / (ar + nar),
        }
    for name in ("float32", "bfloat16"):
        together, alone = in_turns(
            (
                partial(say_first, pairs[name].ar, many, DEFAULT),
                partial(one_by_one, pairs[name].ar, many),
            ),
            "cpu",
            1,
        )
        found[f"{name}, AR, {load.rows} rows"] = {
            "frames per second": load.rows * (load.new_frames // 4) / together,
            "times faster than one by one": alone / together,
        }
    found["first sound"] = first_sound(pairs["int8"], one, "cpu", load.times)
    return found


def first_sound(pair: Pair, request: Request, device: str, times: int) -> dict[str, float]:
    """Seconds to the first chunk's codes at the default chunking, and of its AR steps alone."""
    cut = Chunking()

    def steps() -> None:
        spoken = speak(pair.ar, [request], DEFAULT)
        for _ in range(min(cut.chunk_frames + cut.look_ahead, request.max_frames or 0)):
            next(spoken)

    whole, ar = in_turns((lambda: next(stream_codes(pair, request)), steps), device, times)
    return {"frames of the chunk": cut.chunk_frames, "look-ahead": cut.look_ahead, "seconds": whole, "of the AR": ar}


def accelerator(load: Load, device: str) -> dict[str, Any]:
    """Batches on an accelerator, in bfloat16."""
    pair = endless_pair(load.device_size, device).lighten("bfloat16")
    found: dict[str, Any] = {}
    for rows in load.device_rows:
        asked = requests(rows, load.new_frames, load)
        first = [request.prompt_codes[0].repeat(2)[: load.new_frames] for request in asked]
        ar, nar = in_turns(
            (
                partial(say_first, pair.ar, asked, DEFAULT),
                partial(say_rest, pair.nar, asked, first),
            ),
            device,
            load.times,
        )
        frames = rows * load.new_frames
        found[f"{rows} rows"] = {
            "AR frames per second": frames / ar,
            "AR and NAR frames per second": frames / (ar + nar),
            "seconds per second of speech": (ar + nar) / (frames / FRAME_RATE),
            "NAR's share of the time": nar / (ar + nar),
        }
    found["first sound"] = first_sound(pair, requests(1, load.new_frames, load)[0], device, load.times)
    return found


@torch.inference_mode()
def figures(device: str, load: Load) -> dict[str, Any]:
    """All that a device has to say."""
    found: dict[str, Any] = {"device": device, "threads": torch.get_num_threads()}
    found["cache"] = cache(load, device)
    found |= told({"6 layers of 512": middle(load)} if device == "cpu" else {"batches": accelerator(load, device)})
    return found


def rounded(found: Any) -> Any:
    """Three digits are more than a busy machine can tell."""
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    return float(f"{found:.3g}") if isinstance(found, float) else found


def main(words: Sequence[str] | None = None, load: Load | None = None) -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = options(parser, words)
    torch.set_num_threads(asked.threads)
    print(json.dumps(rounded(figures(asked.device, load or (SHORT if asked.short else Load()))), indent=1))


if __name__ == "__main__":
    main()
