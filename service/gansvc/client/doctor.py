"""Checking a set-up before a job meets it: this installation, the cluster, and each of its nodes."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import node, python_version
from typing import Literal

from gansvc import compatibility
from gansvc.client import access, config, local, submission, visits
from gansvc.client import jobsapi as drivers
from gansvc.client.kuberay import backend as kubejob
from gansvc.client.kuberay import jobs as rayjobs
from gansvc.client.kuberay import namespace
from gansvc.errors import GansvcError, SpecError
from gansvc.files import addresses, homefolder
from gansvc.spec import machine
from gansvc.spec.capacity import WorkerResources, misfit
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.inspection import Check, NodeFiles, NodeState
from gansvc.store.submissions import LOCAL, Setting


def check(flag: str | None, storage: str | None, spec: JobSpec | None) -> list[Check]:
    """Check this installation, the cluster that jobs go to and, for a job, what its nodes have at hand.

    Args:
        flag: what ``--cluster`` said.
        storage: what ``--storage`` said.
        spec: a job to check for, if there is one.

    Raises:
        SpecError: the config file is damaged.
    """
    chosen, kept = config.cluster(flag), config.storage(storage, flag)
    checks = [
        *_installation(chosen.value == LOCAL),
        Check("cluster", "ok", f"{chosen.value} ({chosen.source})"),
    ]
    if namespace.is_address(chosen.value):
        return [*checks, *_kubernetes(flag, storage, chosen, spec)]
    try:
        target = _target(chosen)
    except GansvcError as error:
        return [*checks, Check("address", "fault", chosen.value, str(error))]
    if target is None:
        checks.append(Check("reached", "ok", "no Ray runs here yet; `gansvc submit` starts it"))
        return [*checks, *_of_nodes(_this_machine(kept.value, spec), spec)]
    checks += _token(target, chosen.value)
    try:
        ray = drivers.check(target)
        notes = compatibility.check_ray(ray)
    except GansvcError as error:
        return [*checks, Check("reached", "fault", "no", str(error))]
    checks.append(Check("reached", "note" if notes else "ok", f"Ray {ray}", "; ".join(notes)))
    if chosen.value != LOCAL and kept.source == "default":
        text = f"--storage: a cluster elsewhere can't write to this machine's {kept.value}; give an s3:// URI"
        return [*checks, Check("storage", "fault", f"{kept.value} ({kept.source})", text)]
    try:
        given = ["--storage", Folder(kept.value, follow=True).uri]
        answer = visits.visit(target, *_as_run(chosen.value, given, spec))
    except GansvcError as error:
        return [*checks, Check("workers", "fault", "no answer", str(error))]
    checks += [Check("versions", "note", warning) for warning in answer.warnings]
    return [*checks, *_of_nodes(answer.nodes, spec)]


def prefetch(flag: str | None, spec: JobSpec, mirror: str) -> Sequence[NodeFiles]:
    """Bring a job's data set and weights to every node of the cluster that jobs go to.

    Args:
        flag: what ``--cluster`` said.
        spec: the job.
        mirror: folder or address that the files come from, in place of the internet; or nothing.

    Raises:
        SpecError: a file is missing and comes from no address.
        ClusterError: the cluster can't be reached, or a download failed.
    """
    chosen = config.cluster(flag)
    if what := addresses.carried(mirror):
        raise SpecError(f"--from: {what} stands in the address; name a place that asks for none")
    if namespace.is_address(chosen.value):
        raise SpecError(
            "--cluster: a job on Kubernetes makes its own nodes, so there is none to bring files to; put them on the "
            "volume (dataset.root), or allow downloads by k8s/components/internet"
        )
    target = _target(chosen)
    if chosen.value == LOCAL and mirror and "://" not in mirror:
        mirror = str(homefolder.expand(mirror).absolute())
    if target is None:
        return [NodeFiles(node=node(), files=machine.fetch(spec, mirror))]
    given = ["--bring", *(["--mirror", mirror] if mirror else [])]
    return visits.visit(target, *_as_run(chosen.value, given, spec)).files


def _kubernetes(flag: str | None, storage: str | None, chosen: Setting, spec: JobSpec | None) -> list[Check]:
    """Check that the namespace answers and, for a job, that the operator would take it: its nodes aren't there yet."""
    try:
        sent = rayjobs.every(namespace.parse(chosen.value))
        checks = [Check("reached", "ok", f"the namespace answers; RayJobs of gansvc there: {len(sent)}")]
    except GansvcError as error:
        checks = [Check("reached", "fault", "no", str(error))]
    if spec:
        try:
            kubejob.preview(spec, flag, storage)
            checks.append(Check("RayJob", "ok", "valid; --dry-run of gansvc submit prints it"))
        except GansvcError as error:
            checks.append(Check("RayJob", "fault", "invalid", str(error)))
    return checks


def _installation(trains: bool) -> list[Check]:
    python, ours = python_version(), version("gansvc")
    checks = [Check("python", "ok", python)]
    try:
        checks.append(Check("gansvc", "ok", f"{ours}, with torch {version('torch')}"))
    except PackageNotFoundError:
        mend = "a job on this machine needs it: pip install 'gansvc[train]'"
        checks.append(Check("gansvc", "fault" if trains else "ok", f"{ours}, the client alone", mend if trains else ""))
    return [*checks, Check("ray", "ok", version("ray"))]


def _target(chosen: Setting) -> drivers.Target | None:
    """Return the Jobs API of a cluster; None for this machine where no Ray runs."""
    if chosen.value != LOCAL:
        return access.remote(chosen.value)
    running = local.running()
    return drivers.Target(running.dashboard, local.token()) if running else None


def _token(target: drivers.Target, address: str) -> list[Check]:
    if address == LOCAL:
        return [Check("token", "ok", "that of the local cluster")]
    if not target.token:
        return [Check("token", "note", "none", "whoever reaches the cluster can run code on it; give Ray a token")]
    named = config.token_file(address)
    if not target.is_private():
        text = "use https, or a tunnel to it (ssh -L 8265:127.0.0.1:8265 HOST)"
        return [Check("token", "note", "it travels unencrypted", text)]
    if named.value and stat.S_IMODE(Path(named.value).stat().st_mode) & 0o077:
        return [Check("token", "note", f"others can read {named.value}", f"chmod 600 {named.value}")]
    return [Check("token", "ok", f"there ({named.source if named.value else 'environment'}), not shown")]


def _as_run(cluster: str, options: Sequence[str], spec: JobSpec | None) -> tuple[str, Sequence[str], JobSpec | None]:
    """Return the interpreter, the options and the spec of a visit."""
    if cluster == LOCAL:
        return sys.executable, options, spec and submission.absolute(spec)
    return "python", options, spec


def _this_machine(storage: str, spec: JobSpec | None) -> list[NodeState]:
    state = machine.inspect_node(storage, "", spec)
    return [state.model_copy(update={"node": node(), "cpus": float(os.cpu_count() or 1)})]


def _of_nodes(states: Sequence[NodeState], spec: JobSpec | None) -> list[Check]:
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
        data, weights = spec.dataset.entry.downloads, spec.evaluation.extractor
        comes = weights.weights is None and weights.entry.url is not None
        checks += _grouped(
            "data set", here[:1], lambda s: s.dataset and s.dataset + fetched * data, "at hand", _unless(data)
        )
        checks += _grouped(
            "weights", here, lambda s: s.weights and s.weights + fetched * comes, "at hand", _unless(comes)
        )
        checks.append(_room(here, spec))
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


def _room(states: Sequence[NodeState], spec: JobSpec) -> Check:
    there = [WorkerResources(state.cpus, state.gpus or 0) for state in states]
    # Where only this machine was looked at, how many GPUs it has isn't known.
    known = all(state.gpus is not None for state in states)
    asked = spec.resources if known else spec.resources.model_copy(update={"gpus_per_worker": 0, "gpus_per_trial": 0})
    if found := misfit(asked, {"training": spec.training, "search": spec.search}, there):
        field, text = found
        return Check("CPUs", "fault", text, f"lower {field} or resources, or add a node")
    return Check("CPUs", "ok", f"{sum(node.cpus for node in there):g}")
