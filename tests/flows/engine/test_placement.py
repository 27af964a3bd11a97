"""How many workers fit: counted node by node and GPU by GPU, as Ray places them."""

from typing import Any

import pytest

from flows.engine.placement import has_gpu, room
from warehouse.stage import Resources


def node(cpus: float, gpus: float = 0.0, *, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, "memory": 1e9} | ({"GPU": gpus} if gpus else {})}


@pytest.mark.parametrize(
    ("nodes", "needs", "workers"),
    [
        ([node(16, 2)], Resources(gpus=0.4), 4),  # 2 / 0.4 would be 5
        ([node(8, 1), node(8, 1)], Resources(gpus=0.6), 2),
        ([node(64, 1)], Resources(gpus=0.1), 10),  # 1 / 0.1, whatever it is in binary
        ([node(64, 2)], Resources(gpus=0.3), 6),
        ([node(8, 1)], Resources(gpus=1.0), 1),
        ([node(8, 3), node(8, 3)], Resources(gpus=2.0), 2),  # a GPU of each node is left over
        ([node(3, 8)], Resources(gpus=0.5), 3),  # CPUs are what lacks
        ([node(3), node(3)], Resources(cpus=2.0), 2),  # 6 / 2 would be 3
        ([node(4), node(64, alive=False)], Resources(), 4),
        ([node(4), node(2, 1)], Resources(gpus=0.5), 2),  # CPUs beside no GPU are of no use
        ([node(4)], Resources(gpus=0.5), 0),
        ([node(1), node(1)], Resources(cpus=2.0), 0),
        ([], Resources(), 0),
    ],
)
def test_no_more_workers_are_promised_than_nodes_have_room_for(
    nodes: list[dict[str, Any]], needs: Resources, workers: int
) -> None:
    assert room(nodes, needs, train_workers=2) == workers


def test_what_only_launches_trainings_is_counted_by_what_they_hold() -> None:
    assert room([node(8, 4), node(8, 4)], Resources(cpus=0.0), train_workers=4) == 2
    assert room([node(2)], Resources(cpus=0.0), train_workers=2) == 1
    assert room([node(1)], Resources(cpus=0.0), train_workers=2) == 1, "with fewer workers than asked for"


def test_a_cluster_has_a_gpu_where_a_node_that_lives_has_one() -> None:
    assert has_gpu([node(8), node(8, 1)])
    assert not has_gpu([node(8), node(8, 1, alive=False)])
    assert not has_gpu([node(8, 0), node(8)])


@pytest.mark.parametrize(
    ("nodes", "workers"),
    [
        ([node(16, 4)], 12),  # four of the others, one CPU each
        ([node(4, 8)], 2),  # half of the CPUs at most
        ([node(16), node(16, 2)], 30),  # only where there are GPUs
        ([node(1, 1)], 1),
    ],
)
def test_workers_without_a_gpu_leave_room_for_those_with_one(nodes: list[dict[str, Any]], workers: int) -> None:
    assert room(nodes, Resources(), train_workers=2, beside=Resources(gpus=1.0)) == workers
