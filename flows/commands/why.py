"""`valle why`: the history of one id on one page, from the archive's bytes to the codes.

What happened is `warehouse.history`'s; here it is said.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.terminal.output import render
from warehouse.history import History, Step, history
from warehouse.tables import CODEBOOKS

_INPUTS = 6  # named of what a shard was made from; the rest is counted
_ATTEMPTS = 6  # the latest of a table
_LETTERS = 160  # of one value on the page


def why(root: Path, id_: str, *, as_json: bool = False) -> str:
    """The history of an utterance, a recording, a shard or a table, for people or as JSON.

    Raises:
        Mistake: there is no such id, or no warehouse.
    """
    told = history(root, id_)
    return render([asdict(told)], "json") if as_json else "\n".join(_page(told)) + "\n"


def _page(told: History) -> Iterator[str]:
    yield f"{told.kind} {told.id}"
    yield told.verdict
    for step in told.steps:
        yield ""
        yield f"{step.table}  {step.fingerprint}" + (f"  {step.shard}" if step.shard and told.kind != "shard" else "")
        for name, value in _lines(step, told):
            yield f"  {name:<18} {value}"


def _lines(step: Step, told: History) -> Iterator[tuple[str, str]]:
    if step.stage:
        yield "stage", f"{step.stage['stage']} {step.stage['version']}: {_words(step.stage['settings'])}"
    yield from _made_from(step, told)
    for attempt in step.attempts[-_ATTEMPTS:]:
        shard = "" if step.shard else f"{attempt['shard']} "
        error = f": {attempt['error']}" if attempt["error"] else ""
        at = f"{attempt['ended_at']} on {attempt['host']} ({attempt['device']}), {attempt['seconds']:.2f} s"
        yield "attempt", f"{shard}{attempt['attempt']} {attempt['state']} {at}{error}"
    if step.state != "made":
        yield step.state, step.reason or ""
    if step.rows:
        for row in step.rows:
            yield from _values({name: value for name, value in row.items() if value != told.id})
    else:
        kept = step.num_rows - sum(step.dropped.values())
        yield "rows", f"{kept} kept" + "".join(f", {n} dropped for {reason}" for reason, n in step.dropped.items())


def _made_from(step: Step, told: History) -> Iterator[tuple[str, str]]:
    """Files and shards by their names; of a source's files only those of the recording at hand."""
    inputs = step.inputs.get("files", step.inputs)
    if step.rows and "audio_path" in step.rows[0]:
        inputs = {path: said for path, said in inputs.items() if path == step.rows[0]["audio_path"]}
    for path in sorted(inputs)[:_INPUTS]:
        said = inputs[path]
        yield "made from", f"{path}  {f'{said[0]} bytes' if isinstance(said, list) else said}"
    if len(inputs) > _INPUTS:
        yield "", f"and {len(inputs) - _INPUTS} more"


def _values(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is there in a row, a line each; the codes as one."""
    for name, value in row.items():
        if value is not None and name not in CODEBOOKS:
            yield name, _brief(value)
    codebooks = [row[name] for name in CODEBOOKS if row.get(name) is not None]
    if codebooks:
        first = " ".join(str(code) for code in codebooks[0][:12])
        yield "codes", f"[{len(codebooks)}, {len(codebooks[0])}], the first codebook begins {first}"


def _brief(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], str):
        text = " ".join(value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}… ({len(value)} in all)"


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_brief(value)}" for name, value in sorted(settings.items())) or "no settings"
