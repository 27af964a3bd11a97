"""Makes the speech that trains the embedded models: `python -m deploy.embedded.corpus FOLDER --kokoro PARTS`.

A folder of FOLDER/audio is one voice: a dozen utterances (Opus, 24 kHz) with a `manifest.jsonl` that the recipe
`folder` reads, written last, so that a folder without one is not whole and is made again. About one second of
speech a second and thread; run it as often, as long and in as many processes (`--rank`) as wanted. Held-out voices are
FOLDER/held-out, laid out alike. `--resample` adds to each voice that is whole the same speech played 5 to 14 %
faster or slower, which is another voice at the cost of nothing.

Texts are the project's own grammar, the same with some of its words changed for any of the 20,000 commonest English
words (by `wordfreq`), and runs of one to four such words: a grammar alone teaches its own 900 words.
"""

import argparse
import json
import random
import re
import shutil
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from deploy.embedded.kokoro import HELD_OUT, SAMPLE_RATE, Kokoro, Voice, alone
from tasks.text.sentences import VOCABULARY, sentences

_UTTERANCES = 12  # of a voice
_COMMON = 20_000  # words
_ACCENTS = {"en": "ab", "es": "e"}  # of Kokoro's voices, by the first letter of their names
_BONES = """
    a after an and because before but can could do every for had her his i if in is it my never not nothing one our
    please said say should than that the then there they this until was we were what where while why with without you
    he she
"""  # words of the grammar that stay what they are


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes speech of many voices; run again for more.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kokoro", type=Path, help="folder with Kokoro's wheels and styles")
    parser.add_argument(
        "--language", choices=sorted(_ACCENTS), default="en", help="of the speech; others are runs of words"
    )
    parser.add_argument("--rank", type=int, default=0, help="tells processes apart")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to go on")
    parser.add_argument("--held-out", action="store_true", help="the held-out voices, each once, instead")
    parser.add_argument("--resample", action="store_true", help="only play what is there faster and slower")
    options = parser.parse_args()
    if options.resample:
        for manifest in sorted((options.folder / "audio").glob("*/manifest.jsonl")):
            _resample(manifest.parent)
        return
    if options.kokoro is None:
        parser.error("--kokoro FOLDER is needed to speak")
    kokoro, until = Kokoro(options.kokoro), time.time() + 60 * options.minutes
    for folder, voice, seed in _held_out(options.folder) if options.held_out else _training(options, kokoro):
        if time.time() > until:
            break
        if not (folder / "manifest.jsonl").exists():
            _make(kokoro, folder, voice, seed, options.language, held_out=options.held_out)


def _training(options: argparse.Namespace, kokoro: Kokoro) -> Iterator[tuple[Path, Voice, int]]:
    """Voices without end, the same for the same rank."""
    pick = random.Random(options.rank)
    for number in range(10**6):
        voice = kokoro.mixed(pick, _ACCENTS[options.language])
        yield (
            options.folder / "audio" / f"{options.rank}-{number:04d}-{voice.name}",
            voice,
            1_000_000 * options.rank + number,
        )


def _held_out(folder: Path) -> Iterator[tuple[Path, Voice, int]]:
    for number, name in enumerate(HELD_OUT):
        yield folder / "held-out" / name, alone(name), number


def _make(kokoro: Kokoro, folder: Path, voice: Voice, seed: int, language: str, held_out: bool) -> None:
    """One voice's utterances."""
    import soundfile

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pick = random.Random(seed)
    lines: list[dict[str, object]] = []
    said = sentences(seed, held_out=True) if held_out else texts(seed) if language == "en" else words(seed, language)
    while len(lines) < _UTTERANCES:
        text, speed = next(said), round(pick.uniform(0.88, 1.12), 2)
        speech = kokoro.speak(text, voice, speed)
        if speech is not None:
            name = f"{len(lines):02d}.ogg"
            soundfile.write(folder / name, speech, SAMPLE_RATE, format="OGG", subtype="OPUS")
            line = {"path": name, "speaker": voice.name, "text": text, "language": language, "speed": speed}
            lines.append(line)
    tell(folder, lines)


def _resample(folder: Path) -> None:
    """Makes another voice of one, unless it is there."""
    import soundfile
    import soxr

    pick = random.Random(folder.name)
    factor = round(pick.choice((pick.uniform(0.88, 0.95), pick.uniform(1.05, 1.14))), 3)
    other = folder.with_name(f"{folder.name}~{factor}")
    if "~" in folder.name or (other / "manifest.jsonl").exists():
        return
    other.mkdir(exist_ok=True)
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        speech, _ = soundfile.read(folder / line["path"], dtype="float32")
        played = soxr.resample(speech, round(SAMPLE_RATE * factor), SAMPLE_RATE)
        soundfile.write(other / line["path"], played, SAMPLE_RATE, format="OGG", subtype="OPUS")
    tell(other, [line | {"speaker": f"{line['speaker']}~{factor}"} for line in lines])


def tell(folder: Path, lines: list[dict[str, object]]) -> None:
    """The manifest, the last thing that is written."""
    draft = folder / "manifest.jsonl.new"
    draft.write_text("".join(json.dumps(line) + "\n" for line in lines))
    draft.rename(folder / "manifest.jsonl")


def texts(seed: int) -> Iterator[str]:
    """Texts to train on, without end: half plain sentences, three in ten with other words, two in ten mere words."""
    pick, plain, common, runs = random.Random(seed), sentences(seed), _common(), words(seed)
    while True:
        kind = pick.random()
        if kind < 0.2:
            yield next(runs)
        elif kind < 0.5:
            yield re.sub(r"[A-Za-z]+", lambda word: _other(word[0], pick, common), next(plain))
        else:
            yield next(plain)


def words(seed: int, language: str = "en") -> Iterator[str]:
    """Runs of one to four common words, without end."""
    pick, common = random.Random(seed), _common(language)
    while True:
        run = [pick.choice(common) for _ in range(pick.choice((1, 2, 2, 3, 3, 4)))]
        yield " ".join(run).capitalize() + "."


@cache
def _common(language: str = "en") -> list[str]:
    from wordfreq import top_n_list

    found = [word for word in top_n_list(language, _COMMON) if word.isalpha() and len(word) > 1]
    return [word for word in found if word.isascii()] if language == "en" else found


def _other(word: str, pick: random.Random, common: list[str]) -> str:
    """The word itself, or, for one in three that are not the grammar's own bones, any."""
    if word.lower() in _BONES.split() or word.lower() not in VOCABULARY or pick.random() < 0.65:
        return word
    other = pick.choice(common)
    return other.capitalize() if word[0].isupper() else other


if __name__ == "__main__":
    main()
