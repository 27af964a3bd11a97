"""`valle report`: the page of a warehouse, written or held against the catalogue."""

from datetime import UTC, datetime
from pathlib import Path

from flows.report.figures import FIGURES
from flows.report.page import build
from flows.report.page_verification import Finding, verify
from flows.terminal.output import say
from warehouse import working_copy
from warehouse.catalogue import Catalogue
from warehouse.corpus_copy import corpus_at
from warehouse.errors import Mistake, WorkFailed
from warehouse.query import published
from warehouse.store import write_atomically

NAME = "report.html"


def report(root: Path, out: str | None = None, audio: str | None = None) -> Path:
    """Write the page, whole or not at all; say how large it is. Returns where it lies.

    Args:
        root: the warehouse.
        out: where to; None is `report.html` in the root.
        audio: where the corpus lies, if it is no longer where it lay.

    Raises:
        Mistake: there is no warehouse, or it cannot be written there.
    """
    if not published(root).is_file():
        name = working_copy.said(root)
        raise Mistake(f"{name} is not a warehouse, so there is nothing to report: `valle run --root {name}` makes one")
    path = Path(out).expanduser().absolute() if out else root / NAME
    if path.is_dir():
        raise Mistake(f"{path} is a folder: --out is the file that the page is written to")
    if not path.parent.is_dir():
        raise Mistake(f"there is no folder {path.parent} to write {path.name} in")
    corpus, told = _last_run(root)
    page = build(root, corpus_at(audio) if audio else corpus, told).encode()
    write_atomically(path, page)
    say(f"{len(page) / 1e6:.1f} MB; `valle report --verify` holds it against the catalogue")
    return path


def report_where_it_differs(root: Path) -> Path:
    """The page of a root: the one that is there, where every figure of it says what the catalogue says, else anew."""
    path = root / NAME
    try:
        count, findings = verify(path.read_bytes().decode(), root)
    except (Mistake, OSError, UnicodeDecodeError):  # no page, or none of ours
        return report(root)
    return path if count == len(FIGURES) and not findings else report(root)


def hold_against(root: Path, out: str | None = None) -> str:
    """Ask every query of a page again; `true` and how many agree.

    Raises:
        Mistake: there is no such page.
        WorkFailed: a figure differs; names each.
    """
    path = Path(out).expanduser().absolute() if out else root / NAME
    try:
        page = path.read_bytes().decode()
    except FileNotFoundError:
        raise Mistake(f"there is no page {path} to verify: `valle report` makes it") from None
    except UnicodeDecodeError:
        raise Mistake(f"{path} is no page that `valle report` has made") from None
    count, findings = verify(page, root)
    if findings:
        raise WorkFailed("false: " + "; ".join(map(_told, findings)))
    return f"true: {count} figures say what the catalogue says"


def _told(finding: Finding) -> str:
    return f"{'the page' if finding.figure == 'page' else f'figure {finding.figure}'} {finding.words}"


def _last_run(root: Path) -> tuple[Path, str]:
    """Where the corpus lies, and the recipe and its day in words."""
    try:
        last = Catalogue(root).last_run()
    except Mistake:  # a catalogue, and no recipe that can be read
        return root / "audio", "no recipe has run here"
    day = datetime.fromtimestamp(last.ran_at, UTC)
    corpus = corpus_at(last.options.get("audio") or root / "audio")
    return corpus if corpus.is_dir() else root / "audio", f"recipe {last.name}, last run {day:%Y-%m-%d %H:%M} UTC"
