"""How large a corpus is: its hours, from the headers of a few of its files, and its shards."""

import json
from dataclasses import dataclass
from pathlib import Path

from flows.engine.recipe import Recipe
from tasks.corpora.listing import is_audio
from warehouse.corpus_copy import file_here
from warehouse.errors import Mistake

ASKED = 200  # files whose headers are read; the others last as long for their bytes


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What is to be made."""

    hours: float  # of audio
    shards: int | None  # unknown, where only hours are said
    num_bytes: int | None


def corpus_size(recipe: Recipe, folder: Path) -> Corpus:
    """What a recipe would read.

    Raises:
        Mistake: the corpus is not there, or its files do not say how long they last.
    """
    hours_instead = "say how long it is by --hours"
    try:
        listings = [shards for table, shards in recipe.listings().items() if shards]
    except Mistake as error:
        raise Mistake(f"{error}; or {hours_instead}") from error
    shards = [json.loads(listing)["files"] for listing in (listings[0].values() if listings else ())]
    files = {path: size for shard in shards for path, (size, _) in shard.items() if is_audio(path)}
    if not files:
        raise Mistake(f"{folder} holds no audio that the recipe names; {hours_instead}")
    seconds, num_bytes = _asked(folder, sorted(files)[:: max(1, len(files) // ASKED)], files)
    if not seconds:
        raise Mistake(f"the files in {folder} do not say how long they last; {hours_instead}")
    total = sum(files.values())
    return Corpus(hours=seconds * total / num_bytes / 3600, shards=len(shards), num_bytes=total)


def _asked(folder: Path, paths: list[str], files: dict[str, int]) -> tuple[float, int]:
    """Seconds and bytes of those files that say how long they last."""
    import soundfile

    seconds, num_bytes = 0.0, 0
    for path in paths:
        try:
            said = soundfile.info(str(file_here(folder / path)))
        except (OSError, RuntimeError):  # libsndfile's errors are of the second kind
            continue
        if said.samplerate and said.frames > 0:
            seconds += said.frames / said.samplerate
            num_bytes += files[path]
    return seconds, num_bytes
