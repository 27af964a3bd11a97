"""Diagnosis: what is asked of a machine, each question in a thread of its own that nobody waits for too long.

A folder on a server that is gone, or a driver that hangs, holds whoever asks, and no signal frees them. So the question
is left behind, and its answer is that there was none.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from warehouse.errors import Mistake

OK, WARNING, MISSING = "ok", "warning", "missing"


@dataclass(frozen=True)
class Diagnosis:
    """What is known of one thing that a run needs."""

    what: str
    state: str  # OK; WARNING, where it works and could be better, or nobody knows; MISSING, where a run would fail
    says: str
    todo: str = ""  # what to do, where it is not OK


Probe = Callable[[], list[Diagnosis]]
T = TypeVar("T")


def within(limit: float, what: str, call: Callable[[], T]) -> T:
    """What a call gives, or raises, within so many seconds.

    Raises:
        Mistake: it gives nothing for so long.
    """
    answer: list[T] = []
    raised: list[BaseException] = []

    def answer_it() -> None:
        try:
            answer.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=answer_it, name=f"asking {what}", daemon=True)
    thread.start()
    thread.join(limit)
    if raised:
        raise raised[0]
    if not answer:
        raise Mistake(f"{what} does not answer within {limit:g} s; see whether the disk or the server it is on is gone")
    return answer[0]


def ask(probes: Mapping[str, Probe], limit: float) -> list[Diagnosis]:
    """The answers of all probes, in their order. One that raises or does not answer within `limit` seconds is told."""
    answers: dict[str, list[Diagnosis]] = {}

    def answer(name: str, probe: Probe) -> None:
        try:
            answers[name] = probe()
        except BaseException as error:  # whatever a library does when it is not well
            words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            answers[name] = [Diagnosis(name, WARNING, f"nobody knows ({words})", "see to what this says")]

    threads = {
        name: threading.Thread(target=answer, args=(name, probe), name=f"asking {name}", daemon=True)
        for name, probe in probes.items()
    }
    until = time.monotonic() + limit
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, until - time.monotonic()))
    silent = "see whether a disk or a server that it needs is gone"
    return [
        diagnosis
        for name in probes
        for diagnosis in answers.get(name) or [Diagnosis(name, WARNING, f"did not answer within {limit:g} s", silent)]
    ]
