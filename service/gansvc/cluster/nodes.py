"""Inspect every node of a Ray cluster, and bring a job's files to each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from gansvc.errors import GansvcError
from gansvc.files import patience, plainfiles
from gansvc.spec import machine
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.inspection import NodeFiles, NodeState


def inspect_nodes(storage: str, spec: JobSpec | None) -> list[NodeState]:
    """Look at every node that is alive, this one first; its sign in the storage shows who shares the folder."""
    sign, problem = f".doctor-{uuid.uuid4().hex[:12]}", ""
    try:
        Folder(storage, follow=True).write(sign, sign)
    except GansvcError as error:
        problem = str(error)
    try:
        answers = _every_node(machine.inspect_node, storage, "" if problem else sign, spec)
    finally:
        if not problem:
            Folder(storage, follow=True).delete(sign)
    states = []
    for node, answer in answers:
        resources = node.get("Resources", {})
        found = answer if isinstance(answer, NodeState) else NodeState(problem=str(answer))
        facts = {"node": _name(node), "cpus": resources.get("CPU", 0.0), "gpus": resources.get("GPU", 0.0)}
        states.append(found.model_copy(update=facts))
    return states


def fetch_to_nodes(spec: JobSpec, mirror: str = "") -> list[NodeFiles]:
    """Bring a job's files to every node that is alive: fetched once, by this one, and handed on through Ray.

    Raises:
        SpecError: a file is missing and comes from no address.
        ClusterError: a download failed.
    """
    import ray

    _connect()
    fetched = machine.fetch(spec, mirror)
    contents = {name: ray.put(path.read_bytes()) for name, path in machine.fetched_files(spec).items()}
    here = ray.get_runtime_context().get_node_id()
    found = []
    for node, answer in _every_node(_receive, spec, contents):
        if node["NodeID"] == here:
            found.append(NodeFiles(node=_name(node), files=fetched))
        elif isinstance(answer, dict):
            found.append(NodeFiles(node=_name(node), files=answer))
        else:
            found.append(NodeFiles(node=_name(node), problem=str(answer)))
    return found


def _receive(spec: JobSpec, contents: Mapping[str, Any]) -> dict[str, str]:
    """Write the files that this node lacks."""
    import ray

    told = {}
    for name, path in machine.fetched_files(spec).items():
        told[name] = f"found at {path}"
        if not path.is_file():
            plainfiles.write_file(path, ray.get(contents[name]))
            told[name] = f"handed on to {path}"
    return told


def _every_node(question: Callable[..., Any], *arguments: object) -> list[tuple[dict[str, Any], Any]]:
    """Ask every node that is alive, this one first; return each with its answer or, where there is none, the reason."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    _connect()
    here = ray.get_runtime_context().get_node_id()
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: node["NodeID"] != here)
    places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in alive]
    # No CPU is asked for: a busy cluster answers too.
    asks = [{"num_cpus": 0, "max_retries": 0, "scheduling_strategy": place} for place in places]
    tasks = [ray.remote(question).options(**asked).remote(*arguments) for asked in asks]
    ray.wait(tasks, num_returns=len(tasks), timeout=patience.NODE)
    answers: list[Any] = []
    for task in tasks:
        try:
            answers.append(ray.get(task, timeout=0))
        except ray.exceptions.GetTimeoutError:
            answers.append(f"no answer in {patience.NODE} s")
        except ray.exceptions.RayError as error:
            answers.append((str(error).strip().splitlines() or [type(error).__name__])[-1])
    return list(zip(alive, answers, strict=True))


def _connect() -> None:
    import ray

    if not ray.is_initialized():
        ray.init(address="auto", log_to_driver=False)


def _name(node: Mapping[str, Any]) -> str:
    return f"{node.get('NodeManagerHostname') or node.get('NodeManagerAddress')} ({node['NodeID'][:6]})"
