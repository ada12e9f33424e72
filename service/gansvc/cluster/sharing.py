"""Check that all nodes share the storage: asked before a job's first phase, since its workers may be on any of them."""

from __future__ import annotations

import uuid

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gansvc.errors import ClusterError, GansvcError
from gansvc.store.folder import Folder

_ANSWER_SECONDS = 120.0


def check(folder: Folder) -> None:
    """Make sure that each node reads what this process writes into a job's folder, and the other way round.

    Where there is but one node, nothing is asked. A node that ends meanwhile, or doesn't answer, is left to Ray.

    Raises:
        ClusterError: a node doesn't see the folder, or can't write it; the message names each.
    """
    here = ray.get_runtime_context().get_node_id()
    nodes = {node["NodeID"]: str(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]}
    others = [node for node in nodes if node != here]
    if not others:
        return
    mark = f".shared-{uuid.uuid4().hex[:12]}"
    folder.write(mark, here)
    try:
        troubles = _probe_nodes(folder, mark, others)
    finally:
        for name in (mark, *(f"{mark}-{node}" for node in others)):
            folder.delete(name)
    if troubles:
        told = "; ".join(f"{nodes[node]} (node {node[:8]}) {trouble}" for node, trouble in troubles.items())
        raise ClusterError(
            f"--storage: {folder.uri} isn't shared by all nodes: {told}, which runs at {nodes[here]} "
            f"(node {here[:8]}); mount one folder under that path on every node, or give an s3:// URI"
        )


def _probe_nodes(folder: Folder, mark: str, nodes: list[str]) -> dict[str, str]:
    """Return what is wrong on which node."""
    probe = ray.remote(num_cpus=0, max_retries=0)(probe_storage)  # of what options() returns there are no options
    asked = {
        node: probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            folder, mark, f"{mark}-{node}"
        )
        for node in nodes
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=_ANSWER_SECONDS)
    troubles = {}
    for node, answer in asked.items():
        try:
            trouble = ray.get(answer, timeout=0)
        except ray.exceptions.RayError as error:
            print(f"node {node[:8]} didn't say whether it sees the storage ({type(error).__name__})", flush=True)  # noqa: T201
            continue
        if trouble or folder.read(f"{mark}-{node}") is None:
            troubles[node] = trouble or "writes what isn't seen by the driver"
    return troubles


def probe_storage(folder: Folder, mark: str, answer: str) -> str:
    """Return what is wrong with the folder on this node, or nothing."""
    try:
        if folder.read(mark) is None:
            return "doesn't see what is written by the driver"
        folder.write(answer, "")
    except GansvcError as error:
        return f"says: {error}; it isn't as on the node of the driver"
    return ""
