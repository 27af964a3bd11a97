"""A run whose scores cannot be believed fails, says why, and keeps them; so does the next, until they can.

That each control can name itself is in `tests/tasks/evaluation/test_controls.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tasks.evaluation.sound_scores import SABOTAGE, sound
from warehouse.errors import WorkFailed
from warehouse.query import select
from warehouse.tables import SCORES

RECIPE = f"{Path(__file__).parents[2] / 'given.py'}:judged"


def test_a_control_that_is_sabotaged_fails_the_run_by_its_name(pipeline: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()

    def run(rows: list[dict[str, Any]]) -> dict[str, int]:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCORES.schema), tmp_path / "audio" / "scores.parquet")
        made: dict[str, int] = pipeline(recipe=RECIPE)
        return made

    assert run(sound()) == {"scores": 1}
    says, sabotage = list(SABOTAGE.items())[-1]
    with pytest.raises(WorkFailed) as failed:
        run(sabotage(sound()))
    assert "scores is made, and not to be believed: its controls are broken" in str(failed.value)
    assert says in str(failed.value)
    with pytest.raises(WorkFailed, match="silence"):
        pipeline(recipe=RECIPE)  # which has nothing to make
    assert select(tmp_path / "root", "select count(*) as n from scores").to_pylist() == [{"n": 360}]
    assert run(sound()) == {"scores": 1}
