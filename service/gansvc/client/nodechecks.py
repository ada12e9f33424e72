"""The doctor's lines on a cluster's nodes: each fault once, with the nodes that have it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from gansvc.spec.capacity import WorkerResources, misfit
from gansvc.spec.job import JobSpec
from gansvc.store.inspection import Check, NodeState


def check_nodes(states: Sequence[NodeState], spec: JobSpec | None) -> list[Check]:
    """Return the checks that hold for all nodes, each once, with the nodes that fail it."""
    here = [state for state in states if not state.problem]
    bare = "it can't train: pip install 'gansvc[train]' there"
    checks = [
        Check("workers", "fault", state.node, f"{state.problem}; gansvc must be installed on every node")
        for state in states
        if state.problem
    ]
    checks.append(Check("workers", "ok", f"{len(here)} of {len(states)} answer: {', '.join(s.node for s in here)}"))
    checks += _grouped("gansvc there", here, lambda s: "" if s.torch else bare, "with torch on every node", "fault")
    checks += _grouped("storage", here, lambda s: s.storage, "written and read from every node", "fault")
    checks += _grouped("cache", here, lambda s: s.cache, "written on every node", "note")
    if spec:
        fetched = "; or fetch it once: gansvc prefetch FILE"
        data, comes = spec.dataset.entry.downloads, spec.evaluation.extractor.downloads
        checks += _grouped(
            "data set", here[:1], lambda s: s.dataset and s.dataset + fetched * data, "at hand", _unless(data)
        )
        checks += _grouped(
            "weights", here, lambda s: s.weights and s.weights + fetched * comes, "at hand", _unless(comes)
        )
        checks.append(check_capacity(here, spec))
    gpus = None if any(state.gpus is None for state in here) else sum(state.gpus or 0 for state in here)
    found = "known when Ray runs" if gpus is None else f"{gpus:g}" if gpus else "none: training runs on CPUs"
    return [*checks, Check("GPUs", "ok", found)]


def _unless(mends_itself: bool) -> Literal["note", "fault"]:
    return "note" if mends_itself else "fault"


def _grouped(
    name: str,
    states: Iterable[NodeState],
    problem_of: Callable[[NodeState], str],
    well: str,
    state: Literal["note", "fault"],
) -> list[Check]:
    found: dict[str, list[str]] = {}
    for one in states:
        if problem := problem_of(one):
            found.setdefault(problem, []).append(one.node)
    return [Check(name, state, f"not on {', '.join(there)}", problem) for problem, there in found.items()] or [
        Check(name, "ok", well)
    ]


def check_capacity(states: Sequence[NodeState], spec: JobSpec) -> Check:
    there = [WorkerResources(state.cpus, state.gpus or 0) for state in states]
    # Where only this machine was looked at, how many GPUs it has isn't known.
    known = all(state.gpus is not None for state in states)
    asked = spec.resources if known else spec.resources.model_copy(update={"gpus_per_worker": 0, "gpus_per_trial": 0})
    if found := misfit(asked, {"training": spec.training, "search": spec.search}, there):
        field, text = found
        return Check("CPUs", "fault", text, f"lower {field} or resources, or add a node")
    return Check("CPUs", "ok", f"{sum(node.cpus for node in there):g}")
