"""A warehouse of a few spoken recordings, with a pair that has learnt nothing, and neither Prefect nor Ray."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import soundfile

from model.codec import encodec
from tasks.audio import audio_files
from tasks.corpora.sample_corpus import readers
from tests.conftest import Said
from tests.tasks import small_evaluation
from tests.tasks.small_evaluation import LONG, SHORT, Row, World
from warehouse.catalogue import Catalogue
from warehouse.fingerprint import ANY, short_hash
from warehouse.plan import Wanted
from warehouse.store import write_shard
from warehouse.tables import TABLES

Say = Callable[..., Said]  # `valle say` with these words

MACHINE, PERSON = "anna", "ben"  # the one speaks in the sample corpus, the other in LibriSpeech
MACHINE_ID = next(iter(readers()))  # her name there


def make(root: Path) -> World:
    """The warehouse, published; its recipe names the codec and a Whisper by their files."""
    world = small_evaluation.build(
        root, ((MACHINE, LONG), (MACHINE, SHORT), (PERSON, LONG), (PERSON, f"{LONG} {SHORT}"))
    )
    for row in world.tables["recordings"]:
        name = str(row["recording_id"]).partition("/")[0]
        row["corpus"], row["speaker_id"] = ("sample", MACHINE_ID) if name == MACHINE else ("librispeech", name)
        row["audio_digest"] = audio_files.examine(root / "audio" / row["audio_path"]).digest
    wanted = [_write(world, table.name) for table in TABLES if table.name in world.tables]
    index = Catalogue(root)
    whisper = small_evaluation.save_whisper(root / "weights")
    settings = [f"transcripts.model={whisper}", f"codes.model={world.codec}"]
    options = {"recipe": "folder", "settings": settings, "audio": str(root / "audio"), "site": None, "until": None}
    index.remember("folder", wanted, options)
    index.take_up(look_at_disk=True)
    return world


def add_pair(world: World, step: int) -> None:
    """Weights of a later step, in a version of their own."""
    made_by = encodec.identity(world.codec)
    world.tables["checkpoints"] = [
        small_evaluation.kept_weights(world.root, half, step, made_by) for half in ("ar", "nar")
    ]
    _write(world, "checkpoints", settings={"step": step})
    Catalogue(world.root).take_up(look_at_disk=True)


def let_train(world: World) -> None:
    """All utterances are of the split `train` from now on."""
    for row in world.tables["utterances"]:
        row["split"] = "train"
    _write(world, "utterances")
    Catalogue(world.root).take_up(look_at_disk=True)


def recording(world: World, speaker: str, place: int = 0) -> Path:
    """A file of a speaker's."""
    rows = [row for row in world.tables["recordings"] if row["recording_id"].startswith(speaker)]
    return world.root / "audio" / str(rows[place]["audio_path"])


def utterance(world: World, speaker: str, place: int = 0) -> str:
    """The id of an utterance of a speaker's."""
    return [row["utterance_id"] for row in world.tables["utterances"] if row["speaker_id"] == speaker][place]


def stranger(folder: Path, name: str = "stranger.wav") -> Path:
    """A file that the warehouse does not know."""
    soundfile.write(
        folder / name, small_evaluation.synthesize(LONG, small_evaluation.VOICES["ben"]), small_evaluation.SAMPLE_RATE
    )
    return folder / name


def pair_folder(world: World, folder: Path) -> Path:
    """The pair of the warehouse as a folder."""
    for row in world.tables["checkpoints"]:
        shutil.copytree(world.root / str(row["path"]), folder / str(row["half"]))
    return folder


def _write(world: World, name: str, settings: Row | None = None) -> Wanted:
    """Every row of a table as one shard; one for each half where they are weights."""
    [table] = (table for table in TABLES if table.name == name)
    identity = {"model": encodec.identity(world.codec)} if name == "codes" else settings or {}
    stage = json.dumps({"stage": name, "version": 1, "settings": identity})
    print_ = short_hash(stage)
    shards = {"ar": 0, "nar": 1} if name == "checkpoints" else {"all": None}
    for shard, place in shards.items():
        rows = world.tables[name] if place is None else world.tables[name][place : place + 1]
        content = pa.Table.from_pylist(rows, schema=table.schema)
        write_shard(world.root, table, shard, print_, content, stage=stage, inputs='{"files": {}}')
    return Wanted(
        table=name,
        takes=(),
        gathers=(),
        lasting=table.lasting,
        one_to_one=False,
        fingerprints={ANY: print_},
        stages={ANY: stage},
        sources={shard: short_hash('{"files": {}}') for shard in shards},
    )
