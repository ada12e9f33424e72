"""Where a job was sent, each time that it was, and how that cluster is asked (submission.json)."""

from __future__ import annotations

from pathlib import Path
from platform import node

from gansvc.client import access, local
from gansvc.client import jobsapi as drivers
from gansvc.client.jobfolder import Job
from gansvc.client.kuberay import namespace
from gansvc.client.kuberay.namespace import Namespace
from gansvc.schema.bounded import Some, Text
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import Record


class Submission(Record):
    """Where a job was sent (submission.json); of a job that was resumed, where it was sent last."""

    address: Text
    """URL of the cluster's Jobs API, or k8s://CONTEXT/NAMESPACE."""
    submitted: float
    """Unix time."""
    host: str = ""
    """Machine of the local cluster; empty for a cluster elsewhere."""
    home: str = ""
    """State folder of the local cluster."""
    mark: str = ""
    """Which of the local clusters it was."""
    attempt: int = 1
    """Which of the job's submissions it is; every one after the first resumed the job."""
    earlier: Some[Submission] = ()
    """Those before it, oldest first."""
    mirrored: bool = False
    """Whether the job folder is a copy: the job's own is on the cluster's volume, which this machine can't read."""

    def is_local(self) -> bool:
        """Return whether it was sent to a local cluster."""
        return bool(self.mark)

    def target(self) -> drivers.Target:
        """Return the Jobs API that the job was sent to.

        The local cluster's token goes to that cluster alone: whoever writes a job folder may name any address in it.
        """
        if self.is_local():
            cluster = local.recorded(Path(self.home))
            known = cluster is not None and (cluster.mark, cluster.dashboard) == (self.mark, self.address)
            return drivers.Target(self.address, local.token(Path(self.home)) if known else None)
        return access.remote(self.address)

    def namespace(self) -> Namespace | None:
        """Return the Kubernetes namespace that the job was sent to, or None if it was sent to a Jobs API."""
        return namespace.parse(self.address) if namespace.is_address(self.address) else None

    def driver(self, job: Job) -> str:
        """Return the name that the Jobs API knows the driver by: it takes each name only once."""
        return job.id if self.attempt == 1 else f"{job.id}-{self.attempt}"

    def has_lost_cluster(self) -> bool:
        """Return whether it is certain that the cluster has ended: only its own machine knows."""
        if not self.is_local() or self.host != node():
            return False
        cluster = local.recorded(Path(self.home))
        return cluster is None or cluster.mark != self.mark or not cluster.alive()


def save(job: Job, submission: Submission) -> None:
    """Keep where a job is sent; written before it is, so that no driver runs that can't be found again."""
    Folder(job.folder).write_record(layout.SUBMISSION, submission)


def last(job: Job) -> Submission | None:
    """Return where a job was sent last, or None if that isn't known."""
    return Folder(job.folder).read_record(layout.SUBMISSION, Submission)
