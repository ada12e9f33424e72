"""Sending a job to a cluster: refuse what can't run there, start the local cluster if need be, keep where it went."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from platform import node

from gansvc import compatibility
from gansvc.client import access, config, local, plan
from gansvc.client import jobsapi as drivers
from gansvc.errors import ClusterError, GansvcError, SpecError
from gansvc.files import filesystems, homefolder
from gansvc.spec import drivercommand, jobfile, splits
from gansvc.spec.job import JobSpec
from gansvc.store import jobfolder, jobstatus, layout, submissions
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.submissions import LOCAL

TRAINING = ("torch", "torchvision", "torch_fidelity", "medmnist", "timm", "skimage", "safetensors")
"""Modules that only the train extra installs and that a local job needs."""


def submit(spec: JobSpec, flag: str | None, storage: str | None, say: Callable[[str], None]) -> Job:
    """Send a job to ``local`` or to the address of a cluster's Jobs API; see ``api.submit``.

    Raises:
        SpecError: the job can't run there, or its data can't be scored; nothing was started.
        ClusterError: the cluster doesn't start, can't be reached or refuses.
    """
    cluster, kept = config.cluster(flag), config.storage(storage, flag)
    if cluster.value == LOCAL:
        spec = absolute(spec)
        require(TRAINING, "a job on this machine")
        if obstacles := plan.make(spec).obstacles:
            raise SpecError("\n".join(obstacles))
    else:
        splits.read(spec)
    target = None if cluster.value == LOCAL else _reach(cluster, kept, say)
    draft = jobfolder.at(jobfolder.new_id(spec.name), kept.value)
    python = sys.executable if target is None else "python"
    drivercommand.compose(draft, spec, python)  # refused, if it is, before anything is made
    if target:
        where = submissions.Submission(address=target.url, submitted=time.time())
    else:
        where = start_here(say, drivercommand.parent(draft))
    job = jobfolder.new(spec.name, kept.value)
    command = drivercommand.compose(job, spec, python)
    jobstatus.start(job, spec.name)
    Folder(job.folder).write(layout.JOB, jobfile.dump(spec))
    submissions.save(job, where)
    try:
        drivers.submit(access.target(where), where.driver(job), command, drivercommand.metadata(job, spec))
    except GansvcError as error:
        jobstatus.finish(job, "FAILED", str(error))
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


def start_here(say: Callable[[str], None], storage: str) -> submissions.Submission:
    """Return a submission to this machine's cluster, started first where none runs.

    Raises:
        ClusterError: it doesn't start, or has other credentials for the storage than are set here.
    """
    head = local.start(say)
    if drivers.has_lost_all_nodes(drivers.Target(head.dashboard, local.token())):
        # Its head outlives its only node, as when the kernel ends one of the node's processes for want of memory.
        say("Ray on this machine has lost its node; it is ended")
        local.down()
        head = local.start(say)
    there = head.environment()
    # Drivers and workers have the environment that the cluster was started in, and no secret is sent after them.
    if other := [name for name in filesystems.variables(storage) if there.get(name) != os.environ.get(name)]:
        raise ClusterError(
            f"--storage: the local cluster was started with another {', '.join(other)} than is set here; "
            "end it with `gansvc down` and submit again"
        )
    return submissions.Submission(
        address=head.dashboard, submitted=time.time(), host=node(), home=str(local.home()), mark=head.mark
    )


def _reach(cluster: submissions.Setting, storage: submissions.Setting, say: Callable[[str], None]) -> drivers.Target:
    try:
        target = access.remote(cluster.value)
    except SpecError as error:
        raise SpecError(f"{cluster.source}: {error}") from None
    if storage.source == "default":
        raise SpecError(
            f"--storage: {cluster.value} can't write to this machine's {storage.value}; "
            "give an s3:// URI, or a folder that both have under the same path"
        )
    for warning in compatibility.check_ray(drivers.check(target)):
        say(warning)
    return target


def absolute(spec: JobSpec) -> JobSpec:
    """Return a spec with absolute paths: what runs on this machine's cluster runs in another folder."""
    paths = {
        "dataset.root": spec.dataset.root,
        "dataset.path": spec.dataset.path,
        "evaluation.extractor.weights": spec.evaluation.extractor.weights,
    }
    given = {field: str(homefolder.expand(path).absolute()) for field, path in paths.items() if path}
    return spec.with_values(given) if given else spec


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False
