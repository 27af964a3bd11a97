"""Faults of single rows: what no stage foresaw of one text or one file costs that row and nobody else.

    error    an exception that nobody expected, which `detail` names
    poison   its worker crashed, hung or ran out of memory over it, again and again; see `flows.engine.poison`

A stage drops what it can name by reasons of its own, such as `unreadable`. For the rest it asks a `Faults` of each
exception. Where most rows of a shard fall to the same kind of exception, the code is to blame, and it is raised.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from warehouse.errors import BrokenPromise, Mistake

A = TypeVar("A")
B = TypeVar("B")

ERROR, POISON = "error", "poison"

_FEW = 2  # rows that may all have the same fault
_TOLD = 300  # characters of what a library says
_OF_OTHERS = (Mistake, BrokenPromise, OSError, MemoryError, ImportError)
_OF_DEVICES = {"OutOfMemoryError", "AcceleratorError"}  # torch's, by name, since nothing else here knows torch
_MACHINE = re.compile(r"\b(CUDA|CUBLAS|CUDNN|NCCL|HIP|MPS)|out of memory|can't allocate", re.IGNORECASE)


class Faults:
    """The rows of one shard that fell to an exception."""

    def __init__(self, reason: str = ERROR) -> None:
        self.reason = reason
        self._met: dict[type[Exception], list[Exception]] = defaultdict(list)

    def refusal(self, error: Exception) -> dict[str, Any]:
        """What `dropped` and `detail` of the row say.

        Raises:
            Exception: the error itself, where it is not the row's: of a person, a file system, memory or a device.
        """
        if not of_a_row(error):
            raise error
        self._met[type(error)].append(error)
        return {"dropped": self.reason, "detail": f"{type(error).__name__}: {' '.join(str(error).split())}"[:_TOLD]}

    def check(self, num_rows: int) -> None:
        """To be called when all rows of the shard are made.

        Raises:
            Exception: the first of a kind that more than half of the rows, and more than two, fell to.
        """
        for errors in self._met.values():
            if len(errors) > max(_FEW, num_rows / 2):
                errors[0].add_note(f"{len(errors)} of {num_rows} rows fell to this")
                raise errors[0]


def of_a_row(error: BaseException) -> bool:
    """Whether an exception may be what a library makes of one row, so that the others can do without it."""
    if isinstance(error, _OF_OTHERS) or not isinstance(error, Exception):
        return False
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return not (isinstance(error, RuntimeError) and (kinds & _OF_DEVICES or _MACHINE.search(str(error))))


def together_or_alone(work: Callable[[list[A]], Sequence[B]], items: Sequence[A]) -> list[B | Exception]:
    """What work makes of each item: of all together, or where one of them is too much for it, of each alone.

    Args:
        work: gives a result for each item, which does not depend on the others.
        items: such as the waveforms of a batch.

    Returns:
        For each item its result, or the exception that it alone makes.

    Raises:
        Exception: one that is no single item's.
    """
    try:
        return list(work(list(items))) if items else []
    except Exception as error:
        if not of_a_row(error):
            raise
        if len(items) == 1:
            return [error]
    return [result for item in items for result in together_or_alone(work, [item])]
