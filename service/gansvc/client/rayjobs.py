"""Jobs through Ray's Jobs API, on a cluster elsewhere or on this machine's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gansvc.client import diagnosis, jobsapi, raychecks, raystatus
from gansvc.client.rayclusters import RemoteCluster
from gansvc.errors import ClusterError, GansvcError, SpecError
from gansvc.spec import drivercommand, jobfile
from gansvc.spec.job import JobSpec
from gansvc.store import jobfolder, jobstatus
from gansvc.store.delivery import Delivery
from gansvc.store.driverstate import Driver
from gansvc.store.folder import Folder
from gansvc.store.inspection import Check, NodeFiles
from gansvc.store.jobfolder import Job
from gansvc.store.records import Status
from gansvc.store.submissions import Ask, Destination, Setting, Submission


class RayJobs:
    """The backend for clusters of one kind; see ``backend.Backend`` for what each function does."""

    def __init__(self, cluster: RemoteCluster) -> None:
        self._cluster = cluster
        self.computes_here = cluster.computes_here

    def takes(self, cluster: str) -> bool:
        """Return whether it is the backend of that cluster."""
        return self._cluster.takes(cluster)

    def settings(self, cluster: str) -> dict[str, Setting]:
        """Return what reaches or opens the cluster."""
        return self._cluster.settings(cluster)

    def preview(self, spec: JobSpec, to: Destination) -> None:
        """Return None: what is sent is the spec itself."""

    def submit(self, spec: JobSpec, to: Destination, say: Callable[[str], None]) -> Job:
        """Send a job, to a local cluster that is started first where none runs."""
        spec, storage = self._cluster.prepare(spec), to.storage.value
        identity = jobfolder.new_id(spec.name)
        # Refused, if it is, before anything is made.
        self._command(Job(id=identity, folder=f"{storage.rstrip('/')}/{identity}"), spec)
        where = self._cluster.open(to, say)
        job = jobfolder.new(spec.name, storage)
        command = self._command(job, spec)
        jobstatus.begin(job, spec.name, jobfile.dump(spec), where)
        self._send(job, spec, where, command)
        return job

    def resume(self, job: Job, spec: JobSpec, last: Submission, say: Callable[[str], None]) -> None:
        """Send a job once more, once its last driver is gone."""
        raystatus.await_end(self._cluster, job, last)
        where = self._cluster.reopen(last, drivercommand.parent(job), say).follow(last)
        command = self._command(job, spec)
        jobstatus.restart(job, where)
        self._send(job, spec, where, command)

    def ask(self, job: Job, where: Submission) -> Driver | None:
        """Return how a job's driver is."""
        return jobsapi.find_driver(self._cluster.target(where), where.driver(job))

    def status(self, job: Job, where: Submission, ask: Ask, trusted: float) -> Status:
        """Return how a job stands, reconciled with its driver."""
        return raystatus.status(self._cluster, job, where, ask, trusted)

    def follow(self, job: Job, where: Submission) -> Iterator[Status]:
        """Yield a job's status every second."""
        return raystatus.follow(self._cluster, job, where, self.ask)

    def logs(self, job: Job, where: Submission, follow: bool) -> Iterator[str]:
        """Yield what a driver wrote, or what was kept of it when its local cluster ended."""
        driver = where.driver(job)
        if not self._cluster.has_ended(where):
            yield from jobsapi.logs(self._cluster.target(where), driver, follow)
        elif (kept := self._cluster.kept_log(where, driver)) is not None:
            yield kept
        else:
            lost = f"the local cluster that ran {job.id} has ended, and its log with it"
            raise ClusterError(f"{lost}; {diagnosis.resume_hint(job)}")

    def stop(self, job: Job, where: Submission) -> None:
        """Stop a job's driver and wait until it has ended."""
        jobsapi.stop(self._cluster.target(where), where.driver(job))

    def fetch(self, job: Job, where: Submission, to: Delivery, skip: tuple[str, ...]) -> None:
        """Copy a job's files from its folder."""
        to.copy(Folder(job.folder), skip)

    def fetch_report(self, job: Job, where: Submission) -> None:
        """Do nothing: the report is in the job's folder."""

    def adopt(self, to: Destination) -> None:
        """Do nothing: each job of such a cluster has its folder in the storage."""

    def prefetch(self, spec: JobSpec, cluster: Setting, mirror: str) -> Sequence[NodeFiles]:
        """Bring a job's files to every node."""
        return raychecks.prefetch(self._cluster, spec, cluster, mirror)

    def check(self, to: Destination, spec: JobSpec | None) -> list[Check]:
        """Check the cluster and its nodes."""
        return raychecks.check(self._cluster, to, spec)

    def _command(self, job: Job, spec: JobSpec) -> str:
        return drivercommand.compose(job, spec, self._cluster.python)

    def _send(self, job: Job, spec: JobSpec, where: Submission, command: str) -> None:
        target, driver = self._cluster.target(where), where.driver(job)
        try:
            jobsapi.submit(target, driver, command, drivercommand.metadata(job, spec))
        except GansvcError as error:
            # Of two commands at the same moment one comes second: the cluster takes a driver's name only once.
            if where.attempt > 1 and jobsapi.driver_state(target, driver):
                raise SpecError(f"JOB: {job.id} was resumed by another command just now; nothing to resume") from error
            jobstatus.finish(job, "FAILED", str(error))
            raise
