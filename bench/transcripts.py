"""How much faster transcripts are made together than by the loop that a user would write, and in how much memory.

    python -m bench.transcripts [--utterances 24] [--rounds 3] [--short]

Both ways hear the same utterances in turns within one run, the loop by `whisper.transcribe`, one after the other. Two
Whispers listen: the embedded one, and one of the dimensions of OpenAI's `tiny.en` that is made here and recites a
text, whatever it hears: untrained, it would never end. The encoder hears 30 s of each either way, padding included, so
what it takes bounds what decoding together can win; its share of our time is told.
"""

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import soundfile

from bench.progress import options, tell, told
from warehouse.tables import RECORDINGS, UTTERANCES

SAMPLE_RATE = 16_000  # Hz
SHARD = 8  # utterances of a shard, where memory is measured


def speech(num: int, seconds: float) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Sentences of the sample corpus, one after another up to about so many seconds."""
    from tasks.corpora.sample_corpus import readers
    from tests.speech import said_by

    texts, waveforms = itertools.cycle([said for reader in readers() for said in said_by(reader, SAMPLE_RATE)]), []
    for _ in range(num):
        said = [np.zeros(0, np.float32)]
        while sum(map(len, said)) < (seconds - 3) * SAMPLE_RATE:
            said.append(next(texts)[1])
        waveforms.append(np.concatenate(said))
    return waveforms


def reciting(folder: Path, num_tokens: int = 60) -> str:
    """A checkpoint of the dimensions of `tiny.en` that says one text of so many tokens, with confidence, and ends.

    Each place is embedded as the token that is said there, far above what the untrained layers add.
    """
    import torch
    from whisper.model import ModelDimensions, Whisper
    from whisper.tokenizer import get_tokenizer

    from tasks.text.sentences import sentences

    torch.manual_seed(0)
    model, tokenizer = Whisper(ModelDimensions(80, 1500, 384, 6, 4, 51_864, 448, 384, 6, 4)), get_tokenizer(False)
    text = tokenizer.encode(" " + " ".join(itertools.islice(sentences(seed=5), 20)))[:num_tokens]
    said = torch.tensor([tokenizer.sot, *text] + [tokenizer.eot] * (448 - 1 - num_tokens))
    with torch.no_grad():
        tokens = model.decoder.token_embedding.weight
        tokens.copy_(torch.nn.functional.normalize(torch.randn_like(tokens), dim=-1))
        model.decoder.positional_embedding.copy_(100 * tokens[said])
    path = folder / "reciting.pt"
    torch.save({"dims": asdict(model.dims), "model_state_dict": model.state_dict()}, path)
    return str(path)


def taken(work: Callable[[], object]) -> float:
    """Wall clock, in seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def speed(name: str, num: int, seconds: float, rounds: int) -> dict[str, object]:
    """Both ways in turns; medians, and the ratio of each round."""
    import torch
    import whisper

    from model.asr import recognition

    torch.set_num_threads(1)
    waveforms = speech(num, seconds)
    engine = recognition.load_asr(name)
    model = recognition.load_whisper(name)

    def together() -> list[str]:
        return [t.text for t in recognition.transcribe(engine, waveforms)]

    def one_by_one(**options: Any) -> list[str]:
        return [whisper.transcribe(model, w, fp16=False, language="en", **options)["text"].strip() for w in waveforms]

    assert all(together())
    ways: dict[str, Callable[[], object]] = {
        "together": together,
        "loop": one_by_one,
        "loop without timestamps": lambda: one_by_one(without_timestamps=True),
        "encoder alone": lambda: engine.encode(waveforms),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            times[way].append(taken(work))
            tell(f"{way}: {times[way][-1]:.1f} s")
    ours = times["together"]
    return {
        "utterances": num,
        "mean seconds of one": round(float(np.mean([len(w) for w in waveforms])) / SAMPLE_RATE, 1),
        "seconds": {way: round(statistics.median(each), 2) for way, each in times.items()},
        "loop / together (goal 2)": _ratio(times["loop"], ours),
        "loop without timestamps / together": _ratio(times["loop without timestamps"], ours),
        "encoder's share of together": _ratio(times["encoder alone"], ours),
    }


def _ratio(one: list[float], other: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(one, other, strict=True)), 2)


def peak_megabytes(num_shards: int) -> float:
    """Peak memory of a process of its own that makes so many shards, one after the other."""
    words = [sys.executable, "-m", "bench.transcripts", "--shards", str(num_shards)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def make_shards(num_shards: int) -> float:
    """The stage on so many shards, as a warm worker makes them; peak resident memory in MB."""
    import torch

    from tasks.transcripts import Transcripts

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        stage = Transcripts(audio=Path(folder))
        for _ in range(num_shards):
            stage(*_shard(Path(folder)))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _shard(folder: Path) -> tuple[ds.Dataset, ds.Dataset]:
    recordings, utterances = [], []
    for i, waveform in enumerate(speech(SHARD, 8.0)):
        soundfile.write(folder / f"{i}.flac", waveform, SAMPLE_RATE)
        name = {"recording_id": f"{i}", "sample_rate": SAMPLE_RATE, "seconds": len(waveform) / SAMPLE_RATE}
        recordings.append(name | {"audio_path": f"{i}.flac", "num_samples": len(waveform)})
        span = {"utterance_id": f"{i}#0-{len(waveform)}", "start_sample": 0, "end_sample": len(waveform)}
        utterances.append(name | span)
    tables = ((utterances, UTTERANCES), (recordings, RECORDINGS))
    first, second = (ds.dataset(pa.Table.from_pylist(rows, schema=table.schema)) for rows, table in tables)
    return first, second


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=20.0, help="of one, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peaks", type=int, nargs="+", default=[1, 2, 4], help="shards after which memory is measured")
    parser.add_argument("--shards", type=int, help="only make so many shards, and print the peak memory in MB")
    chosen = options(parser, utterances=2, seconds=8.0, rounds=1, peaks=[1])
    if chosen.shards:
        print(make_shards(chosen.shards))
        return
    with tempfile.TemporaryDirectory() as folder:
        models = {"embedded": "embedded", "dimensions of tiny.en": reciting(Path(folder))}
        size = chosen.utterances, chosen.seconds, chosen.rounds
        figures: dict[str, object] = {}
        for name, model in models.items():
            figures |= told({name: speed(model, *size)})
    figures |= told({"peak MB of a worker, by shards made": {n: round(peak_megabytes(n)) for n in chosen.peaks}})
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
