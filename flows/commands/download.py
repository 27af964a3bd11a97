"""`valle download`: an archive of a corpus, by Prefect's flow."""

from pathlib import Path
from typing import Any

from flows.commands.options import RunOptions, prefects_mistakes, quiet, said_by_the_environment
from warehouse import corpus_copy
from warehouse.errors import Mistake
from warehouse.objects import is_url


def download(options: RunOptions, name: str, *, dest: str | None, leave_free_gib: float, **how: Any) -> None:
    """Bring an archive of a corpus. Where it is there already, Prefect is not even started."""
    from flows.downloads.request import GIB, DownloadRequest, is_there

    site = options.where()
    folder = _folder(dest or corpus_copy.said(site.corpus))
    if is_there(DownloadRequest(name=name, dest=folder, leave_free=int(leave_free_gib * GIB), **how), site.root):
        return
    quiet(site.root, options.verbose)
    with said_by_the_environment(site), prefects_mistakes(site.root):
        from flows.pipeline import download as flow

        flow(name, options.site or "", str(folder), leave_free_gib=leave_free_gib, **how)


def _folder(dest: str) -> Path:
    if is_url(dest):
        raise Mistake(f"an archive is extracted into a folder, and {dest} is none: say --dest, then copy it there")
    return Path(dest).absolute()
