"""`valle check`: files, footers and rows against the catalogue, a line for each finding, and what to do about it."""

from pathlib import Path

from flows.terminal.output import say
from warehouse import mending, object_soundness, working_copy
from warehouse.errors import Mistake
from warehouse.soundness import Finding, look
from warehouse.working_copy import objects_of


def check(root: Path, *, mend: bool = False, quick: bool = False) -> list[Finding]:
    """What is wrong with a warehouse; with `mend`, after what can be mended has been.

    Raises:
        Mistake: there is no warehouse.
    """
    if objects := objects_of(root):
        if mend:
            raise Mistake(
                f"{objects.url}: `check --mend` sets files of a folder aside; say `check`, which says what to do"
            )
        findings = object_soundness.look(root, objects, quick=quick)
    else:
        findings = look(root, quick=quick)
    if findings and mend:
        findings = mending.mend(root, findings, quick=quick)
    mended = sum(finding.mended for finding in findings)
    if not findings:
        say(
            f"{working_copy.said(root)} is sound"
            + (": names, sizes and records, and no file was read through" if quick else "")
        )
    elif mended:
        aside = f"; what was set aside lies in {root / mending.ASIDE}" if (root / mending.ASIDE).is_dir() else ""
        say(f"{mended} of {len(findings)} findings mended{aside}")
    else:
        say(f"{len(findings)} finding{'s' * (len(findings) > 1)}")
    return findings
