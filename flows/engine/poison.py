"""Poison: a row or a file over which its worker crashes, hangs or runs out of memory, whatever is tried.

No exception tells which one it is. So the engine tries halves of the shard, and halves of those
that end like the whole, until single ones are left. These are dropped as `poison`, and the shard is made without them.
A source takes part with a method `items`, and a stage that is not one to one with a method `poisoned`; see
`warehouse.stage`. A stage that makes files, or gathers, has no rows that could be tried apart.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

from flows.engine.leaving_out import can_be_halved
from flows.engine.shards import Failure, Job, one_line, record_attempt
from flows.engine.workers import Pool
from flows.terminal.output import say
from warehouse.faults import POISON
from warehouse.ledger import FAILED
from warehouse.store import Artifact

MOST = 10  # poison in one shard; if there were more, it would hardly be the rows' fault
_SHORTEST_LIMIT = 300.0  # seconds that a part of a shard has, unless the whole has less: models are loaded in it


def make_without_poison(
    pool: Pool, job: Job, failure: Failure, flow_run_id: str | None, attempt: int
) -> Artifact | Failure:
    """Make a shard that has crashed its workers without the few rows that do it.

    Args:
        pool: the workers who make it, and who may crash over its parts.
        job: the shard.
        failure: how its last attempt ended.
        flow_run_id: Prefect's.
        attempt: the number of the attempt that this is.
    """
    begun = time.time()
    if not can_be_halved(job.stage):
        return failure
    try:
        names = job.items
        found = search(names, lambda part: _rehearse(pool, job, names, part))
    except Exception as error:  # no worker to be had, or files that could not be listed this time
        return replace(failure, error=f"{failure.error}; which row does that was not found: {one_line(error)}")
    if refusal := _refusal(job, found, names):
        words = f"{failure.error}; {refusal}"
        record_attempt(job, uuid4().hex, flow_run_id, attempt, begun, FAILED, error=words)
        return Failure(job.name, words, may_pass=False)
    for name, detail in found.items():
        say(f"{job.name}: {name} is dropped as {POISON}: {detail}")
    made = pool.make(replace(job, poison=found), flow_run_id, attempt)
    if isinstance(made, Failure) and made.crashed and not found:
        return replace(made, error=f"{made.error}; none of its {len(names)} rows does that alone")
    return made


def search(names: Sequence[str], what_happens: Callable[[Sequence[str]], str | None]) -> dict[str, str]:
    """The poison among items that a worker does not survive together, each with what it does; by halving.

    Args:
        names: the items.
        what_happens: what some of them do to a worker; None where it survives them.

    Returns:
        No more than one above `MOST`. None at all where only several together are too much.
    """
    found: dict[str, str] = {}

    def look(part: Sequence[str]) -> None:
        what = what_happens(part) if part and len(found) <= MOST else None
        if what and len(part) == 1:
            found[part[0]] = what
        elif what:
            halve(part)

    def halve(part: Sequence[str]) -> None:
        look(part[: len(part) // 2])
        look(part[len(part) // 2 :])

    halve(names)
    return found


def _rehearse(pool: Pool, job: Job, names: Sequence[str], part: Sequence[str]) -> str | None:
    """What some rows of a shard do to a worker; None where it survives them."""
    chosen, longest = set(part), pool.site.shard_timeout_seconds
    limit = min(longest, max(_SHORTEST_LIMIT, 2 * longest * len(part) / len(names)))
    what = pool.rehearse(replace(job, poison={name: "" for name in names if name not in chosen}), limit)
    return f"alone with it, {what}" if what else None


def _refusal(job: Job, found: Mapping[str, str], names: Sequence[str]) -> str | None:
    """Why a shard is not made without its poison."""
    if not found:
        return None
    first, table = next(iter(found)), job.stage.makes
    if len(found) > MOST or len(found) > len(names) / 2 > 0.5:  # such as a library that crashes on everything
        return f"at least {len(found)} of its {len(names)} rows do that alone, the first {first}"
    if "dropped" not in table.schema.names:
        return f"{first} does that alone, and the table {table.name} has no column `dropped` to say so"
    return None
