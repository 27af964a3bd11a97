"""Natural speech for tests: sentences of the sample corpus, which ships with the project."""

from functools import cache

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tasks.corpora import sample_corpus
from tasks.corpora.sample_corpus import SHIPPED

HELD_OUT = ("2120", "2379", "2223", "2509")  # readers that no embedded model has heard


@cache
def said_by(speaker: str, rate: int) -> tuple[tuple[str, NDArray[np.float32]], ...]:
    """Each sentence of a reader with its waveform `[num_samples]` at `rate` Hz."""
    found = []
    for number, sentences in enumerate(sample_corpus.readers()[speaker]["chapters"], start=1):
        speech, own = soundfile.read(SHIPPED / f"{speaker}-{number}.ogg", dtype="float32")
        for said in sentences:
            stretch = speech[said["start_sample"] : said["end_sample"]]
            found.append((said["text"], np.asarray(soxr.resample(stretch, own, rate), np.float32)))
    return tuple(found)


def sentences(num: int, rate: int) -> list[tuple[str, NDArray[np.float32]]]:
    """The first sentences of the held-out readers in turn."""
    return [said_by(HELD_OUT[i % len(HELD_OUT)], rate)[i // len(HELD_OUT)] for i in range(num)]
