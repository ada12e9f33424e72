"""Check a set-up before a job meets it: this installation, and the cluster by its backend."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

from gansvc.client import backend, config
from gansvc.errors import SpecError
from gansvc.files import addresses
from gansvc.spec.job import JobSpec
from gansvc.store.inspection import Check, NodeFiles


def check(spec: JobSpec | None, cluster: str | None, storage: str | None) -> list[Check]:
    """Check this installation, the cluster that jobs go to and, for a job, what its nodes have at hand.

    Args:
        spec: a job to check for, if there is one.
        cluster: what ``--cluster`` said.
        storage: what ``--storage`` said.

    Raises:
        SpecError: the config file is damaged.
    """
    to = config.destination(cluster, storage)
    chosen = backend.choose(to.cluster.value)
    there = Check("cluster", "ok", f"{to.cluster.value} ({to.cluster.source})")
    return [*_installation(chosen.computes_here), there, *chosen.check(to, spec)]


def prefetch(spec: JobSpec, cluster: str | None, mirror: str) -> Sequence[NodeFiles]:
    """Bring a job's data set and weights to every node of the cluster that jobs go to.

    Args:
        spec: the job.
        cluster: what ``--cluster`` said.
        mirror: folder or address that the files come from, in place of the internet; or nothing.

    Raises:
        SpecError: a file is missing and comes from no address.
        ClusterError: the cluster can't be reached, or a download failed.
    """
    address = config.cluster(cluster)
    if what := addresses.forbidden_part(mirror):
        raise SpecError(f"--from: {what} stands in the address; name a place that asks for none")
    return backend.choose(address.value).prefetch(spec, address, mirror)


def _installation(trains: bool) -> list[Check]:
    python, ours = python_version(), version("gansvc")
    checks = [Check("python", "ok", python)]
    try:
        checks.append(Check("gansvc", "ok", f"{ours}, with torch {version('torch')}"))
    except PackageNotFoundError:
        mend = "a job on this machine needs it: pip install 'gansvc[train]'"
        checks.append(Check("gansvc", "fault" if trains else "ok", f"{ours}, the client alone", mend if trains else ""))
    return [*checks, Check("ray", "ok", version("ray"))]
