"""Trains the embedded VALL-E on espeak-ng speech: `python -m deploy.embedded.valle ar`, then `nar`.

The surprising fact: it needs nothing but this repository. Sentences come from a grammar, voices from espeak-ng, codes
from the embedded EnCodec, so the corpus is made anew in minutes and never stored but beside the training.
Source: VALL-E (arXiv:2301.02111); the voices and sentences are those of `deploy/embedded/speech.py`.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from deploy.embedded.speech import TRAIN_VOICES, sentences, speak
from model.batches import Example
from model.codec import Codec, identity, load_codec
from model.settings import SIZES, Half, Settings
from model.training import Training, train
from tasks.espeak import Voice
from tasks.phones import phonemize
from tasks.symbols import SYMBOLS

UTTERANCES = 64  # of each voice
HELD_OUT = 2  # of them, to validate on
SECONDS = (2.0, 12.0)
TRAININGS = {
    "ar": Training(steps=4_000, learning_rate=2e-3, warmup_steps=200, batch_frames=3_000, validate_every=500),
    "nar": Training(steps=4_000, learning_rate=2e-3, warmup_steps=200, batch_frames=3_000, validate_every=500),
}


def corpus(folder: Path) -> list[list[Example]]:
    """The examples of each voice, made or read from `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    codec = load_codec("embedded")
    return [_voice(folder / f"{i:02d}.npz", i, voice, codec) for i, voice in enumerate(TRAIN_VOICES)]


def _voice(path: Path, seed: int, voice: Voice, codec: Codec) -> list[Example]:
    if not path.exists():
        made = [_example(text, voice, codec) for text in _texts(seed)]
        kept = [example for example in made if SECONDS[0] <= example.codes.shape[1] / 75 <= SECONDS[1]]
        arrays = {f"{i}-{name}": part for i, example in enumerate(kept) for name, part in example._asdict().items()}
        unfinished = path.with_name(f".{path.name}")
        np.savez(unfinished, **arrays)
        unfinished.replace(path)
    arrays = dict(np.load(path))
    return [Example(arrays[f"{i}-phones"], arrays[f"{i}-codes"]) for i in range(len(arrays) // 2)]


def _texts(seed: int) -> list[str]:
    """One to three sentences in a breath."""
    chance, pool = random.Random(seed), sentences(1_000 + seed)
    return [" ".join(next(pool) for _ in range(chance.choice((1, 1, 2, 2, 3)))) for _ in range(UTTERANCES)]


def _example(text: str, voice: Voice, codec: Codec) -> Example:
    waveform = torch.from_numpy(speak(text, voice))
    codes = codec.encode([waveform])[0].numpy().astype(np.uint16)
    return Example(np.array(phonemize(text).phone_ids, np.uint16), codes)


def main(half: Half, work: Path) -> None:
    """Trains one half; what was begun in `work` is gone on with."""
    torch.set_num_threads(1)
    voices = corpus(work / "corpus")
    if half == "ar":
        voices = [[Example(example.phones, example.codes[:1]) for example in voice] for voice in voices]
    chunks: Sequence[Sequence[Example]] = [voice[HELD_OUT:] for voice in voices]
    valid = [example for voice in voices for example in voice[:HELD_OUT]]
    settings = Settings(half, SIZES["tiny"], SYMBOLS, identity("embedded"))
    with torch.autocast("cpu", torch.bfloat16):
        train(settings, TRAININGS[half], chunks, valid, work / half, save_every=100)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("half", choices=["ar", "nar"])
    parser.add_argument("--work", type=Path, default=Path(".work/valle"))
    arguments = parser.parse_args()
    main(arguments.half, arguments.work)
