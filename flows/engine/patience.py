"""Patience: when most of a stage's shards fail for one and the same reason, the thousands left are not tried.

A reason is an error without what names a single shard in it: what stands in quotes, numbers, and paths. Reasons that
may pass, such as a file system that is away, first get the retries that they are due.
"""

import re
import threading
from collections import Counter

from flows.engine.shards import Failure
from warehouse.store import Artifact

ENOUGH = 5  # failures for one reason, if they are more than half of what was tried as well

_OWN = re.compile(r"'[^']*'|\"[^\"]*\"|\S*[/\d]\S*")


class Patience:
    """How the shards of one stage have ended so far. Threads share it."""

    def __init__(self, table: str) -> None:
        self.table = table
        self._lock = threading.Lock()
        self._latest: dict[str, str | None] = {}  # shard -> why its latest attempt failed; None: it is made
        self._ended: dict[str, str | None] = {}  # likewise, of those that will not be tried again
        self._given_up: Failure | None = None

    def note(self, name: str, outcome: Artifact | Failure, *, is_last: bool) -> None:
        """An attempt has ended; with `is_last`, another would not follow in any case."""
        why = reason(outcome.error) if isinstance(outcome, Failure) else None
        with self._lock:
            self._latest[name] = why
            if not isinstance(outcome, Failure):
                self._ended[name] = None
            elif is_last or not outcome.may_pass:
                self._ended[name] = why
                if why == _prevailing(self._ended):
                    self._given_up = self._given_up or outcome

    @property
    def is_given_up(self) -> bool:
        """Whether the stage is given up."""
        return self._given_up is not None

    @property
    def looks_bad(self) -> bool:
        """Whether it looks so bad that what is to be retried is retried before anything else is begun."""
        with self._lock:
            return _prevailing(self._latest) is not None

    def says(self, num_shards: int) -> str | None:
        """That the stage was given up, why, and how many of its shards were not tried; None where it was not."""
        if self._given_up is None:
            return None
        why = reason(self._given_up.error)
        same = sum(other == why for other in self._latest.values())
        return (
            f"{self.table} is given up, for {same} of the {len(self._latest)} shards that were tried failed for one "
            f"reason, {self._given_up.error}; {num_shards - len(self._latest):,} were not tried, and `valle run` "
            "tries them again"
        )


def reason(error: str) -> str:
    """What is alike in the errors of several shards."""
    return _OWN.sub("…", error)


def _prevailing(reasons: dict[str, str | None]) -> str | None:
    """The reason of most, where there are enough of them."""
    [(why, number)] = Counter(reasons.values()).most_common(1) or [(None, 0)]
    return why if number >= ENOUGH and number > len(reasons) / 2 else None
