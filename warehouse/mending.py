"""Mending: what a look at a warehouse has found is set aside, removed or taken up, and looked at once more.

Nothing is lost by it: whatever may hold somebody's rows goes to `set-aside/<when>/` under the root, or its URL. Only
what a killed writer left half-written is removed.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from warehouse import ledger, object_soundness, soundness
from warehouse.catalogue import Catalogue
from warehouse.objects import Objects
from warehouse.soundness import Finding
from warehouse.store import is_shard
from warehouse.working_copy import objects_of, shard_of

ASIDE = "set-aside"  # no table can be called so

_SET_ASIDE = {soundness.CUT, soundness.DAMAGED, soundness.MISPLACED, soundness.RECIPE}


def look(root: Path, *, quick: bool = False) -> list[Finding]:
    """All that is wrong with a warehouse, in a folder or on an object store; see `warehouse.soundness.look`."""
    if objects := objects_of(root):
        return object_soundness.look(root, objects, quick=quick)
    return soundness.look(root, quick=quick)


def mend(root: Path, findings: Iterable[Finding], *, quick: bool = False) -> list[Finding]:
    """Mend what can be mended. Returns the findings, each with whether it is mended, and what came to light by it."""
    findings = list(findings)
    aside = f"{ASIDE}/{datetime.now(UTC).strftime('%Y%m%dT%H%M%S')}"
    for finding in findings:
        path = root / finding.path
        if finding.kind == soundness.RECIPE and path not in Catalogue(root).damaged_recipes():
            continue  # written anew since
        if finding.kind in _SET_ASIDE or (finding.kind == soundness.FOREIGN and path.suffix == ".parquet"):
            _set_aside(root, finding.path, aside)
        elif finding.kind in (soundness.FILES, soundness.MISSING):
            _set_aside(root, finding.named_by or finding.path, aside)
        elif finding.kind == soundness.HALF:
            path.unlink(missing_ok=True)
        elif finding.kind == soundness.LEDGER and path.suffix == ".jsonl":
            ledger.put_damaged_lines_aside(path)
    if any(finding.kind in (soundness.CATALOGUE, soundness.OTHERWISE) for finding in findings):
        Catalogue(root).rebuild()
    else:
        Catalogue(root).take_up(look_at_disk=True)
    left = look(root, quick=quick)
    still = {(finding.kind, finding.path) for finding in left}
    before = {(finding.kind, finding.path) for finding in findings}
    told = [replace(finding, mended=(finding.kind, finding.path) not in still) for finding in findings]
    return told + [finding for finding in left if (finding.kind, finding.path) not in before]


def lies_aside(root: Path) -> str | None:
    """Where what was set aside lies; nothing where nothing ever was."""
    if objects := objects_of(root):
        return f"{objects.url}/{ASIDE}" if objects.list(ASIDE) else None
    return str(root / ASIDE) if (root / ASIDE).is_dir() else None


def _with_older(objects: Objects, name: str) -> list[str]:
    """A shard's object, and those that it was before it was made again: else one of them would be taken for current."""
    shard, _ = shard_of(name)
    there = objects.list(name.rpartition("/")[0])
    return sorted({name, *(other for other in there if is_shard(other) and shard_of(other)[0] == shard)})


def _set_aside(root: Path, path: str, aside: str) -> None:
    """Moves a file of a warehouse, or the object of its name, to a folder of it; nothing where it is gone already."""
    if objects := objects_of(root):
        for name in _with_older(objects, path) if is_shard(path) else [path]:
            with suppress(FileNotFoundError), TemporaryDirectory(dir=root) as folder:
                objects.fetch(name, there := Path(folder) / "aside")
                objects.put(f"{aside}/{name}", there)
                objects.delete([name])
    elif (root / path).exists():
        there = root / aside / path
        there.parent.mkdir(parents=True, exist_ok=True)
        (root / path).rename(there)
