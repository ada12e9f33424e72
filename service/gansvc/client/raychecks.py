"""The doctor's lines on a Ray cluster, asked through its Jobs API; and bringing a job's files to its nodes."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from platform import node

from gansvc import compatibility
from gansvc.client import config, jobsapi
from gansvc.client.jobsapi import Target
from gansvc.client.nodechecks import check_nodes
from gansvc.client.rayclusters import RemoteCluster
from gansvc.errors import GansvcError
from gansvc.spec import machine
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.inspection import Check, NodeFiles
from gansvc.store.submissions import Destination, Setting


def check(cluster: RemoteCluster, to: Destination, spec: JobSpec | None) -> list[Check]:
    """Check that a cluster answers, its token, the storage, and for a job what its nodes have at hand."""
    try:
        target = cluster.find(to.cluster)
    except GansvcError as error:
        return [Check("address", "fault", to.cluster.value, str(error))]
    if target is None:
        state = machine.inspect_node(to.storage.value, "", spec)
        here = state.model_copy(update={"node": node(), "cpus": float(os.cpu_count() or 1)})
        return [
            Check("reached", "ok", "no Ray runs here yet; `gansvc submit` starts it"),
            *check_nodes([here], spec),
        ]
    checks = [_check_token(target, to.cluster.value, cluster.computes_here)]
    try:
        ray = jobsapi.check(target)
        notes = compatibility.check_ray(ray)
    except GansvcError as error:
        return [*checks, Check("reached", "fault", "no", str(error))]
    checks.append(Check("reached", "note" if notes else "ok", f"Ray {ray}", "; ".join(notes)))
    if fault := cluster.storage_fault(to):
        return [*checks, Check("storage", "fault", f"{to.storage.value} ({to.storage.source})", fault)]
    try:
        answer = cluster.visit(target, ["--storage", Folder(to.storage.value, follow=True).uri], spec)
    except GansvcError as error:
        return [*checks, Check("workers", "fault", "no answer", str(error))]
    return [*checks, *(Check("versions", "note", text) for text in answer.warnings), *check_nodes(answer.nodes, spec)]


def prefetch(cluster: RemoteCluster, spec: JobSpec, address: Setting, mirror: str) -> Sequence[NodeFiles]:
    """Bring a job's data set and weights to every node of a cluster, or to this machine where none runs yet.

    Raises:
        SpecError: a file is missing and comes from no address.
        ClusterError: the cluster can't be reached, or a download failed.
    """
    target, mirror = cluster.find(address), cluster.mirror(mirror)
    if target is None:
        return [NodeFiles(node=node(), files=machine.fetch(spec, mirror))]
    return cluster.visit(target, ["--bring", *(["--mirror", mirror] if mirror else [])], spec).files


def _check_token(target: Target, address: str, is_local: bool) -> Check:
    if is_local:
        return Check("token", "ok", "that of the local cluster")
    if not target.token:
        return Check("token", "note", "none", "whoever reaches the cluster can run code on it; give Ray a token")
    named = config.token_file(address)
    if not target.is_private():
        text = "use https, or a tunnel to it (ssh -L 8265:127.0.0.1:8265 HOST)"
        return Check("token", "note", "it travels unencrypted", text)
    if named.value and stat.S_IMODE(Path(named.value).stat().st_mode) & 0o077:
        return Check("token", "note", f"others can read {named.value}", f"chmod 600 {named.value}")
    return Check("token", "ok", f"there ({named.source if named.value else 'environment'}), not shown")
