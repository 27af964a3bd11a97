"""What the mark in the codes costs, how often it is found, and what it outlives.

    python -m bench.mark [--strengths 0 3] [--files 12] [--recordings FOLDER] [--pieces 1000] [--short]

The embedded pair speaks unseen sentences in the held-out voices of the sample corpus, four a file. A mark is sought in
pieces of 3, 5 and 10 s, behind whatever a file may meet on its way, and in as many pieces of recordings; the words
that the embedded Whisper mishears are what it costs.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from bench.progress import options, tell, told
from deploy.embedded.figures import wer
from deploy.embedded.kokoro import HELD_OUT
from deploy.embedded.sample_corpus import READERS
from model.valle.mark import CERTAIN, Trace, mark
from model.valle.synthesis import Pair, Request, generate, load_pair
from tasks.audio import audio_files
from tasks.audio.resynthesis import decode, encode
from tasks.evaluation import checkpoint_pairs
from tasks.provenance.code_mark import Listener
from tasks.text.phonemization import phonemize
from tasks.text.sentences import sentences
from tasks.text.symbols import BOUNDARY, SYMBOL_IDS
from tests.speech import said_by
from warehouse.tables import SAMPLE_RATE

SECONDS = (3, 5, 10)
SENTENCES = 4  # of a file
PROMPT = (2.0, 3.6)  # seconds of a sentence that is a prompt

Speech = NDArray[np.float32]  # [num_samples] at 24 kHz


def spoken(listener: Listener, strength: float, num_files: int) -> list[list[tuple[str, Speech]]]:
    """Files, each of some sentences with their texts in one voice."""
    codec, folder = listener.codec, checkpoint_pairs.folder(checkpoint_pairs.EMBEDDED)
    pair: Pair = load_pair(folder / "ar", folder / "nar").beside(codec.codebooks)
    marked = mark(codec.codebooks[0], strength) if strength else None
    language = pair.ar.settings.languages[0] if pair.ar.settings.languages else None
    prompts = []
    for reader, voice in READERS.items():
        if voice.name in HELD_OUT:
            fit = (one for one in said_by(reader, SAMPLE_RATE) if PROMPT[0] <= len(one[1]) / SAMPLE_RATE <= PROMPT[1])
            text, waveform = next(fit)
            prompts.append((phonemize(text).phone_ids, encode(codec, waveform)))
    unseen, asked, texts = sentences(4_711, held_out=True), [], []
    for file in range(num_files):
        before, codes = prompts[file % len(prompts)]
        for place, text in enumerate(islice(unseen, SENTENCES)):
            phones = np.array([*before, SYMBOL_IDS[BOUNDARY], *phonemize(text).phone_ids], np.uint16)
            seed = 1_000 * file + place
            asked.append(Request(phones, codes, seed, language=language, prompt_phones=len(before)))
            texts.append(text)
    said = [decode(codec, one.codes) for one in generate(pair, asked, replace(pair.sampling, mark=marked), num_rows=16)]
    pairs = list(zip(texts, said, strict=True))
    return [pairs[first : first + SENTENCES] for first in range(0, len(pairs), SENTENCES)]


def pieces(files: list[Speech], seconds: float) -> list[Speech]:
    """Speech in pieces of so many seconds, without what is left over."""
    size = int(seconds * SAMPLE_RATE)
    return [file[first : first + size] for file in files for first in range(0, len(file) - size + 1, size)]


def share_found(traces: list[Trace]) -> str:
    """How many of all are found, and the mean number of deviations."""
    found = sum(trace.chance < CERTAIN for trace in traces)
    mean = np.mean([trace.deviations for trace in traces]) if traces else 0.0
    return f"{found} of {len(traces)}, {mean:.1f} deviations"


def journeys(listener: Listener) -> dict[str, Callable[[Speech], Speech]]:
    """What a file may meet."""
    chance = np.random.default_rng(0)

    def noise(speech: Speech) -> Speech:
        added = speech.std() / 10 * chance.standard_normal(len(speech))  # 20 dB
        return np.asarray(speech + added, np.float32)

    return {
        "nothing": lambda speech: speech,
        "its first 137 samples lost": lambda speech: speech[137:],
        "16 kHz and back": lambda speech: _by(speech, 16_000),
        "8 kHz and back": lambda speech: _by(speech, 8_000),
        "MP3": lambda speech: _through(speech, "MP3", "MPEG_LAYER_III"),
        "Ogg/Vorbis": lambda speech: _through(speech, "OGG", "VORBIS"),
        "Ogg/Opus": lambda speech: _through(speech, "OGG", "OPUS"),
        "white noise, 20 dB below": noise,
        "5 % faster": lambda speech: np.asarray(soxr.resample(speech, 1.05, 1), np.float32),
        "the codec once more": lambda speech: decode(listener.codec, encode(listener.codec, speech)),
    }


def _by(speech: Speech, rate: int) -> Speech:
    return np.asarray(soxr.resample(soxr.resample(speech, SAMPLE_RATE, rate), rate, SAMPLE_RATE), np.float32)


def _through(speech: Speech, format_: str, subtype: str) -> Speech:
    """Speech as libsndfile's encoder leaves it, by its own default quality."""
    written = BytesIO()
    soundfile.write(written, speech, SAMPLE_RATE, subtype, format=format_)
    written.seek(0)
    return np.asarray(soundfile.read(written, dtype="float32")[0])


def recordings(folder: Path) -> Iterator[Speech]:
    """All speech in a folder that can be read."""
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".flac", ".ogg", ".wav")):
        try:
            yield audio_files.read(path, SAMPLE_RATE)
        except audio_files.Unreadable as error:
            tell(f"left out: {error}")


def false_alarms(listener: Listener, speech: list[Speech], num: int) -> dict[str, str]:
    """Findings in pieces that carry no mark, by their length, so many in all where there is enough speech."""
    cut = {seconds: pieces(speech, seconds)[: -(-num // len(SECONDS))] for seconds in SECONDS}
    return {f"{seconds} s": share_found([listener.trace(one) for one in some]) for seconds, some in cut.items()}


def figures(listener: Listener, files: list[list[tuple[str, Speech]]], num_travelled: int) -> dict[str, Any]:
    """What a strength comes to; the longest pieces travel, so many."""
    texts, speech = zip(*(one for file in files for one in file), strict=True)
    joined = [np.concatenate([waveform for _, waveform in file]) for file in files]
    low = [np.asarray(soxr.resample(waveform, SAMPLE_RATE, 16_000), np.float32) for waveform in speech]
    travelled = pieces(joined, SECONDS[-1])[:num_travelled]
    return {
        "sentences": len(texts),
        "WER": round(wer(list(texts), low), 3),
        "found": {f"{s} s": share_found([listener.trace(one) for one in pieces(joined, s)]) for s in SECONDS},
        "found behind": {
            what: share_found([listener.trace(journey(one)) for one in travelled])
            for what, journey in (journeys(listener) if num_travelled else {}).items()
        },
    }


def main(words: list[str] | None = None) -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 3.0])
    parser.add_argument("--files", type=int, default=2, help="of four sentences, for each strength")
    parser.add_argument("--travelled", type=int, default=1, help="pieces that meet all that a file may meet")
    parser.add_argument("--recordings", type=Path, help="a folder of speech that carries no mark")
    parser.add_argument("--pieces", type=int, default=1_000, help="of recordings")
    chosen = options(parser, words, strengths=[3.0], files=1, travelled=0, pieces=12)
    torch.set_num_threads(1)
    listener = Listener("embedded")
    found: dict[str, Any] = {}
    for strength in chosen.strengths:
        tell(f"speaking at strength {strength:g}")
        files = spoken(listener, strength, chosen.files)
        tell(f"seeking the mark in {chosen.files} files")
        found |= told({f"strength {strength:g}": figures(listener, files, chosen.travelled)})
    if chosen.recordings:
        found |= told({"false alarms": false_alarms(listener, list(recordings(chosen.recordings)), chosen.pieces)})
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
