"""Speech to train the embedded codec and the embedded Whisper on: espeak-ng voices, sentences of our own.

The surprising fact: nothing is stored. espeak-ng speaks about a hundred times faster than real
time, so a trainer makes fresh speech as it goes, and what is held out is held out by content: some
voices, and every twentieth sentence by its CRC, whichever seed comes upon it.
Source: the sentences are made from the grammar in `tasks/sentences.py`; no corpus was copied.
"""

import numpy as np
from numpy.typing import NDArray

from tasks.espeak import SAMPLE_RATE, Voice, synthesize
from tasks.sentences import VOCABULARY, sentences

__all__ = ["HELD_OUT_VOICES", "TRAIN_VOICES", "VOCABULARY", "sentences", "speak"]

_ACCENTS = ["en-us", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc", "en-gb-x-gbclan", "en-gb-x-gbcwmd"]
_VARIANTS = [
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m7",
    "m8",
    "f1",
    "f2",
    "f3",
    "f4",
    "Alex",
    "Alicia",
    "Andrea",
    "Andy",
    "Annie",
    "Denis",
    "Diogo",
    "Gene",
    "Henrique",
    "Hugo",
    "Jacky",
    "Lee",
    "Marco",
    "Mario",
    "Michael",
    "Mike",
    "adam",
    "anika",
    "antonio",
    "belinda",
    "benjamin",
    "boris",
    "caleb",
    "david",
    "edward",
    "ian",
    "john",
    "linda",
    "marcelo",
    "max",
    "michel",
    "miguel",
    "norbert",
    "pablo",
    "paul",
    "pedro",
    "quincy",
    "robert",
    "sandro",
    "shelby",
    "steph",
    "victor",
    "zac",
]
_HELD_OUT_VARIANTS = ["m6", "f5", "Gene2", "Reed", "ed", "travis", "rob", "mike2"]


def _voices(variants: list[str]) -> tuple[Voice, ...]:
    """One voice for each variant; accent, pitch, range and rate walk through their values at coprime paces."""
    return tuple(
        Voice(
            f"{_ACCENTS[i % len(_ACCENTS)]}+{variant}",
            pitch=35 + 5 * (i % 8),
            pitch_range=40 + 5 * (i % 5),
            rate=140 + 5 * (i % 9),
        )
        for i, variant in enumerate(variants)
    )


TRAIN_VOICES = _voices(_VARIANTS)
HELD_OUT_VOICES = _voices(_HELD_OUT_VARIANTS)  # variants that no training voice uses


def speak(text: str, voice: Voice, sample_rate: int = 24_000) -> NDArray[np.float32]:
    """Text spoken by a voice: float32 `[num_samples]` in -1..1 at `sample_rate` Hz."""
    import soxr

    return np.clip(soxr.resample(synthesize(text, voice), SAMPLE_RATE, sample_rate), -1.0, 1.0).astype(np.float32)
