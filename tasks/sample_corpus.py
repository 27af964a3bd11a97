"""The sample corpus: fourteen espeak-ng voices reading sentences of ours, laid out exactly as LibriLight.

The surprising fact: it has the same bytes whenever it is made. espeak-ng carries the state of its
oscillators from one call to the next and seeds its breath by the clock, so the whole corpus is spoken
by one fresh process in one fixed order, seeded anew. Beyond LibriLight's keys each JSON file holds
`sentences`: where each lies and what it says.
Source: the voices of espeak-ng, of variants that the embedded models were not trained on.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.espeak import SAMPLE_RATE as ESPEAK_RATE
from tasks.espeak import Voice, synthesize
from tasks.sentences import sentences

SUBSET = "small"
SAMPLE_RATE = 16_000  # Hz, as all of LibriLight

VOICES = {
    "2120": Voice("en-us+f5", pitch=55, rate=155),
    "2379": Voice("en-gb-x-rp+m6", pitch=45, rate=160),
    "2223": Voice("en-us+travis", pitch=45, rate=150),
    "2509": Voice("en-gb-x-rp+steph2", pitch=55, rate=165),
    "2002": Voice("en-us+Reed", pitch=50, rate=160),
    "2004": Voice("en-gb-scotland+Gene2", pitch=40, rate=150),
    "2006": Voice("en-gb-x-rp+ed", pitch=50, rate=165),
    "2010": Voice("en-us+rob", pitch=45, rate=155),
    "2011": Voice("en-us-nyc+mike2", pitch=45, rate=160),
    "2013": Voice("en-gb-x-rp+aunty", pitch=50, rate=150),
    "2015": Voice("en-us+edward2", pitch=45, rate=155),
    "2016": Voice("en-029+grandma", pitch=50, rate=150),
    "2017": Voice("en-us+iven", pitch=50, rate=160),
    "2018": Voice("en-gb-scotland+gustave", pitch=50, rate=155),
}
"""Who reads, by speaker id: of nobody who is held out, and so that a split by hash has two in test, and two in dev."""

_CHAPTERS = 2  # of each speaker's book
_SECONDS = 11.0  # of a chapter: no sentence starts after this
_PAUSE = (0.3, 1.0)  # seconds between sentences, at a chapter's start and at its end
_SEED = 20_230_105  # no trainer's
_GRID = 0.08  # seconds, the frame of LibriLight's voice activity detection
_QUIET = 1e-3  # magnitude under which espeak-ng's lead-in and lead-out are no speech
_MADE_AT = 1_672_876_800  # s, 2023-01-05: files as old as the paper, so that a corpus made again looks unchanged


def is_made(audio: Path) -> bool:
    """Whether the corpus lies in a folder, whole."""
    return (audio / SUBSET).is_dir()


def make(audio: Path) -> None:
    """Makes the corpus in a folder, in seconds, unless it lies there: the same bytes every time, whole or not at all.

    Raises:
        RuntimeError: the process that speaks has failed.
    """
    if is_made(audio):
        return
    audio.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sample-corpus-", dir=audio) as draft:
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "tasks.sample_corpus", draft]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"the sample corpus could not be made in {audio}: {done.stderr.strip()[-500:]}")
        try:
            (Path(draft) / SUBSET).rename(audio / SUBSET)
        except OSError:
            if not is_made(audio):  # else another process was faster, and its corpus is this one
                raise


def truth(audio: Path) -> list[tuple[str, int, int, str]]:
    """What is said where: `(recording_id, start_sample, end_sample, text)` of each sentence, for checks."""
    return [
        (str(path.relative_to(audio).with_suffix("")), said["start_sample"], said["end_sample"], said["text"])
        for path in sorted((audio / SUBSET).rglob("*.json"))
        for said in json.loads(path.read_text())["sentences"]
    ]


def _write(root: Path) -> None:
    """Speaks the whole corpus; belongs into a fresh process."""
    pick = random.Random(_SEED)
    unheard = sentences(_SEED, held_out=True)
    for number, (speaker, voice) in enumerate(VOICES.items(), start=1):
        title = _title(unheard)
        book = root / SUBSET / speaker / f"{title.lower().replace(' ', '_')}_sample_64kb_mp3"
        book.mkdir(parents=True)
        for chapter in range(1, _CHAPTERS + 1):
            speech, said = _chapter(voice, pick, unheard)
            _write_chapter(
                book / f"{chapter:02d}_sample_64kb", speech, said, speaker, {"id": str(number), "title": title}
            )
    for path in [*root.rglob("*")]:
        os.utime(path, (_MADE_AT, _MADE_AT))


def _title(unheard: Iterator[str]) -> str:
    """A book's title: the first words of a sentence."""
    return " ".join(next(unheard).rstrip(".?").replace(",", "").split()[:3]).title()


def _chapter(
    voice: Voice, pick: random.Random, unheard: Iterator[str]
) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
    """A chapter at 16 kHz, and where in it each sentence lies."""
    import soxr

    pieces = [_silence(pick)]
    said: list[dict[str, Any]] = []
    while (start := sum(map(len, pieces))) < _SECONDS * SAMPLE_RATE:
        text = next(unheard)
        spoken = _trimmed(np.asarray(soxr.resample(synthesize(text, voice), ESPEAK_RATE, SAMPLE_RATE), np.float32))
        said.append({"text": text, "start_sample": start, "end_sample": start + len(spoken)})
        pieces += [spoken, _silence(pick)]
    return np.clip(np.concatenate(pieces), -1.0, 1.0), said


def _silence(pick: random.Random) -> NDArray[np.float32]:
    return np.zeros(round(pick.uniform(*_PAUSE) * SAMPLE_RATE), np.float32)


def _trimmed(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    heard = np.flatnonzero(np.abs(speech) > _QUIET)
    return speech[heard[0] : heard[-1] + 1]


def _write_chapter(
    path: Path, speech: NDArray[np.float32], said: list[dict[str, Any]], speaker: str, book: dict[str, str]
) -> None:
    import soundfile

    soundfile.write(path.with_suffix(".flac"), speech, SAMPLE_RATE, subtype="PCM_16")
    about = {
        "speaker": speaker,
        "book_meta": book | {"language": "English", "genre": ["*Fiction"], "meta_genre": "Literature"},
        "snr": float("nan"),  # as in LibriLight where there is no noise to measure
        "voice_activity": [_on_grid(one["start_sample"], one["end_sample"]) for one in said],
        "file_length_sec": len(speech) / SAMPLE_RATE,
        "sentences": said,
    }
    path.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")


def _on_grid(start: int, end: int) -> list[float]:
    """A stretch in seconds, widened to the frames of voice activity detection."""
    frame = round(_GRID * SAMPLE_RATE)
    return [round(start // frame * _GRID, 2), round(-(-end // frame) * _GRID, 2)]


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
