"""Diagnosis: a question that hangs or raises is told, and nobody waits for it."""

import time

import pytest

from flows.machine.diagnosis import OK, WARNING, Diagnosis, ask, within
from warehouse.errors import Mistake


def _raise() -> list[Diagnosis]:
    raise SystemExit("a library that ends the process")


def test_what_hangs_or_raises_is_told_in_its_place() -> None:
    first, hangs, raises, last = ask(
        {
            "first": lambda: [Diagnosis("first", OK, "here")],
            "hangs": lambda: time.sleep(60) or [],
            "raises": _raise,
            "last": lambda: [Diagnosis("last", OK, "here")],
        },
        2.0,
    )
    assert (first.state, last.state) == (OK, OK)
    assert (hangs.what, hangs.state, hangs.says) == ("hangs", WARNING, "did not answer within 2 s")
    assert (raises.what, raises.state) == ("raises", WARNING)
    assert "SystemExit: a library that ends the process" in raises.says
    assert hangs.todo
    assert raises.todo


def test_a_call_has_so_long_and_raises_what_it_raises() -> None:
    assert within(5, "seven", lambda: 7) == 7
    with pytest.raises(Mistake, match="the disk does not answer within 0.1 s"):
        within(0.1, "the disk", lambda: time.sleep(60))
    with pytest.raises(ZeroDivisionError):
        within(5, "nothing", lambda: 1 // 0)
