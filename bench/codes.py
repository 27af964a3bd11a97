"""How fast speech becomes codes, against the loop a user would write, and how much memory an hour of it takes.

    python -m bench.codes [--files 16] [--rounds 3] [--minutes 60] [--short]

The codec has the published shape, 32 filters, and random weights: arithmetic takes as long with any. The plain loop
reads a file, resamples it and calls `EncodecModel.encode` at 6 kb/s, as the `encodec` package comes; ours is the stage
`codes`, its Arrow table included. Both run one thread, in turns, and are compared by the processor's time, user and
system, of all threads: the machine may be busy with something else. Speech is espeak-ng's. Peaks are measured here.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile
import soxr
import torch
from pyarrow.dataset import Dataset, dataset
from torch.nn import functional as F

from bench.progress import options, tell, told
from model.codec.encodec import encodec, load_codec
from tasks.codes import Codes
from tasks.text.espeak import SAMPLE_RATE, Voice, synthesize
from warehouse.tables import CODEBOOKS, FRAME_RATE, HOP, RECORDINGS, UTTERANCES

GFLOP = 2.98  # of the encoder for a second of audio: convolutions 2.35, LSTM 0.63
PRECISIONS = ("fp32", "bf16")
RATE = 16_000  # Hz, of the files, as LibriLight has them
SENTENCE = "The old sailor gave seven green apples to the children who were waiting by the harbour wall. "


def speak(folder: Path, num_files: int, shortest: int) -> list[Dataset]:
    """Files of so many seconds and up to 8 more in several voices, as the two tables that the stage takes."""
    utterances: list[dict[str, Any]] = []
    for i in range(num_files):
        spoken = synthesize(SENTENCE * 4, Voice(("en-us", "en-us+f3")[i % 2]))
        speech = soxr.resample(spoken, SAMPLE_RATE, RATE)[: RATE * (shortest + i % 9)]
        soundfile.write(folder / f"{i}.flac", speech, RATE)
        end, name = len(speech), str(i)
        row = {"utterance_id": f"{name}#0-{end}", "recording_id": name, "start_sample": 0, "end_sample": end}
        utterances.append(row | {"sample_rate": RATE, "seconds": end / RATE})
    recordings = [{"recording_id": str(i), "audio_path": f"{i}.flac"} for i in range(num_files)]
    return [
        dataset(pa.Table.from_pylist(utterances, schema=UTTERANCES.schema)),
        dataset(pa.Table.from_pylist(recordings, schema=RECORDINGS.schema)),
    ]


def weights(path: Path) -> Any:
    """A model of the published shape as its package makes it, its weights written to a file."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = encodec().EncodecModel.encodec_model_24khz(pretrained=False).eval()
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_(std=0.01)
        layer._codebook.inited.fill_(1)
    torch.save(model.state_dict(), path)
    model.set_target_bandwidth(6.0)
    return model


def plain(model: Any, files: Iterable[Path]) -> list[torch.Tensor]:
    """The loop a user would write."""
    codes = []
    for path in files:
        speech, rate = soundfile.read(path, dtype="float32")
        wav = torch.from_numpy(soxr.resample(speech, rate, 24_000))[None, None]
        with torch.no_grad():
            ((found, _),) = model.encode(wav)
        codes.append(found)
    return codes


def taken(work: Callable[[], Any]) -> tuple[float, float]:
    """Processor's time of all threads, and wall clock, of some work, in seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def peaks() -> dict[str, float]:
    """The most that one core gives, in GFLOP/s: a product of matrices, in fp32 and bf16, and a convolution."""
    best = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(1024, 1024).to(dtype)
        seconds = min(taken(partial(torch.mm, a, a))[0] for _ in range(9))
        best[f"peak of a {name} matrix product, GFLOP/s"] = 2 * 1024**3 / seconds
    x = torch.randn(1, 128, 1, 3000).contiguous(memory_format=torch.channels_last)
    w = torch.randn(128, 128, 1, 3).contiguous(memory_format=torch.channels_last)
    operations = 2 * 128 * 128 * 3 * 2998
    best["peak of an fp32 convolution, GFLOP/s"] = operations / min(taken(lambda: F.conv2d(x, w))[0] for _ in range(50))
    return {name: round(value / 1e9) for name, value in best.items()}


def speeds(num_files: int, rounds: int, shortest: int = 8) -> dict[str, float]:
    """The plain loop against the stage, in fp32 and in bf16, in turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables, model = speak(folder, num_files, shortest), weights(folder / "encodec.th")
        files = [folder / f"{i}.flac" for i in range(num_files)]
        seconds = sum(tables[0].to_table()["seconds"].to_pylist())
        made_by = partial(Codes, model=str(folder / "encodec.th"), audio=folder, check_share=0.0)
        stage = {precision: made_by(precision=precision) for precision in PRECISIONS}
        loops: dict[str, Callable[[], Any]] = {"plain": lambda: plain(model, files)}
        loops |= {p: partial(made, *tables) for p, made in stage.items()}
        times: dict[str, list[tuple[float, float]]] = {loop: [] for loop in loops}
        for work in loops.values():
            work()
        for _ in range(rounds):
            for loop, work in loops.items():
                times[loop].append(taken(work))
                tell(f"{loop}: {times[loop][-1][0]:.1f} s of processor for {seconds:.0f} s of speech")
        ours, theirs = stage["fp32"](*tables), plain(model, files)
    cpu = {loop: statistics.median(t[0] for t in times[loop]) / seconds for loop in loops}
    wall = {loop: statistics.median(t[1] for t in times[loop]) / seconds for loop in loops}
    same = [
        float(np.mean(np.stack([row[book] for book in CODEBOOKS])[:, :-1] == codes[0, :, :-1].numpy()))
        for row, codes in zip(ours.to_pylist(), theirs, strict=True)
    ]
    return {
        "seconds of speech": round(seconds, 1),
        "plain loop, ms of processor for a second of speech": round(1e3 * cpu["plain"], 1),
        "stage codes, the same": round(1e3 * cpu["fp32"], 1),
        "stage codes in bf16, the same": round(1e3 * cpu["bf16"], 1),
        "plain over stage, processor's time (goal 2)": round(cpu["plain"] / cpu["fp32"], 2),
        "plain over stage, wall clock": round(wall["plain"] / wall["fp32"], 2),
        "fp32 over bf16, processor's time": round(cpu["fp32"] / cpu["bf16"], 2),
        "stage codes, frames a second": round(FRAME_RATE / cpu["fp32"]),
        "stage codes, GFLOP/s": round(GFLOP / cpu["fp32"]),
        "codes equal to the plain loop's, but for the last frame": round(statistics.mean(same), 6),
    }


def agreement() -> dict[str, float]:
    """The share of codes of the embedded codec that bf16 leaves as they are."""
    speech = soxr.resample(synthesize(SENTENCE * 4, Voice("en-us")), SAMPLE_RATE, 24_000)
    wav = [torch.from_numpy(speech.astype(np.float32))]
    exact, fast = (load_codec("embedded", precision=p).encode(wav) for p in PRECISIONS)
    return {
        "codes equal in bf16, embedded codec": round(float((exact == fast).float().mean()), 3),
        "the same, first codebook": round(float((exact == fast)[:, 0].float().mean()), 3),
    }


def hour(minutes: float) -> dict[str, float]:
    """What encoding and decoding one long file takes, in a process of its own."""
    words = [sys.executable, "-m", "bench.codes", "--long", str(minutes)]
    child = subprocess.run(words, check=True, stdout=subprocess.PIPE)
    figures: dict[str, float] = json.loads(child.stdout)
    return figures


def long(minutes: float) -> dict[str, float]:
    """Memory above that of the model, input and output included, of one long file."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        weights(Path(folder) / "encodec.th")
        codec = load_codec(Path(folder) / "encodec.th")
    codec.encode([torch.randn(HOP * FRAME_RATE)])
    before = resident()
    wav = torch.empty(round(minutes * 60) * 24_000).normal_(std=0.1)
    cpu, _ = taken(lambda: codec.encode([wav]))
    encoded, samples = resident() - before, wav.nbytes
    return {
        "minutes encoded in one piece": minutes,
        "peak memory above the model's, MB": round(encoded / 1e6),
        "of which the samples themselves, MB": round(samples / 1e6),
        "ms of processor for a second of it, alone": round(1e3 * cpu / (minutes * 60), 1),
    }


def spoken(minutes: float) -> dict[str, float]:
    """What decoding takes, whole and by a stream, and how soon a stream begins to speak."""
    with tempfile.TemporaryDirectory() as folder:
        weights(Path(folder) / "encodec.th")
        codec = load_codec(Path(folder) / "encodec.th")
    codes = torch.randint(0, 1024, (1, 8, round(minutes * 60 * FRAME_RATE)))
    stream = codec.decoder_stream()
    first, _ = taken(lambda: stream.push(codes[..., :7]))
    steps = torch.split(codes[..., 7:], 25, dim=-1)
    streamed, _ = taken(lambda: [stream.push(step) for step in steps])
    whole, _ = taken(lambda: codec.decode(codes))
    return {
        "decoding, ms of processor for a second of speech": round(1e3 * whole / (minutes * 60), 1),
        "decoding by a stream, a third of a second at a time": round(1e3 * streamed / (minutes * 60), 1),
        "the first 93 ms of a stream, ms": round(1e3 * first, 1),
    }


def resident() -> int:
    """The most memory that this process has ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(words: Sequence[str] | None = None) -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="How fast speech becomes codes.")
    parser.add_argument("--files", type=int, default=16, help="of 8 to 16 s each")
    parser.add_argument("--rounds", type=int, default=3, help="of each loop, in turns")
    parser.add_argument("--minutes", type=float, default=60, help="of the long file")
    parser.add_argument("--long", type=float, help=argparse.SUPPRESS)
    asked = options(parser, words, files=2, rounds=1, minutes=1.0)
    torch.set_num_threads(1)
    if asked.long:
        figures = long(asked.long)
    else:
        figures = told(peaks()) | told(speeds(asked.files, asked.rounds)) | told(agreement())
        figures |= told(spoken(0.1 if asked.short else 0.5)) | told(hour(asked.minutes))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
