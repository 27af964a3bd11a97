"""`valle check`: files, footers and rows against the catalogue, a line for each finding, and what to do about it."""

from pathlib import Path

from flows.terminal.output import say
from warehouse import mending, working_copy
from warehouse.soundness import Finding


def check(root: Path, *, mend: bool = False, quick: bool = False) -> list[Finding]:
    """What is wrong with a warehouse; with `mend`, after what can be mended has been.

    Raises:
        Mistake: there is no warehouse.
    """
    findings = mending.look(root, quick=quick)
    if findings and mend:
        findings = mending.mend(root, findings, quick=quick)
    mended = sum(finding.mended for finding in findings)
    if not findings:
        say(
            f"{working_copy.said(root)} is sound"
            + (": names, sizes and records, and no file was read through" if quick else "")
        )
    elif mended:
        aside = f"; what was set aside lies in {there}" if (there := mending.lies_aside(root)) else ""
        say(f"{mended} of {len(findings)} findings mended{aside}")
    else:
        say(f"{len(findings)} finding{'s' * (len(findings) > 1)}")
    return findings
