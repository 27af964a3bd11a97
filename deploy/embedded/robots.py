"""Speech by espeak-ng to learn reading from: `python -m deploy.embedded.robots FOLDER`, a minute of speech in a second.

A formant synthesizer says a phone the same way every time, so what a model has to find, which phone is said now, is
found in minutes of it where natural speech takes hours. Afterwards a pair is trained on natural speech from there.
FOLDER/robots is laid out as `deploy.embedded.corpus` lays out voices: words and sentences of 54 variants.
"""

import argparse
from itertools import islice
from pathlib import Path

import numpy as np

from deploy.embedded.corpus import tell, texts, words
from deploy.embedded.kokoro import SAMPLE_RATE
from tasks.text.espeak import SAMPLE_RATE as ESPEAK_RATE
from tasks.text.espeak import Voice, synthesize

_ACCENTS = ("en-us", "en-us", "en-gb-x-rp", "en-us-nyc")
_VARIANTS = """
    m1 m2 m3 m4 m5 m7 m8 f1 f2 f3 f4 Alex Alicia Andrea Andy Annie Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario
    Michael Mike adam anika antonio belinda benjamin boris caleb david edward ian john linda marcelo max michel miguel
    norbert pablo paul pedro quincy robert sandro shelby steph victor zac
""".split()  # noqa: SIM905
_WORDS, _TEXTS = 28, 16  # runs of one to three words, and texts, of each voice


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes speech to learn reading from.")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    for number, variant in enumerate(_VARIANTS):
        folder = options.folder / "robots" / f"{number:02d}-{variant}"
        if not (folder / "manifest.jsonl").exists():
            _make(folder, number, f"{_ACCENTS[number % len(_ACCENTS)]}+{variant}")


def _make(folder: Path, number: int, name: str) -> None:
    """One voice's utterances."""
    import soundfile
    import soxr

    folder.mkdir(parents=True, exist_ok=True)
    voice = Voice(name, pitch=35 + 5 * (number % 8), pitch_range=40 + 5 * (number % 5), rate=145 + 5 * (number % 9))
    lines: list[dict[str, object]] = []
    for text in [*islice(words(number), _WORDS), *islice(texts(10_000 + number), _TEXTS)]:
        wave = np.asarray(soxr.resample(synthesize(text, voice), ESPEAK_RATE, SAMPLE_RATE), np.float32)
        heard = np.flatnonzero(np.abs(wave) > 0.01)
        quiet = np.zeros(SAMPLE_RATE // 10, np.float32)
        speech = np.concatenate([quiet, wave[heard[0] : heard[-1]], quiet])
        path = f"{len(lines):02d}.wav"
        soundfile.write(folder / path, np.clip(speech, -1, 1), SAMPLE_RATE)
        lines.append({"path": path, "speaker": name, "text": text})
    tell(folder, lines)


if __name__ == "__main__":
    main()
