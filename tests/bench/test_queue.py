"""The bench of the queue: its workers sleep as long as it says, and what they make counts as made."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.queue import SECOND, Sleepers, bare_seconds, bare_use, engine, lengths


def test_lengths_are_uneven_and_of_their_mean() -> None:
    seconds = list(lengths(1_000, 2.0).values())
    assert sum(seconds) / 1_000 == pytest.approx(2.0)
    assert max(seconds) > 4 * 2.0


def test_the_engine_makes_them_all_by_workers_that_sleep(prefect_server: None, tmp_path: Path) -> None:
    seconds = lengths(30, 0.01)
    sleepers = Sleepers(seconds, slots=4)
    assert engine(tmp_path, dict.fromkeys(seconds, 1), sleepers) > 0
    assert len(sleepers.ended) == 30
    assert 0 < sleepers.use <= 1


def test_two_stages_lie_beside_each_other(prefect_server: None, tmp_path: Path) -> None:
    seconds = lengths(12, 0.1)
    sleepers = Sleepers(seconds, slots=2, device="cuda")
    engine(tmp_path, dict.fromkeys(seconds, 1), sleepers, until=SECOND.name)
    assert len(sleepers.ended) == 24
    assert max(sleepers.ended) - min(sleepers.begun) > sum(seconds.values()) / 2


@pytest.mark.parametrize("measure", [lambda root: bare_use(lengths(8, 0.01), 4), lambda root: bare_seconds(root, 3)])
def test_what_it_stands_beside_is_measured(tmp_path: Path, measure: Callable[[Path], float]) -> None:
    assert measure(tmp_path) > 0
