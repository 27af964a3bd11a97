"""Verification: a page against the catalogue and against itself, figure by figure."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.report.figures import COSTLY
from flows.report.page import digest, rows_of
from warehouse.errors import Mistake
from warehouse.reader import Reader

_FIGURE = re.compile(r"<!--figure ([a-z-]+) ([0-9a-f]{12})-->(.*?)<!--/figure \1-->", re.DOTALL)
_ROWS = re.compile(r'<script type="application/json" class="data">(.*?)</script>', re.DOTALL)
_NAMES = re.compile(r'<meta name="valle-figures" content="([a-z -]*)">')
_SEAL = re.compile(r"<!--page ([0-9a-f]{12})-->\n\Z")
_SAME = 1e-9  # of a number: a sum in another order differs by less


@dataclass(frozen=True)
class Finding:
    """What is wrong with one figure."""

    figure: str
    words: str


def verify(page: str, root: Path) -> tuple[int, list[Finding]]:
    """How many figures a page has, and what is wrong with it: each query is asked again.

    Raises:
        Mistake: it is no page of ours, or nothing has been published under the root.
    """
    named = _NAMES.search(page)
    if not named:
        raise Mistake("this is no page that `valle report` has made")
    found = {name: (told, fragment) for name, told, fragment in _FIGURE.findall(page)}
    findings = [Finding(name, "is not in the page any more") for name in named[1].split() if name not in found]
    with Reader(root) as reader:
        with suppress(Mistake):  # else each figure of it says so
            reader.keep(COSTLY)
        for name, (told, fragment) in found.items():
            findings += [Finding(name, words) for words in _look(reader, told, fragment)]
    seal = _SEAL.search(page)
    if not findings and (not seal or seal[1] != digest(page[: seal.start()])):
        findings.append(Finding("page", "was changed by hand, outside of its figures"))
    return len(found), findings


def _look(reader: Reader, told: str, fragment: str) -> Iterator[str]:
    if digest(fragment) != told:
        yield "was changed by hand in the page"
    try:
        data = json.loads(_ROWS.findall(fragment)[-1])
        sql, rows = data["sql"], data["rows"]
    except (IndexError, ValueError, KeyError, TypeError):
        yield "has no rows that can be read"
        return
    try:
        now = rows_of(reader, sql)
    except Mistake as mistake:
        yield f"cannot be asked again: {mistake}"
        return
    if words := difference(rows, now):
        yield words


def difference(rows: list[Any], now: list[Any]) -> str | None:
    """Where the rows of a page differ from what the catalogue says now, in words."""
    if len(rows) != len(now):
        return f"has {len(rows)} rows, and the catalogue now {len(now)}"
    for place, (row, other) in enumerate(zip(rows, now, strict=True), start=1):
        for column in dict.fromkeys([*row, *other]):
            ours, theirs = row.get(column), other.get(column)
            if not same(ours, theirs):
                return f"says {ours!r} in row {place}, {column}, and the catalogue now {theirs!r}"
    return None


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, but for the rounding of sums."""
    if isinstance(one, float) or isinstance(other, float):
        numbers = isinstance(one, int | float) and isinstance(other, int | float)
        return numbers and math.isclose(one, other, rel_tol=_SAME, abs_tol=1e-12)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
