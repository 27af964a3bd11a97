"""The flows that Prefect sees. Their parameters are plain names, so that a schedule can hold them.

Each may be retried, from Prefect's pages as well: it makes only what is missing.
"""

from pathlib import Path

from prefect import flow

from flows.downloads.request import GIB, DownloadRequest
from flows.downloads.resumable import download_archive
from flows.engine.materialization import materialize
from flows.engine.prefect_pages import run_name, tell_of_failure
from flows.engine.run import Selection
from flows.engine.site import load_site
from flows.recipes import load_recipe, words

Names = list[str]


@flow(flow_run_name=run_name, on_failure=[tell_of_failure], on_crashed=[tell_of_failure])
def pipeline(
    recipe: str = "demo",
    site: str = "",
    until: str | None = None,
    settings: Names | None = None,
    only: Names | None = None,
    again: Names | None = None,
) -> dict[str, int]:
    """Bring the site's warehouse up to date with a recipe.

    Args:
        recipe: a name, or `FILE.py:FUNCTION`.
        site: a TOML file; nothing means the defaults and the environment.
        until: the last table to make.
        settings: `TABLE.FIELD=VALUE`.
        only: shards, as `codes/small-100`: make these alone, and what hangs on them.
        again: shards to make although they are current.

    Returns:
        How many shards of each table were made.
    """
    where = load_site(site or None)
    loaded, module = load_recipe(recipe)
    settings = settings or []
    tally = materialize(
        loaded.set(settings),
        where,
        until=until,
        selection=Selection(only=None if only is None else _shards(only), again=_shards(again or [])),
        options=words(recipe, site, settings, where.corpus, until),
        module=module,
    )
    return tally.made


@flow(flow_run_name=run_name, on_failure=[tell_of_failure], on_crashed=[tell_of_failure])
def download(
    name: str,
    site: str = "",
    dest: str | None = None,
    mirror: str | None = None,
    md5: str | None = None,
    stream: bool = False,
    keep_archive: bool = False,
    leave_free_gib: float = 1.0,
) -> int:
    """Bring an archive of a corpus: verified, extracted, and gone on with after a kill.

    Args:
        name: as `librilight-small`, or a URL.
        site: a TOML file; nothing means the defaults and the environment.
        dest: the folder to extract it to; the site's corpus unless said.
        mirror: a server with the publisher's path names.
        md5: the sum of a URL's archive.
        stream: extract a plain tar while it arrives.
        keep_archive: do not delete the archive when its members are there.
        leave_free_gib: GiB of the disk that stay free.

    Returns:
        How many files of it are there.
    """
    where = load_site(site or None)
    request = DownloadRequest(
        name=name,
        dest=Path(dest or where.corpus),
        mirror=mirror,
        md5=md5,
        stream=stream,
        keep_archive=keep_archive,
        leave_free=int(leave_free_gib * GIB),
    )
    return download_archive(request, where.root).num_members


@flow(flow_run_name=run_name, on_failure=[tell_of_failure], on_crashed=[tell_of_failure])
def prepare(
    recipe: str = "demo", site: str = "", until: str | None = "examples", settings: Names | None = None
) -> dict[str, int]:
    """From raw audio to the examples that may train.

    Args:
        recipe: a name, or `FILE.py:FUNCTION`.
        site: a TOML file; nothing means the defaults and the environment.
        until: the last table to make.
        settings: `TABLE.FIELD=VALUE`.
    """
    return pipeline.fn(recipe, site, until, settings)


@flow(flow_run_name=run_name, on_failure=[tell_of_failure], on_crashed=[tell_of_failure])
def train(
    recipe: str = "demo", site: str = "", until: str | None = "checkpoints", settings: Names | None = None
) -> dict[str, int]:
    """The AR and the NAR model, and whatever they still need.

    Args:
        recipe: a name, or `FILE.py:FUNCTION`.
        site: a TOML file; nothing means the defaults and the environment.
        until: the last table to make.
        settings: `TABLE.FIELD=VALUE`.
    """
    return pipeline.fn(recipe, site, until, settings)


@flow(flow_run_name=run_name, on_failure=[tell_of_failure], on_crashed=[tell_of_failure])
def evaluate(
    recipe: str = "demo", site: str = "", until: str | None = "scores", settings: Names | None = None
) -> dict[str, int]:
    """Speech from the models, and its scores.

    Args:
        recipe: a name, or `FILE.py:FUNCTION`.
        site: a TOML file; nothing means the defaults and the environment.
        until: the last table to make.
        settings: `TABLE.FIELD=VALUE`.
    """
    return pipeline.fn(recipe, site, until, settings)


def _shards(names: Names) -> frozenset[tuple[str, str]]:
    return frozenset((table, shard) for table, _, shard in (name.partition("/") for name in names))
