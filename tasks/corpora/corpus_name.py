"""What a corpus in a folder of somebody's own is called: as that folder was when the warehouse first listed it.

A copy of the corpus under another name holds the same, and nothing is made again for it, so the first name stays.
"""

import json
from pathlib import Path

from tasks.corpora.held_out import LIBRIVOX
from warehouse.corpus_copy import folder_name
from warehouse.store import write_atomically
from warehouse.working_copy import here, send

_FILE = "corpus.json"


def settle(root: Path, audio: Path) -> None:
    """Writes down the folder's name in a warehouse that has none yet."""
    try:
        here(root / _FILE).stat()
    except FileNotFoundError:
        write_atomically(root / _FILE, json.dumps({"name": _name(audio)}).encode())
        send(root / _FILE)


def corpus_name(root: Path | None, audio: Path) -> str:
    """The name that the warehouse knows the corpus by, or the folder's own."""
    try:
        return str(json.loads(here(root / _FILE).read_text(encoding="utf-8"))["name"]) if root else _name(audio)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return _name(audio)


def _name(audio: Path) -> str:
    """A folder's name; one that is called as a corpus of LibriVox is not taken for it."""
    name = folder_name(audio)
    return f"{name} (folder)" if name in LIBRIVOX else name
