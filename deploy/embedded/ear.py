"""Fits the ear, which hears what first code was meant in speech behind the codec: `python -m deploy.embedded.ear`.

A codec that hears its own speech finds most of its codes changed. A linear map from what it hears, three frames at a
time, to the entry of the first codebook that was there before brings many back (ridge regression). It learns from the
sample corpus, without the readers that other parts hold out, and says how often it is right of the others.
"""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from deploy.embedded.kokoro import HELD_OUT
from deploy.embedded.sample_corpus import FOLDER, READERS
from model.codec.encodec import SAMPLE_RATE, Codec, load_codec
from model.valle.mark import features
from tasks.audio.audio_files import read
from tasks.audio.resynthesis import decode, encode

PATH = Path(__file__).parents[2] / "model" / "embedded" / "ear.safetensors"
_RIDGE = 30.0

Pair = tuple[NDArray[np.float64], NDArray[np.uint16]]  # what is heard [T, 3 D + 1], and the first codes [T] before


def main() -> None:
    torch.set_num_threads(1)
    codec = load_codec("embedded")
    heard: dict[bool, list[Pair]] = {False: [], True: []}
    for reader, voice in READERS.items():
        for chapter in sorted(FOLDER.glob(f"{reader}-*.ogg")):
            heard[voice.name in HELD_OUT].append(pair(codec, read(chapter, SAMPLE_RATE)))
    entries = codec.codebooks[0].numpy().astype(np.float64)
    ear = fit(heard[False], entries).astype(np.float16)
    save_file({"ear": ear}, PATH)
    plain = np.zeros(ear.shape)
    width = entries.shape[1]
    plain[width : 2 * width] = np.eye(width)
    print(json.dumps({"as heard": right(heard[True], plain, entries), "ear": right(heard[True], ear, entries)}))


def pair(codec: Codec, speech: NDArray[np.float32]) -> Pair:
    """What the codec hears of its own rendering of speech `[num_samples]`, and what it had heard of the speech."""
    codes = encode(codec, speech)
    return features(encode(codec, decode(codec, codes)), codec.codebooks), codes[0]


def fit(pairs: list[Pair], entries: NDArray[np.float64]) -> NDArray[np.float64]:
    """The map `[3 D + 1, D]` from what is heard to the entries `[1024, D]` of what was meant."""
    inputs, meant = np.concatenate([heard for heard, _ in pairs]), np.concatenate([codes for _, codes in pairs])
    return np.linalg.solve(inputs.T @ inputs + _RIDGE * np.eye(inputs.shape[1]), inputs.T @ entries[meant])


def right(pairs: list[Pair], ear: NDArray[np.floating], entries: NDArray[np.float64]) -> float:
    """The share of frames whose nearest entry is the one that was meant."""
    found = [
        (torch.cdist(torch.from_numpy(heard @ ear), torch.from_numpy(entries)).argmin(1).numpy() == codes).mean()
        for heard, codes in pairs
    ]
    return round(float(np.mean(found)), 3)


if __name__ == "__main__":
    main()
