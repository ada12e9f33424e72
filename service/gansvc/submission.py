"""Sending a job to a cluster: refuse what can't run there, start the local cluster if need be, keep where it went."""

from __future__ import annotations

import base64
import os
import shlex
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from platform import node

from gansvc import filesystems, jobfolder, lifecycle, plan, specfile
from gansvc.cluster import jobs as drivers
from gansvc.cluster import local
from gansvc.errors import ClusterError, GansvcError, SpecError
from gansvc.jobfolder import Job
from gansvc.spec import JobSpec
from gansvc.store import Folder

TRAINING = ("torch", "torchvision", "torch_fidelity", "medmnist", "timm", "skimage", "safetensors")
"""Modules that only the train extra installs and that a local job needs."""
_LONGEST_ENTRYPOINT = 120_000
"""Characters; Linux limits one argument of a process to 128 KiB."""


def submit(spec: JobSpec, cluster: str, storage: str | None, say: Callable[[str], None]) -> Job:
    """Send a job to ``local`` or to the address of a cluster's Jobs API; see ``api.submit``.

    Raises:
        SpecError: the job can't run there; nothing was started.
        ClusterError: the cluster doesn't start, can't be reached or refuses.
    """
    if cluster == "local":
        spec = _absolute(spec)
        require(TRAINING, "a job on this machine")
        if obstacles := plan.make(spec).obstacles:
            raise SpecError("\n".join(obstacles))
    target = None if cluster == "local" else _reach(cluster, storage)
    job = jobfolder.new(spec.name, storage)
    python = "python" if target else shlex.quote(sys.executable)
    command = _entrypoint(python, job, spec)
    where = lifecycle.Submission(address=target.url, submitted=time.time()) if target else _local(say, _parent(job))
    lifecycle.start(job, spec.name)
    Folder(job.folder).write("job.yaml", specfile.dump(spec))
    lifecycle.sent(job, where)
    metadata = {"gansvc": version("gansvc"), "storage": _parent(job), "name": spec.name}
    try:
        drivers.submit(where.target(), job.id, command, metadata)
    except GansvcError as error:
        lifecycle.finish(job, "FAILED", str(error))
        raise
    return job


def require(modules: Iterable[str], what: str) -> None:
    """Make sure that modules of the train extra are installed here.

    Raises:
        ClusterError: one isn't.
    """
    absent = [name for name in modules if not _installed(name)]
    if absent:
        raise ClusterError(f"{what} needs {', '.join(absent)}, not installed here; pip install 'gansvc[train]'")


def _local(say: Callable[[str], None], storage: str) -> lifecycle.Submission:
    head = local.start(say)
    there = head.environment()
    # Drivers and workers have the environment that the cluster was started in, and no secret is sent after them.
    if other := [name for name in filesystems.variables(storage) if there.get(name) != os.environ.get(name)]:
        raise ClusterError(
            f"--storage: the local cluster was started with another {', '.join(other)} than is set here; "
            "end it with `gansvc down` and submit again"
        )
    return lifecycle.Submission(
        address=head.dashboard, submitted=time.time(), host=node(), home=str(local.home()), mark=head.mark
    )


def _reach(cluster: str, storage: str | None) -> drivers.Target:
    target = drivers.remote(cluster)
    if not (storage or os.environ.get("GANSVC_STORAGE")):
        raise SpecError(
            f"--storage: {cluster} can't write to this machine's {jobfolder.storage_uri()}; "
            "give an s3:// URI, or a folder that both have under the same path"
        )
    drivers.check(target)
    return target


def _entrypoint(python: str, job: Job, spec: JobSpec) -> str:
    packed = base64.b64encode(zlib.compress(specfile.dump(spec).encode(), 9)).decode()
    # exec: a signal to the driver must reach Python, not a shell around it.
    words = [*("-m", "gansvc.pipeline", "--job", job.id, "--storage", _parent(job), "--spec", packed)]
    command = f"exec {python} {shlex.join(words)}"
    if len(command) > _LONGEST_ENTRYPOINT:
        raise SpecError("the spec is too large to be sent; shorten its published section")
    return command


def _parent(job: Job) -> str:
    return job.folder.removesuffix(f"/{job.id}")


def _absolute(spec: JobSpec) -> JobSpec:
    """Make the spec's paths absolute: a job's driver runs in another folder."""
    paths = {
        "dataset.root": spec.dataset.root,
        "dataset.path": spec.dataset.path,
        "evaluation.extractor.weights": spec.evaluation.extractor.weights,
    }
    given = {field: str(Path(path).expanduser().absolute()) for field, path in paths.items() if path}
    return spec.with_values(given) if given else spec


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False
