"""Mending: what `warehouse.soundness` has found is set aside, removed or taken up, and looked at once more.

Nothing is lost by it: whatever may hold somebody's rows goes to `set-aside/<when>/` under the root. Only what a killed
writer left half-written is removed.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from warehouse import ledger, soundness
from warehouse.catalogue import Catalogue
from warehouse.soundness import Finding

ASIDE = "set-aside"  # no table can be called so

_SET_ASIDE = {soundness.CUT, soundness.DAMAGED, soundness.MISPLACED, soundness.RECIPE}


def mend(root: Path, findings: Iterable[Finding], *, quick: bool = False) -> list[Finding]:
    """Mend what can be mended. Returns the findings, each with whether it is mended, and what came to light by it."""
    findings = list(findings)
    aside = root / ASIDE / datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    for finding in findings:
        path = root / finding.path
        if finding.kind in _SET_ASIDE or (finding.kind == soundness.FOREIGN and path.suffix == ".parquet"):
            _set_aside(root, path, aside)
        elif finding.kind == soundness.FILES:
            _set_aside(root, root / finding.named_by, aside)
        elif finding.kind == soundness.HALF:
            path.unlink(missing_ok=True)
        elif finding.kind == soundness.LEDGER and path.suffix == ".jsonl":
            ledger.put_damaged_lines_aside(path)
    if any(finding.kind in (soundness.CATALOGUE, soundness.OTHERWISE) for finding in findings):
        Catalogue(root).rebuild()
    else:
        Catalogue(root).take_up(look_at_disk=True)
    left = soundness.look(root, quick=quick)
    still = {(finding.kind, finding.path) for finding in left}
    before = {(finding.kind, finding.path) for finding in findings}
    told = [replace(finding, mended=(finding.kind, finding.path) not in still) for finding in findings]
    return told + [finding for finding in left if (finding.kind, finding.path) not in before]


def _set_aside(root: Path, path: Path, aside: Path) -> None:
    if path.exists():
        there = aside / path.relative_to(root)
        there.parent.mkdir(parents=True, exist_ok=True)
        path.rename(there)
