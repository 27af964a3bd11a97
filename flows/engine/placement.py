"""Placement: how many workers fit on a cluster, node by node, since no worker lies on two of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from warehouse.stage import Resources

_NEARLY = 1e-6  # what a share such as 0.1 lacks in binary


def room(
    nodes: Iterable[Mapping[str, Any]], needs: Resources, train_workers: int, beside: Resources | None = None
) -> int:
    """How many workers with these needs the cluster holds at once.

    Args:
        nodes: as `ray.nodes()` tells of them.
        needs: of one worker. With no CPUs it only launches others, `train_workers` of them.
        train_workers: of each half's training.
        beside: of workers for whose sake up to half of a node's CPUs stay free.
    """
    there = [node["Resources"] for node in nodes if node["Alive"]]
    if not needs.cpus:
        total = sum(node.get("GPU", 0) for node in there) or sum(node.get("CPU", 0) for node in there)
        return max(1, int(total / train_workers))
    free = 0
    for node in there:
        cpus, gpus = node.get("CPU", 0), node.get("GPU", 0)
        others = _on_node(cpus // 2, gpus, beside) * beside.cpus if beside and beside.cpus else 0
        free += _on_node(cpus - others, gpus, needs)
    return free


def has_gpu(nodes: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a node of the cluster has a GPU to give away, whatever this machine has."""
    return any(node["Alive"] and node["Resources"].get("GPU", 0) > 0 for node in nodes)


def _on_node(cpus: float, gpus: float, needs: Resources) -> int:
    """On one node. A share of a GPU is of one GPU: two of 0.4 leave a fifth of it to nobody."""
    by_cpus = int(cpus / needs.cpus + _NEARLY)
    if not needs.gpus:
        return by_cpus
    by_gpus = int(gpus) * int(1 / needs.gpus + _NEARLY) if needs.gpus <= 1 else int(gpus / needs.gpus + _NEARLY)
    return min(by_cpus, by_gpus)
