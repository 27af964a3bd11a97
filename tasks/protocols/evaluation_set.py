"""Evaluation sets: which texts are said in whose voice, chosen once, bounded, and named by a digest.

Two protocols are known by name. `vall-e` is that of Wang et al. 2023 (arXiv:2301.02111, section 5.2): a text of the
corpus, and as its prompt another utterance of the same speaker. `seed-tts` is that of Anastassiou et al. 2024
(arXiv:2406.02430): a published list of prompts and texts (`tasks.protocols.published_list`).

A set of the corpus is drawn by the hashes of ids, and evenly over speakers: each has given one text before
any gives a second. So fewer texts are the first of more, a corpus that grows changes few, and one reader of many hours
is no more than one voice. To keep a set whatever becomes of its corpus, freeze it into a file, from which it is read:

    valle sql "select utterance_id, prompt_id from samples where system = 'ground-truth'" --format csv --output set.csv
"""

import csv
import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from tasks.voices import utterance_prompt
from warehouse.errors import Mistake
from warehouse.fingerprint import short_hash

Row = dict[str, Any]
Choice = tuple[str, str | None]  # ids of the utterance whose text is said, and of the one that prompts

VALLE_PROTOCOL, SEED_PROTOCOL = "vall-e", "seed-tts"
UNKNOWN = 20  # shards of a set whose size is not known before it is drawn
ALL = "all"  # the shard of a set that needs no more than one, and of any set whole


@dataclass(frozen=True)
class EvaluationSet:
    """Chosen pairs, in the order in which they are said."""

    choices: tuple[Choice, ...]

    @property
    def digest(self) -> str:
        """Twelve hex digits of the pairs, in whatever order."""
        return short_hash(json.dumps(sorted(self.choices, key=str)))


def draw(
    known: Collection[Row], shortest: float, longest: float, number: int | None, prompt_seconds: float
) -> EvaluationSet:
    """A set drawn from utterances.

    Args:
        known: utterances with `utterance_id`, `speaker_id` and `seconds`, any of which may prompt.
        shortest: of an utterance whose text is said, in seconds.
        longest: likewise.
        number: of texts at most, evenly over speakers; null for all.
        prompt_seconds: of a prompt, by which `utterance_prompt.choose` ranks.
    """
    by_speaker: dict[str | None, list[Row]] = defaultdict(list)
    for row in sorted(known, key=lambda row: utterance_prompt.chance(row["utterance_id"])):
        by_speaker[row["speaker_id"]].append(row)
    rounds = [
        (place, utterance_prompt.chance(row["utterance_id"]), row)
        for rows in by_speaker.values()
        for place, row in enumerate(row for row in rows if shortest <= row["seconds"] <= longest)
    ]
    rounds.sort(key=lambda one: one[:2])
    lengths = {speaker: [(row["utterance_id"], row["seconds"]) for row in rows] for speaker, rows in by_speaker.items()}
    return EvaluationSet(
        tuple(
            (
                row["utterance_id"],
                utterance_prompt.choose(row["utterance_id"], lengths[row["speaker_id"]], prompt_seconds),
            )
            for _, _, row in rounds[:number]
        )
    )


def is_frozen(path: Path) -> bool:
    """Whether a file is a frozen set, by its header, rather than a published list.

    Raises:
        Mistake: there is no such file, or it is no text.
    """
    return {"utterance_id", "prompt_id"} <= set(text_lines(path)[0].split(","))


def read(path: Path) -> EvaluationSet:
    """A frozen set: CSV with the columns `utterance_id` and `prompt_id`, which is empty where there is no prompt.

    Raises:
        Mistake: the file is missing or damaged, has no rows, or an utterance twice.
    """
    rows = list(csv.DictReader(text_lines(path)))
    if not rows:
        raise Mistake(f"samples.pairs: {path} has no pair in it")
    ids = [row["utterance_id"] for row in rows]
    if not all(ids) or None in (row["prompt_id"] for row in rows):
        raise Mistake(f"samples.pairs: {path} has a row without an utterance_id, or one that breaks off")
    if twice := _first_double(ids):
        raise Mistake(f"samples.pairs: {path} has {twice!r} twice")
    return EvaluationSet(tuple((row["utterance_id"], row["prompt_id"] or None) for row in rows))


def shard_names(number: int | None, size: int) -> tuple[str, ...]:
    """The shards of a set of so many pairs, with so many in each: `all`, or `00-of-20` and so on.

    Args:
        number: of pairs at most; null where it is not known.
        size: of a shard, in pairs.
    """
    count = UNKNOWN if number is None else max(1, ceil(number / size))
    width = max(2, len(str(count - 1)))
    return (ALL,) if count == 1 else tuple(f"{place:0{width}}-of-{count}" for place in range(count))


def part(number: int, shard: str, size: int | None) -> slice:
    """Which of so many pairs a shard has; null as size shares them out evenly."""
    if shard == ALL:
        return slice(0, number)
    place, _, count = shard.partition("-of-")
    size = size or ceil(number / int(count))
    return slice(int(place) * size, (int(place) + 1) * size)


def text_lines(path: Path) -> list[str]:
    """The lines of a file of pairs; of an empty one, an empty line.

    Raises:
        Mistake: there is no such file, or it is no text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise Mistake(f"samples.pairs: there is no file {path}") from None
    except (IsADirectoryError, UnicodeDecodeError):
        raise Mistake(f"samples.pairs: {path} is no text file") from None
    return lines or [""]


def _first_double(ids: Iterable[str]) -> str | None:
    seen: set[str] = set()
    return next((one for one in ids if one in seen or seen.add(one)), None)  # type: ignore[func-returns-value]
