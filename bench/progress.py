"""What a benchmark says while it runs, on stderr, and its form of about a minute; what it found is JSON on stdout."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any


def options(parser: ArgumentParser, words: Sequence[str] | None = None, **short: Any) -> Namespace:
    """What was asked for; `--short` gives each option that is not said its value in `short`."""
    parser.add_argument("--short", action="store_true", help="what takes about a minute on two idle cores")
    words = sys.argv[1:] if words is None else words
    if "--short" in words:
        parser.set_defaults(**short)
    return parser.parse_args(words)


def tell(words: str) -> None:
    """Says how far it is."""
    print(words, file=sys.stderr, flush=True)


def told(figures: dict[str, Any]) -> dict[str, Any]:
    """The same figures, each said as soon as it is known."""
    for name, value in figures.items():
        tell(f"{name}: {json.dumps(value)}")
    return figures
