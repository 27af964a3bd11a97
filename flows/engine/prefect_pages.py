"""What Prefect's pages show of a run: its name, its tags, a bar for each stage, the funnel and what failed, and why.

All of it is for whoever looks; what is done is the catalogue's to know. Where the server does not take it, nothing more
is shown and the run goes on. Task runs have names and no tags: Prefect asks the server about each tag before each task
run, and one that does not answer would fail the shard.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prefect import runtime

from flows.terminal.output import render
from warehouse.query import select
from warehouse.working_copy import said as said_of

EVERY = 5.0  # seconds between two looks at a bar, at the soonest
TABLES = {  # on a page of its own each: what it is, and the rows of it
    "funnel": ("Rows kept, and dropped for which reason", "from funnel"),
    "failures": (
        "The first hundred shards that have failed and not been made since",
        "select table_name, shard, error, attempt, ended_at, host, run_id from failures limit 100",
    ),
}
FAILED = "valle.run.failed"  # the event of a run that has failed, for automations
_QUIETLY = logging.getLogger("prefect")


def run_name() -> str:
    """A flow run's name, of its parameters: `demo to codes`, or `demo: codes/small-100 and 2 more`."""
    said = runtime.flow_run.parameters
    recipe = str(said.get("recipe") or said.get("name") or runtime.flow_run.flow_name).rpartition(":")[2]
    shards = said.get("only") or said.get("again") or []
    if shards:
        others = f" and {len(shards) - 1} more" if len(shards) > 1 else ""
        return f"{recipe}: {shards[0]}{others}"
    return f"{recipe} to {said['until']}" if said.get("until") else recipe


def tell_of_failure(flow: Any, flow_run: Any, state: Any) -> None:
    """A hook of flows that have failed or crashed: a page, and an event, that name the first cause."""
    words = first_cause(str(state.message or state.name))
    _QUIETLY.error("%s: %s", flow_run.name, words)
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import ArtifactCreate
    from prefect.events import emit_event

    page = ArtifactCreate(  # by its own id: where a run has crashed, another process tells of it
        key="first-cause",
        type="markdown",
        description=f"Why {flow_run.name} failed",
        data=f"**{words}**\n\n{_what_now(state)}\n",
        flow_run_id=flow_run.id,
    )
    try:
        with get_client(sync_client=True) as client:
            client.create_artifact(page)
        emit_event(
            FAILED,
            resource={"prefect.resource.id": f"valle.flow-run.{flow_run.id}", "prefect.resource.name": flow_run.name},
            payload={"first_cause": words},
        )
    except Exception:  # the run's state says it, too
        _QUIETLY.exception("the first cause could not be shown")


def first_cause(message: str) -> str:
    """The cause in a state's message, without what Prefect says before it and without the name of our exception."""
    words = " ".join(message.split()).removeprefix("Flow run encountered an exception: ")
    return re.sub(r"^(WorkFailed|Mistake): ", "", words)


def _what_now(state: Any) -> str:
    if state.is_crashed():
        return "What is made is kept. Retry this run, or wait for the next one: either makes only what is missing."
    return (
        "What is made is kept. When the cause is mended, retry this run, which makes only what is missing, or say "
        "`valle rerun --failed`. The traceback of each failed attempt lies in `logs` under the warehouse's root."
    )


class Pages:
    """What is shown of one run of the engine. Outside a flow run, and after the server's first refusal, nothing is."""

    def __init__(self, recipe: str, root: Path) -> None:
        self.recipe, self.root = recipe, root
        self._flow_run_id = runtime.flow_run.id
        self._name = slug(root.name)

    def tag(self, tables: Iterable[str]) -> None:
        """Give the flow run tags by recipe, root and the tables that it is to make."""
        words = [f"recipe:{self.recipe}", f"root:{said_of(self.root)}", *(f"table:{table}" for table in tables)]
        self._show(_tag, self._flow_run_id, [*(runtime.flow_run.tags or []), *words])

    def bar(self, table: str, to_make: int) -> "Bar":
        """A bar for a stage that has so many shards to make."""
        return Bar(self, table, to_make)

    def tables(self) -> None:
        """What was kept and dropped for which reason, and what has failed, as they stand now."""
        for name, (words, query) in TABLES.items():
            self._show(self._table, name, words, query)

    def _table(self, name: str, words: str, query: str) -> None:
        from prefect.artifacts import create_table_artifact

        plain = json.loads(render(select(self.root, query), "json"))
        create_table_artifact(plain, key=f"{self._name}-{name}", description=f"{words}, in {said_of(self.root)}")

    def _show(self, how: Callable[..., Any], *words: Any, **more: Any) -> Any:
        """Whatever the server answers, or nothing."""
        if not self._flow_run_id:
            return None
        try:
            return how(*words, **more)
        except Exception:
            self._flow_run_id = None
            _QUIETLY.warning("nothing more is shown of this run on Prefect's pages", exc_info=True)
            return None


class Bar:
    """How far a stage is, in per cent of the shards that it has to make."""

    def __init__(self, pages: Pages, table: str, to_make: int) -> None:
        self._pages, self._table, self._to_make = pages, table, to_make
        self._artifact: Any = None
        self._shown = 0.0
        self._made = self._failed = 0
        if to_make:
            from prefect.artifacts import create_progress_artifact

            key = f"{pages._name}-{slug(table)}"
            self._artifact = pages._show(create_progress_artifact, 0.0, key=key, description=self._words())

    def expect(self, shards: int) -> None:
        """So many shards are to be made."""
        if shards != self._to_make:
            self._to_make = shards
            self.advance(0, 0)

    def advance(self, made: int, failed: int) -> None:
        """So many shards more are made, and so many have failed for good."""
        self._made += made
        self._failed += failed
        done = self._made + self._failed == self._to_make
        if self._artifact and (done or time.monotonic() - self._shown > EVERY):
            from prefect.artifacts import update_progress_artifact

            share = 100.0 * self._made / self._to_make
            self._pages._show(update_progress_artifact, self._artifact, share, description=self._words())
            self._shown = time.monotonic()

    def _words(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._table} in {said_of(self._pages.root)}: {self._made} of {self._to_make} shards made{failed}"


def slug(words: str) -> str:
    """Words as a key of Prefect's artifacts: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "valle"


def _tag(flow_run_id: str, tags: list[str]) -> None:
    from uuid import UUID

    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run_id), tags=list(dict.fromkeys(tags)))
