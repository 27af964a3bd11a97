"""The four flows that Prefect sees. Their parameters are plain names, so that a schedule can hold them."""

from prefect import flow

from flows.engine import Selection, materialize
from flows.recipes import load_recipe, words
from flows.site import load_site

Names = list[str]


@flow(log_prints=False)
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
        options=words(recipe, site, settings, where.corpus),
        module=module,
    )
    return tally.made


@flow(log_prints=False)
def prepare(
    recipe: str = "demo", site: str = "", until: str | None = "examples", settings: Names | None = None
) -> dict[str, int]:
    """From raw audio to the examples that may train."""
    return pipeline.fn(recipe, site, until, settings)


@flow(log_prints=False)
def train(
    recipe: str = "demo", site: str = "", until: str | None = "checkpoints", settings: Names | None = None
) -> dict[str, int]:
    """The AR and the NAR model, and whatever they still need."""
    return pipeline.fn(recipe, site, until, settings)


@flow(log_prints=False)
def evaluate(
    recipe: str = "demo", site: str = "", until: str | None = "scores", settings: Names | None = None
) -> dict[str, int]:
    """Speech from the models, and its scores."""
    return pipeline.fn(recipe, site, until, settings)


def _shards(names: Names) -> frozenset[tuple[str, str]]:
    return frozenset((table, shard) for table, _, shard in (name.partition("/") for name in names))
