"""What each node of a cluster is like, has at hand and can write to; and bringing a job's files to each of them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import node as hostname
from typing import Any

from pydantic import Field

from gansvc.catalog import downloads
from gansvc.errors import GansvcError
from gansvc.files import cachefolder, plainfiles
from gansvc.schema.bounded import Table, Text
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import Record

PATIENCE = 120
"""Seconds after which a node that doesn't answer is passed over."""


class NodeState(Record):
    """What the doctor found on one node; what is empty is well."""

    node: str = ""
    problem: str = ""
    """Why the node couldn't be looked at."""
    cpus: float = 0
    gpus: float | None = None
    """None where only Ray could tell, and none runs."""
    gansvc: str = ""
    ray: str = ""
    torch: str = ""
    """Version; empty where it isn't installed."""
    storage: str = ""
    """Why the storage can't be used from there."""
    cache: str = ""
    """Why the cache can't be written there."""
    dataset: str = ""
    """Where the data set was looked for, and how to get it."""
    weights: str = ""
    """Where the extractor's weights were looked for, and how to get them."""


class NodeFiles(Record):
    """What prefetch did on one node."""

    node: str
    files: Table[Text] = Field(default_factory=dict)
    """File's name to what became of it."""
    problem: str = ""


def look_here(storage: str, spec: JobSpec | None) -> list[NodeState]:
    """Look at this machine alone, without Ray."""
    state = look(storage, "", spec)
    return [state.model_copy(update={"node": hostname(), "cpus": float(os.cpu_count() or 1)})]


def look_everywhere(storage: str, spec: JobSpec | None) -> list[NodeState]:
    """Look at every node that is alive, this one first; its sign in the storage shows who shares the folder."""
    sign, problem = f".doctor-{uuid.uuid4().hex[:12]}", ""
    try:
        Folder(storage, follow=True).write(sign, sign)
    except GansvcError as error:
        problem = str(error)
    try:
        answers = _every_node(look, storage, "" if problem else sign, spec)
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


def look(storage: str, sign: str, spec: JobSpec | None) -> NodeState:
    """Look at the machine that this runs on.

    Args:
        storage: folder or URI of all jobs.
        sign: file in it that another node wrote, or nothing.
        spec: the job that is to run, if there is one.
    """
    return NodeState(
        gansvc=version("gansvc"),
        ray=version("ray"),
        torch=_version("torch"),
        storage=_storage_problem(storage, sign),
        cache=cachefolder.problem(),
        dataset=(spec.dataset.missing() or "") if spec else "",
        weights=(spec.evaluation.extractor.missing() or "") if spec else "",
    )


def bring_here(spec: JobSpec, mirror: str = "") -> list[NodeFiles]:
    """Bring a job's files to this machine alone, without Ray; ``mirror`` is where they come from if not the internet.

    Raises:
        SpecError: a file is missing and comes from no address.
        ClusterError: a download failed.
    """
    return [NodeFiles(node=hostname(), files=_fetch(spec, mirror))]


def bring_everywhere(spec: JobSpec, mirror: str = "") -> list[NodeFiles]:
    """Bring a job's files to every node that is alive: fetched once, by this one, and handed on through Ray.

    Raises:
        SpecError: a file is missing and comes from no address.
        ClusterError: a download failed.
    """
    import ray

    _connect()
    fetched = _fetch(spec, mirror)
    contents = {name: ray.put(path.read_bytes()) for name, path in _files(spec).items()}
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


def _files(spec: JobSpec) -> dict[str, Path]:
    """Return the files that a job may have to fetch, under their names, with their places on this machine."""
    paths = list(spec.dataset.files())
    if spec.evaluation.extractor.entry.url and not spec.evaluation.extractor.weights:
        paths.append(spec.evaluation.extractor.weights_file())
    return {path.name: path for path in paths}


def _fetch(spec: JobSpec, mirror: str) -> dict[str, str]:
    before = {name for name, path in _files(spec).items() if path.is_file()}
    with downloads.from_mirror(mirror):
        if spec.dataset.missing() or spec.dataset.files():
            spec.dataset.entry.read(spec.dataset)  # its digest is compared, too
        spec.evaluation.extractor.at_hand()
    return {name: f"{'found at' if name in before else 'fetched to'} {path}" for name, path in _files(spec).items()}


def _receive(spec: JobSpec, contents: Mapping[str, Any]) -> dict[str, str]:
    """Write the files that this node lacks."""
    import ray

    told = {}
    for name, path in _files(spec).items():
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
    ray.wait(tasks, num_returns=len(tasks), timeout=PATIENCE)
    answers: list[Any] = []
    for task in tasks:
        try:
            answers.append(ray.get(task, timeout=0))
        except ray.exceptions.GetTimeoutError:
            answers.append(f"no answer in {PATIENCE} s")
        except ray.exceptions.RayError as error:
            answers.append((str(error).strip().splitlines() or [type(error).__name__])[-1])
    return list(zip(alive, answers, strict=True))


def _connect() -> None:
    import ray

    if not ray.is_initialized():
        ray.init(address="auto", log_to_driver=False)


def _storage_problem(storage: str, sign: str) -> str:
    mine = f".doctor-{uuid.uuid4().hex[:12]}"
    try:
        folder = Folder(storage, follow=True)
        folder.write(mine, mine)
        try:
            if folder.read(mine) != mine.encode():
                return f"storage: {folder.path(mine)} was written and reads otherwise; check the folder"
            if sign and folder.read(sign) != sign.encode():
                return (
                    f"storage: {storage} isn't the same folder on all nodes; mount one folder on all of them at that "
                    "path, or give an s3:// URI"
                )
        finally:
            folder.delete(mine)
    except (GansvcError, OSError) as error:
        return str(error)
    return ""


def _name(node: Mapping[str, Any]) -> str:
    return f"{node.get('NodeManagerHostname') or node.get('NodeManagerAddress')} ({node['NodeID'][:6]})"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
