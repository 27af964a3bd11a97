"""`valle run`: what is missing is made, by Prefect's flow, here."""

from flows.commands.options import RunOptions, prefects_mistakes, quiet, said_by_the_environment
from flows.terminal.output import say
from warehouse import working_copy
from warehouse.catalogue import Catalogue


def run(options: RunOptions) -> None:
    """Make what is missing. With nothing to make, Prefect and Ray are not even started."""
    from flows.recipes import words

    site = options.where()
    recipe = options.what().place({"audio": site.corpus})
    tables = recipe.until(options.until)
    for stage in recipe.stages:
        if provide := getattr(stage, "provide", None):
            provide()
    catalogue = Catalogue(site.root)
    said = words(options.recipe, options.site, options.settings, site.corpus, options.until)
    catalogue.remember(recipe.name, catalogue.excused(recipe.wanted()), said)
    plans = [stage for stage in catalogue.take_up(look_at_disk=True) if stage.wanted.table in tables]
    if not options.again and not any(stage.pending for stage in plans):
        made = sum(len(stage.current) for stage in plans)
        say(f"nothing to make: all {made} shards of {recipe.name} are current in {working_copy.said(site.root)}")
        return
    quiet(site.root, options.verbose)
    with said_by_the_environment(site):
        _flow(options)


def _flow(options: RunOptions) -> None:
    """Run the flow, here, and tell Prefect's server of it where there is one."""
    with prefects_mistakes(options.where().root):
        from flows.pipeline import pipeline

        pipeline(
            recipe=options.recipe,
            site=options.site or "",
            until=options.until,
            settings=list(options.settings),
            only=None if options.only is None else list(options.only),
            again=list(options.again),
        )
