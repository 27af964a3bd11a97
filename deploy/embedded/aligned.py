"""What a pair's NAR says behind true first codebooks, beside the speech itself: what the codec's decoder will be given.

A decoder that has heard nothing but true codes makes less of a NAR's, which are never as sharp. So it learns from both,
as a vocoder does from what its acoustic model says behind the truth (Shen et al. 2018, arXiv:1712.05884, section 3.3).
Every voice is played a little faster or slower than the pair has heard it, so that it knows none by heart.

Shapes: Q = 8 codebooks, T frames.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.codec.encodec import HOP, SAMPLE_RATE, Codec, load_codec
from model.valle.decoding import Request, say_rest
from model.valle.synthesis import Pair, load_pair
from tasks.text.phonemization import phonemize
from tasks.text.symbols import BOUNDARY, SYMBOL_IDS

_OF_A_VOICE = 8  # utterances
_PROMPT = 270  # frames: the longest utterance that serves as a prompt

Codes = NDArray[np.uint16]
Spoken = tuple[str, Codes, NDArray[np.int16]]  # text, codes [Q, T], samples [T * 320]


def aligned(folder: Path, pair: Path, codec: str, state: Path, minutes: float) -> tuple[Codes, NDArray[np.int16]]:
    """Codes `[Q, T]` and speech `[T * 320]` of utterances one after the other; made once, and kept in `state`."""
    kept = state / "aligned.npz"
    if not kept.exists():
        loaded = load_codec(codec)
        halves = load_pair(pair / "ar", pair / "nar").beside(loaded.codebooks)
        codes, speech, frames = [], [], 0
        for manifest in sorted(
            folder.glob("*/manifest.jsonl"), key=lambda path: random.Random(path.parent.name).random()
        ):
            for said, samples in _voice(manifest, halves, loaded):
                codes.append(said)
                speech.append(samples)
                frames += said.shape[1]
            if frames > minutes * 60 * SAMPLE_RATE // HOP:
                break
        fresh = kept.with_suffix(".new.npz")
        np.savez(fresh, codes=np.concatenate(codes, axis=1), speech=np.concatenate(speech))
        fresh.rename(kept)
    with np.load(kept) as made:
        return made["codes"], made["speech"]


def _voice(manifest: Path, pair: Pair, codec: Codec) -> Iterator[tuple[Codes, NDArray[np.int16]]]:
    """A voice's utterances behind its shortest one."""
    factor = random.Random(manifest.parent.name).uniform(0.92, 1.08)
    said = [_played(manifest.parent / line["path"], line["text"], factor, codec) for line in _lines(manifest)]
    prompt, *others = sorted(said, key=lambda one: one[1].shape[1])[: 1 + _OF_A_VOICE]
    if prompt[1].shape[1] > _PROMPT:
        return
    before, languages = phonemize(prompt[0]).phone_ids, pair.ar.settings.languages
    for text, codes, samples in others:
        phones = np.array([*before, SYMBOL_IDS[BOUNDARY], *phonemize(text).phone_ids], np.uint16)
        yield (
            say_rest(
                pair.nar,
                [Request(phones, prompt[1], 0, language=next(iter(languages), None))],
                [codes[0]],
                pair.codebooks,
            )[0],
            samples,
        )


def _lines(manifest: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]


def _played(path: Path, text: str, factor: float, codec: Codec) -> Spoken:
    """An utterance played faster or slower, with its codes."""
    import soundfile
    import soxr

    speech, _ = soundfile.read(path, dtype="float32")
    speech = soxr.resample(speech, round(SAMPLE_RATE * factor), SAMPLE_RATE)
    speech = speech[: len(speech) // HOP * HOP]
    codes = codec.encode([torch.from_numpy(speech)])[0].numpy().astype(np.uint16)
    return text, codes, (np.clip(speech, -1, 1) * 32767).astype(np.int16)
