"""Looks up in a warehouse what `valle say` needs: its newest pair, its utterances, whose voice a sound is.

Nothing here asks for a warehouse. Where none is, nothing is known, and that is no mistake until
something of it is named.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.evaluation.checkpoint_pairs import HALVES, same_codec
from tasks.text.phonemization import ENGLISH
from tasks.text.symbols import SYMBOLS
from tasks.voices import utterance_prompt
from tasks.voices.audio_prompt import Prompt, check_length
from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake
from warehouse.query import published, select
from warehouse.reader import Reader, scan
from warehouse.tables import FRAME_RATE
from warehouse.working_copy import folder_here, here, shard_file, shard_name
from warehouse.working_copy import said as said_of

Row = dict[str, Any]


@dataclass(frozen=True)
class Defaults:
    """What the last recipe of a warehouse says where the command line does not."""

    whisper: str = "embedded"
    codec: str = "embedded"
    language: str = "en-us"


def defaults(root: Path) -> Defaults:
    """Those of the last run; of nobody's where nothing ran, or where its recipe is no longer to be had."""
    from flows.recipes import load_recipe

    try:
        options = Catalogue(root).last_run().options
        recipe = load_recipe(options["recipe"])[0].set(options["settings"])
    except Mistake:
        return Defaults()
    stages = {stage.makes.name: stage for stage in recipe.stages}
    whisper = getattr(stages.get("transcripts"), "model", None)
    return Defaults(
        whisper if whisper and whisper != "reference" else Defaults.whisper,
        getattr(stages.get("codes"), "model", Defaults.codec),
        getattr(stages.get("phones"), "language", Defaults.language),
    )


def newest_pair(root: Path) -> tuple[Path, Path, str] | None:
    """The folders of the newest AR and of the newest NAR that goes with it, and the names of their weights."""
    from model.valle.checkpoint import read_settings

    if not published(root).is_file():
        return None
    query = "select path, sha256 from artifacts where table_name = 'checkpoints' order by made_at desc"
    shards = [shard_file(root, row["path"], row["sha256"]) for row in select(root, query).to_pylist()]
    kept = [row for shard in shards if (row := _last(shard))]
    ars, nars = ([row for row in kept if row["half"] == half] for half in HALVES)
    for ar in ars:
        for nar in nars:
            folders = [folder_here(root / half["path"], without="states") for half in (ar, nar)]
            if not all(folder.is_dir() for folder in folders):
                continue
            mine, its = map(read_settings, folders)
            if (mine.symbols, mine.codec, mine.languages) == (its.symbols, its.codec, its.languages):
                return folders[0], folders[1], f"{ar['checkpoint_id']}+{nar['checkpoint_id']}"
    return None


def _last(shard: Path) -> Row | None:
    """The last weights that a training kept; none where the shard is gone."""
    try:
        file = here(shard).open("rb")
    except FileNotFoundError:
        return None
    wanted = pc.field("dropped").is_null() & pc.field("sha256").is_valid()
    with file:
        rows = pq.read_table(file, columns=["checkpoint_id", "half", "step", "path"], filters=wanted).to_pylist()
    last: Row | None = max(rows, key=lambda row: row["step"], default=None)
    return last


def speaker_of_sound(root: Path, digest: str) -> tuple[str, str | None] | None:
    """The corpus and the speaker of a recording that sounds exactly so; null where the warehouse has none."""
    with suppress(Mistake):  # no warehouse, or one whose recordings were made before sounds had digests
        query = "select corpus, speaker_id from recordings where audio_digest = $1 limit 1"
        with Reader(root) as reader:
            for row in reader.sql(query, [digest]).to_pylist():
                return row["corpus"], row["speaker_id"]
    return None


class Utterance:
    """An utterance of the warehouse, with what every stage has made of it."""

    def __init__(self, root: Path, id_: str) -> None:
        """Raises Mistake where there is no such utterance, or where a stage has not kept it."""
        self.id = id_
        with Reader(root) as reader:
            files = reader.files("utterances")
            query = f"select filename, recording_id from {scan()} where utterance_id = $2"
            found = reader.sql(query, [files, id_]).to_pylist() if files else []
            if not found:
                raise Mistake(f"there is no file {id_}, and {said_of(root)} has no utterance of that id")
            shard = shard_name(found[0]["filename"])
            self.rows = {
                table: _row(reader, table, shard, "utterance_id", id_)
                for table in ("utterances", "transcripts", "phones", "codes")
            }
            self.recording = _row(reader, "recordings", shard, "recording_id", found[0]["recording_id"])
            made = {table: _settings(reader, table, shard) for table in ("codes", "phones")}
            self.codec = str(made["codes"]["model"])  # its identity
            self.phones_language = str(made["phones"].get("language", ENGLISH))

    @property
    def speaker(self) -> tuple[str, str | None]:
        """The corpus, and who speaks in it."""
        return self.recording["corpus"], self.recording["speaker_id"]

    def prompt(self, speaks: str) -> Prompt:
        """Its first 3 s, for a pair that speaks the codes of this codec.

        Raises:
            Mistake: its codes are another codec's, or it is too short.
        """
        if not same_codec(self.codec, speaks):
            raise Mistake(
                f"the codes of {self.id} are {self.codec}'s, and the checkpoint's {speaks}'s: prompt with a file"
            )
        whole = utterance_prompt.Utterance(
            self.id,
            self.recording["audio_path"],
            self.rows["utterances"]["start_sample"],
            self.rows["utterances"]["end_sample"],
            self.rows["transcripts"]["text"],
            tuple(self.rows["phones"]["phones"]),
            self.rows["phones"]["phone_ids"],
            utterance_prompt.stack(self.rows["codes"]),
            self.rows["transcripts"]["language"],
            words=tuple(self.rows["transcripts"]["words"] or ()),
        )
        begun = whole.beginning(round(utterance_prompt.SECONDS * FRAME_RATE), self.phones_language)
        phones = tuple(SYMBOLS[place] for place in begun.phone_ids)
        seconds = begun.codes.shape[1] / FRAME_RATE
        return Prompt(self.id, begun.text, phones, begun.codes, seconds, check_length(self.id, seconds))


def _settings(reader: Reader, table: str, shard: str) -> Row:
    """The settings that a shard was made with."""
    made = (
        "select stage from artifacts semi join wanted using (table_name, shard, fingerprint) "
        "where table_name = $1 and shard = $2"
    )
    [stage] = reader.sql(made, [table, shard])["stage"].to_pylist()
    settings: Row = json.loads(stage)["settings"]
    return settings


def _row(reader: Reader, table: str, shard: str, key: str, id_: str) -> Row:
    """The kept row of an id in a shard."""
    files = reader.files(table, shard)
    rows = reader.sql(f"from {scan()} where {key} = $2", [files, id_]).to_pylist() if files else []
    if not rows:
        raise Mistake(f"{id_} cannot be a prompt: it has no {table} yet; `valle run` makes them")
    if rows[0]["dropped"]:
        raise Mistake(f"{id_} cannot be a prompt: {table} dropped it as {rows[0]['dropped']}")
    row: Row = rows[0]
    return row
