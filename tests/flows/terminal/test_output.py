"""How rows are shown: to people, to machines, few and many."""

import json
from typing import Any

import pytest

from flows.terminal.output import MOST_DRAWN, render

ROWS = [{"name": f"speaker {i}", "hours": i / 3, "books": i, "genre": None} for i in range(MOST_DRAWN + 1)]


def test_many_rows_look_as_few_do() -> None:
    few, many = render(ROWS[:20], "table").splitlines(), render(ROWS, "table").splitlines()
    assert len(many) == len(ROWS) + 2
    assert [line.split() for line in many[2:22]] == [line.split() for line in few[2:]]
    assert many[0].split() == few[0].split() == ["name", "hours", "books", "genre"]


def test_numbers_stand_on_the_right_and_words_on_the_left() -> None:
    lines = render(ROWS, "table").splitlines()
    assert lines[2].startswith("speaker 0 ")
    assert {len(line) for line in lines[2:]} == {len(lines[0].rsplit("genre", 1)[0].rstrip())}


def test_what_is_not_finite_is_null_in_json() -> None:
    assert json.loads(render([{"wer": float("nan")}], "json")) == [{"wer": None}]


@pytest.mark.parametrize("format", ["table", "csv"])
def test_a_name_within_a_list_is_written_as_it_is(format: str) -> None:
    rows: list[dict[str, Any]] = [{"readers": ["Зоя", "Jürgen"], "genre": {"género": "poesía"}}]
    assert all(word in render(rows, format) for word in ("Зоя", "Jürgen", "género", "poesía"))
