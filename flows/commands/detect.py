"""`valle detect`: what files say of themselves; and `valle why FILE`: back from a file to its model and its voice."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.terminal.output import render
from tasks.evaluation.checkpoint_pairs import is_embedded
from tasks.provenance.certificate import own
from tasks.provenance.code_mark import Listener, hear
from tasks.provenance.credentials import Found, Origin, examine
from warehouse import ledger
from warehouse.errors import Mistake
from warehouse.history import history
from warehouse.reader import Reader


def detect(files: Sequence[str], codec: str) -> list[dict[str, Any]]:
    """A row for each file, in which a codec has sought the mark in the codes as well.

    Raises:
        Mistake: one is missing, or no audio; or there is no such codec.
    """
    found = [examine(Path(file)) for file in files]
    listener = Listener(codec)
    return [_row(hear(one, listener)) for one in found]


def is_file(id_: str) -> bool:
    """Whether a person means a file, and not an id of the warehouse."""
    return Path(id_).is_file()


def why_file(root: Path, path: Path, *, as_json: bool = False) -> str:
    """What led to a file, for people or as JSON: its credentials, its checkpoint, its prompt, and whose word there is.

    Raises:
        Mistake: it is missing, or no audio.
    """
    found = examine(path)
    row = _row(found) | ({"leads_to": _leads_to(root, found.origin)} if found.origin else {})
    if as_json:
        return render([row], "json")
    return "\n".join(_page(row, found)) + "\n"


def _page(row: dict[str, Any], found: Found) -> Iterator[str]:
    yield f"file {found.path}"
    yield f"{found.verdict}: {found.why}"
    if found.signed_by:
        yield f"  {'signed by':<18} {found.signed_by}{', on this machine' if row['signed_here'] else ''}"
    for name, value in (asdict(found.origin) if found.origin else {}).items():
        if value is not None:
            yield f"  {name:<18} {value}"
    for step in row.get("leads_to", ()):
        yield ""
        yield step["what"]
        yield f"  {step['says']}"


def _leads_to(root: Path, origin: Origin) -> list[dict[str, str]]:
    """What the warehouse knows of an origin."""
    return [
        {"what": f"checkpoint {origin.checkpoint}", "says": _checkpoint(root, origin.checkpoint)},
        {"what": f"prompt {origin.prompt}", "says": _prompt(root, origin.prompt)},
        {"what": f"voice {origin.voice or 'of the prompt'}", "says": _consent(root, origin.voice)},
    ]


def _checkpoint(root: Path, checkpoint: str) -> str:
    if is_embedded(checkpoint):
        return "ships with valle: see model/embedded/valle.md"
    try:
        with Reader(root) as reader:
            known = reader.sql(
                "select half, step, path from checkpoints where checkpoint_id in (select unnest($1))",
                [checkpoint.split("+")],
            ).to_pylist()
    except Mistake as nothing:
        return str(nothing)
    lines = [f"{row['half']} at step {row['step']}, {row['path']}" for row in known]
    return "; ".join(lines) or f"{root} knows no such checkpoint"


def _prompt(root: Path, prompt: str) -> str:
    if Path(prompt).exists():
        return "a file, which is still there; its codes' digest tells whether it is as it was"
    try:
        return history(root, prompt).verdict
    except Mistake as nothing:
        return str(nothing)


def _consent(root: Path, voice: str | None) -> str:
    if voice is None:
        return "it is that of the prompt's speaker in the corpus"
    if word := ledger.consent(root, voice):
        return f"{word.said_by} on {word.host} said at {word.written_at} that its owner agrees, of {word.prompt}"
    return f"no word of consent is in {root}"


def _row(found: Found) -> dict[str, Any]:
    origin = asdict(found.origin) if found.origin else {}
    row = {name: value for name, value in asdict(found).items() if name not in ("origin", "serial")}
    return row | {"signed_here": found.serial is not None and found.serial == own().serial} | origin
