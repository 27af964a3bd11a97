"""How fast a corpus is listed and described, and whether a larger one takes more memory.

    python -m bench.recordings [FOLDER] [--short]

Listing: empty files in LibriLight's layout, as many as it has. Describing: every file of FOLDER (of a made one,
unless said), against the plain loop that reads and hashes each, in turns. Memory: a process that makes every shard
of a corpus, and another that makes ten times as many.
"""

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from bench.progress import options, told
from tasks.recordings import Recordings

NUM_FILES, NUM_SPEAKERS = 223_000, 7_439  # of LibriLight: a FLAC and a JSON for each chapter
NUM_SHARDS = 30
RATE = 16_000  # Hz
MIB = 1 << 20


def fabricate(root: Path, num_files: int, num_speakers: int) -> None:
    """Empty chapters in LibriLight's layout: half of the files are FLAC, half JSON, shared among the speakers."""
    for speaker in range(num_speakers):
        book = root / "small" / str(speaker) / f"a_book_of_its_own_{speaker}_librivox_64kb_mp3"
        book.mkdir(parents=True)
        for chapter in range(speaker, num_files // 2, num_speakers):
            for suffix in ("flac", "json"):
                (book / f"chapter_{chapter:06d}_author_64kb.{suffix}").touch()


def speak(root: Path, num_speakers: int, num_files: int, seconds: float) -> None:
    """Files of coloured noise, about as hard to decode as speech: a folder for each speaker."""
    for speaker in range(num_speakers):
        (root / "small" / str(speaker) / "book").mkdir(parents=True)
        for i in range(num_files):
            white = np.random.default_rng((speaker, i)).standard_normal(round(seconds * RATE))
            sound = 0.02 * np.convolve(white, np.ones(8), "same")
            soundfile.write(root / "small" / str(speaker) / "book" / f"{i}.flac", sound, RATE)


def listing(num_files: int = NUM_FILES, num_speakers: int = NUM_SPEAKERS) -> dict[str, float]:
    """Files listed in a second, by a first and a second call, and how long one shard's share of it takes."""
    with tempfile.TemporaryDirectory() as folder:
        fabricate(Path(folder), num_files, num_speakers)
        stage = Recordings(layout="librilight", audio=Path(folder))
        first, second = (seconds(stage.shards) for _ in range(2))
        one = statistics.median(seconds(partial(stage, f"small-{i}")) for i in range(5))
        return {
            f"{num_files} files listed, files/s": num_files / first,
            "listed again, files/s (goal 2,000)": num_files / second,
            "making a shard of empty files, s": one,
        }


def describing(audio: Path, rounds: int = 5) -> dict[str, float]:
    """Times real time of the stage, of the stage with md5, and of the plain loop, and the stage's share of the last."""
    plain, stage, checked = (Recordings(layout="folder", audio=audio, check_md5=md5) for md5 in (False, False, True))
    shards = list(plain.shards())
    files = [audio / path for listed in plain.shards().values() for path in listed]
    hours = sum(sum(filter(None, stage(shard)["seconds"].to_pylist())) for shard in shards)
    ways: dict[str, Callable[[], object]] = {
        "plain loop": lambda: [plain_read(path) for path in files],
        "recordings": lambda: [stage(shard) for shard in shards],
        "recordings with check_md5": lambda: [checked(shard) for shard in shards],
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            taken[way].append(seconds(work))
    middle = {way: statistics.median(times) for way, times in taken.items()}
    return {f"{way}, times real time": hours / time for way, time in middle.items()} | {
        f"{way}, time against the plain loop": middle[way] / middle["plain loop"] for way in list(ways)[1:]
    }


def plain_read(path: Path) -> tuple[str, int] | None:
    """What a user would write: a file's samples at once, and its sha256."""
    try:
        samples, _ = soundfile.read(path, dtype="float32")
    except soundfile.SoundFileError:
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest(), len(samples)


def memory(num_shards: int = NUM_SHARDS, num_seconds: float = 20.0) -> dict[str, float]:
    """Peak memory of a process that makes all shards of a corpus, and of ten times as many."""
    peaks = []
    for num in (num_shards, 10 * num_shards):
        with tempfile.TemporaryDirectory() as folder:
            speak(Path(folder), num, 1, num_seconds)
            code = f"from bench.recordings import make_all; make_all({folder!r})"
            done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
            peaks.append(int(done.stdout) / MIB)
    return {
        f"peak memory, {num_shards} shards, MiB": peaks[0],
        f"peak memory, {10 * num_shards} shards, MiB": peaks[1],
        "ratio (goal 1)": peaks[1] / peaks[0],
    }


def make_all(folder: str) -> None:
    """Makes every shard, as a worker does, one after the other, and prints the peak of its memory in bytes."""
    stage = Recordings(layout="librilight", audio=Path(folder))
    for shard in stage.shards():
        stage(shard)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)  # Linux counts in KiB


def seconds(work: Callable[[], object]) -> float:
    """The wall clock of a call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="what is described")
    parser.add_argument("--files", type=int, default=NUM_FILES, help="that are listed")
    parser.add_argument("--rounds", type=int, default=5, help="in which the ways to describe take turns")
    parser.add_argument("--shards", type=int, default=NUM_SHARDS, help="of the smaller corpus for memory")
    asked = options(parser, files=20_000, rounds=2, shards=5)
    with tempfile.TemporaryDirectory() as made:
        if not asked.folder:
            speak(Path(made), 4, 10, 60.0)
        figures = told(listing(asked.files, NUM_SPEAKERS * asked.files // NUM_FILES))
        figures |= told(describing(asked.folder or Path(made), asked.rounds))
        figures |= told(memory(asked.shards))
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=1))


if __name__ == "__main__":
    main()
