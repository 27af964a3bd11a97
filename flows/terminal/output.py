"""How things are said: tables for people, CSV and JSON for machines. Data goes to standard output, words to error."""

import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

MOST_DRAWN = 1_000  # rows of a table that rich draws; it takes a second for every three thousand

Rows = Sequence[Mapping[str, Any]]


def render(rows: pa.Table | Rows, format: str, names: Sequence[str] | None = None) -> str:
    """Rows as a `table` for people, as `csv` with a header, or as `json`, one array of objects."""
    if isinstance(rows, pa.Table):
        names, rows = rows.column_names, rows.to_pylist()
    names = list(names or (rows[0] if rows else ()))
    return {"table": _table, "csv": _csv, "json": _json}[format](names, rows)


def say(words: str) -> None:
    """One line on standard error."""
    print(words, file=sys.stderr, flush=True)


def _json(_names: Sequence[str], rows: Rows) -> str:
    return json.dumps(_finite(list(rows)), default=_plain, indent=1, allow_nan=False) + "\n"


def _csv(names: Sequence[str], rows: Rows) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row[name]) for name in names] for row in rows)
    return text.getvalue()


def _table(names: Sequence[str], rows: Rows) -> str:
    return _drawn(names, rows) if len(rows) <= MOST_DRAWN else _aligned(names, rows)


def _aligned(names: Sequence[str], rows: Rows) -> str:
    """Columns of plain text, which a thousand rows take no longer to write than to read."""
    columns = [[name, *(_short(row[name]) for row in rows)] for name in names]
    numbers = [any(isinstance(row[name], int | float) for row in rows) for name in names]
    widths = [max(map(len, column)) for column in columns]
    padded = [
        [cell.rjust(width) if number else cell.ljust(width) for cell in column]
        for column, width, number in zip(columns, widths, numbers, strict=True)
    ]
    lines = ["   ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
    return "\n".join([lines[0], "─" * (sum(widths) + 3 * (len(widths) - 1)), *lines[1:]]) + "\n"


def _drawn(names: Sequence[str], rows: Rows) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in names:
        numbers = any(isinstance(row[name], (int, float)) for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_short(row[name]) for name in names))
    watched = sys.stdout.isatty()
    text = io.StringIO()
    console = Console(file=text, width=None if watched else 10_000, force_terminal=watched, markup=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _cell(value: Any) -> Any:
    return json.dumps(value, default=_plain, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _short(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 100 else f"{value:.1f}".removesuffix(".0")
    if isinstance(value, (list, tuple)) and len(value) > 12:
        return f"[{', '.join(str(item) for item in value[:12])}, … {len(value)} in all]"
    return str(_cell(value))


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _finite(value: Any) -> Any:
    """NaN and infinity as null, which is all that JSON can say of them."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
