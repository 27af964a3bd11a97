"""`valle score`: any system's speech by our judges, beside ours under its name.

A folder has `<utt>.wav` (or .flac, .mp3, .ogg, .opus) for each line of a published list, the one that our own samples
were made by, if they are to be compared: the digest of the list is the evaluation set of both. A file that is missing
counts as an empty sample, for whoever leaves out what went wrong would look the better.
"""

import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset as ds

from flows.engine.site import device_here, load_site
from flows.terminal.output import say
from tasks.audio import audio_files
from tasks.evaluation.scoring import SIMILARITY_DECODED
from tasks.evaluation.systems import CONTINUAL, EMPTY, RESYNTHESIS, TRUTH, VALLE
from tasks.protocols import published_list
from tasks.protocols.evaluation_set import SEED_PROTOCOL
from tasks.protocols.published_list import Entry
from tasks.scores import Scores
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake
from warehouse.query import select
from warehouse.tables import SAMPLES

Row = dict[str, Any]

_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
_OURS = (VALLE, CONTINUAL, TRUTH, RESYNTHESIS)


def score(
    folder: Path, *, root: str | None, site: str | None, list_: str | None, name: str | None, judge: str | None
) -> list[Row]:
    """The leaderboard's rows of the list, with the system's scores kept in the ledger and put among them.

    Args:
        folder: of the system's files.
        root: the warehouse; made where there is none.
        site: TOML that says where things are.
        list_: the list; `meta.lst` in the folder unless said.
        name: of the system; the folder's unless said.
        judge: the Whisper that listens; that of the last recipe unless said.

    Raises:
        Mistake: the folder or the list is missing or damaged, no file is there, or the name is one of ours.
    """
    where = load_site(site, root=root, audio=None)
    name = name or folder.absolute().name
    if name in _OURS or name.startswith(f"{VALLE}-") or "/" in name or not name.strip():
        raise Mistake(f"a system cannot be called {name!r} here: say what it is called by --name")
    if not folder.is_dir():
        raise Mistake(f"there is no folder {folder}")
    path = Path(list_) if list_ else folder / "meta.lst"
    if not path.is_file():
        raise Mistake(f"there is no list {path}: name one by --list, of lines utt|prompt_text|prompt_wav|text")
    entries, digest = published_list.read(path), published_list.digest(path)
    samples = [_sample(entry, name, digest, folder, path.parent) for entry in entries]
    missing = [row["utterance_id"] for row in samples if row["dropped"]]
    if len(missing) == len(samples):
        raise Mistake(f"{folder} has none of the {len(samples)} files that {path} asks for, such as {missing[0]}.wav")
    if missing:
        say(f"{len(missing)} of {len(samples)} files are missing, the first {missing[0]}.wav; they count as empty")
    stage = replace(_stage(where.root), root=where.root, device=device_here(where))
    if judge:
        stage = replace(stage, judge=judge)
    try:
        stage.identity()
        rows = stage(ds.dataset(pa.Table.from_pylist(samples, schema=SAMPLES.schema))).to_pylist()
    except (ValueError, FileNotFoundError) as error:
        raise Mistake(str(error)) from error
    rows = [row for row in rows if row["metric"] != SIMILARITY_DECODED]  # their codes are not ours to decode
    _keep(where.root, name, digest, rows)
    return _beside(where.root, digest)


def _sample(entry: Entry, system: str, digest: str, folder: Path, beside: Path) -> Row:
    """A row as of `samples`, with its paths from anywhere."""
    found = next((path for suffix in _SUFFIXES if (path := folder / f"{entry.name}{suffix}").is_file()), None)
    row: Row = {
        "sample_id": f"{system}/{entry.name}/0",
        "system": system,
        "utterance_id": entry.name,
        "text": entry.text,
    }
    row |= {"prompt_id": entry.prompt_wav, "speaker_id": entry.prompt_wav, "prompt_text": entry.prompt_text}
    row |= {"protocol": SEED_PROTOCOL, "evaluation_set": digest, "seed": 0}
    row |= {
        "prompt_path": str((beside / entry.prompt_wav).absolute()),
        "prompt_seconds": _seconds(beside / entry.prompt_wav),
    }
    if found is None:
        return row | {"dropped": EMPTY, "detail": "there is no such file"}
    return row | {"audio_path": str(found.absolute()), "dropped": None}


def _seconds(path: Path) -> float:
    try:
        return len(audio_files.read(path, 16_000)) / 16_000
    except audio_files.Unreadable as error:
        raise Mistake(f"the prompt {path} cannot be read: {error}") from error


def _stage(root: Path) -> Scores:
    """The judges of the last recipe, as far as there is one."""
    from flows.recipes import load_recipe

    try:
        options = Catalogue(root).last_run().options
        recipe = load_recipe(options["recipe"])[0].set(options["settings"])
    except (Mistake, KeyError):
        return Scores()
    return next((stage for stage in recipe.stages if isinstance(stage, Scores)), Scores())


def _keep(root: Path, system: str, digest: str, rows: list[Row]) -> None:
    """Leave the scores in the ledger, and take it up."""
    record = ledger.ScoredRecord(
        record_id=uuid4().hex,
        system=system,
        evaluation_set=digest,
        rows=tuple(rows),
        host=socket.gethostname(),
        written_at=datetime.now(UTC).isoformat(),
    )
    ledger.emit(root, record)
    Catalogue(root).take_up()


def _beside(root: Path, digest: str) -> list[Row]:
    """All systems of an evaluation set, best first."""
    query = f"""
        select system, num_samples as n, wer, wer_low, wer_high, similarity, similarity_low, similarity_high,
            wer_judge, similarity_judge
        from leaderboard
        where evaluation_set = '{digest}'
        order by wer_judge, similarity_judge, wer, system
    """
    rows: list[Row] = select(root, query).to_pylist()
    return rows
