"""What the cluster's nodes have, and how many workers that is room for."""

from __future__ import annotations

import ray

from gansvc.spec.capacity import WorkerResources, count_fitting


def list_nodes() -> list[WorkerResources]:
    """Return what the nodes that are alive have, whoever uses it now."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [WorkerResources(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in found]


def worker_capacity(worker: WorkerResources) -> int:
    """Return how many workers fit on the nodes that are alive, whoever uses them now; at least 1."""
    return max(1, count_fitting(worker, list_nodes()))
