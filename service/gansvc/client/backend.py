"""The kinds of clusters that jobs run on: what each must do, and the one choice between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from gansvc.client.kuberay.backend import KubeRay
from gansvc.client.rayclusters import LocalCluster, RemoteCluster
from gansvc.client.rayjobs import RayJobs
from gansvc.spec.job import JobSpec
from gansvc.store.delivery import Delivery
from gansvc.store.driverstate import Driver
from gansvc.store.inspection import Check, NodeFiles
from gansvc.store.jobfolder import Job
from gansvc.store.records import Status
from gansvc.store.submissions import Ask, Destination, Setting, Submission

Say = Callable[[str], None]


class Backend(Protocol):
    """All that differs between clusters. Every function raises ClusterError where the cluster can't be asked."""

    computes_here: bool
    """Whether jobs compute on this machine, which then needs the train extra."""

    def takes(self, cluster: str) -> bool:
        """Return whether it is the backend of a cluster, named as ``--cluster`` takes it."""
        ...

    # By the address that jobs are sent to.

    def settings(self, cluster: str) -> dict[str, Setting]:
        """Return what reaches or opens a cluster beside its address, with where each value comes from."""
        ...

    def preview(self, spec: JobSpec, to: Destination) -> dict[str, Any] | None:
        """Return the manifest that a job would be sent as, asking nobody; None where there is none.

        Raises:
            SpecError: the job can't run there, or has no place to be kept.
        """
        ...

    def submit(self, spec: JobSpec, to: Destination, say: Say) -> Job:
        """Send a job and return it; its submission is saved before anything runs.

        Raises:
            SpecError: the job can't run there; nothing was started.
        """
        ...

    def adopt(self, to: Destination) -> None:
        """Give each job that was sent from elsewhere, and whose folder can't be read here, a folder in the storage."""
        ...

    def prefetch(self, spec: JobSpec, cluster: Setting, mirror: str) -> Sequence[NodeFiles]:
        """Bring a job's data set and weights to every node.

        Raises:
            SpecError: the cluster has no nodes of its own, or a file is missing and comes from no address.
        """
        ...

    def check(self, to: Destination, spec: JobSpec | None) -> list[Check]:
        """Check the cluster and, for a job, what its nodes have at hand; a fault is a line, not an error."""
        ...

    # By the submission of a job that was sent.

    def ask(self, job: Job, where: Submission) -> Driver | None:
        """Return how a job's driver is, or None if the cluster doesn't know it."""
        ...

    def status(self, job: Job, where: Submission, ask: Ask, trusted: float) -> Status:
        """Return how a job stands, and keep that in its folder where its driver can't.

        Args:
            job: the job.
            where: its last submission.
            ask: asks the cluster, perhaps for many jobs at once.
            trusted: seconds within which a driver's sign of life needs no question to the cluster.
        """
        ...

    def follow(self, job: Job, where: Submission) -> Iterator[Status]:
        """Yield a job's status every second, or when it changes; the last one is final."""
        ...

    def logs(self, job: Job, where: Submission, follow: bool) -> Iterator[str]:
        """Yield what the driver of a submission wrote, in pieces; when following, until it has ended."""
        ...

    def stop(self, job: Job, where: Submission) -> None:
        """Stop a job's driver and wait until it has ended."""
        ...

    def resume(self, job: Job, spec: JobSpec, last: Submission, say: Say) -> None:
        """Send a job that has ended once more, to go on from what its folder holds.

        Raises:
            SpecError: its last driver is still at work, or another command has resumed it.
        """
        ...

    def fetch(self, job: Job, where: Submission, to: Delivery, skip: tuple[str, ...]) -> None:
        """Copy a job's files, but for the files and folders at their top that are to be left out."""
        ...

    def fetch_report(self, job: Job, where: Submission) -> None:
        """Copy a job's report into its folder here, if it isn't there."""
        ...


BACKENDS: tuple[Backend, ...] = (KubeRay(), RayJobs(LocalCluster()), RayJobs(RemoteCluster()))
"""The first that takes a cluster is its backend; the last one takes every address."""


def choose(cluster: str) -> Backend:
    """Return the backend of a cluster: of an address that jobs are sent to, or of ``Submission.cluster``."""
    return next(backend for backend in BACKENDS if backend.takes(cluster))
