"""Jobs as RayJobs, which KubeRay runs on Kubernetes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from gansvc.client.kuberay import connection, jobmanifest, namespace, pods, reader, status
from gansvc.client.kuberay import jobs as rayjobs
from gansvc.client.kuberay.client import RefusedError
from gansvc.client.kuberay.jobmanifest import placement_of
from gansvc.client.kuberay.manifest import JOB_LABEL
from gansvc.client.kuberay.namespace import Namespace
from gansvc.client.kuberay.pods import Manifest
from gansvc.errors import GansvcError, SpecError
from gansvc.spec import drivercommand, jobfile, splits
from gansvc.spec.job import JobSpec
from gansvc.store import delivery, jobfolder, jobstatus, layout
from gansvc.store.driverstate import Driver
from gansvc.store.folder import Folder
from gansvc.store.inspection import Check
from gansvc.store.jobfolder import Job
from gansvc.store.records import Status
from gansvc.store.submissions import Ask, Destination, Setting, Submission


class KubeRay:
    """The backend for Kubernetes; see ``client.backend.Backend`` for what each function does.

    The folder of a job on a volume is on the cluster: here it gets one that mirrors it.
    """

    computes_here = False

    def takes(self, cluster: str) -> bool:
        """Return whether that names a Kubernetes cluster."""
        return namespace.is_address(cluster)

    def settings(self, cluster: str) -> dict[str, Setting]:
        """Return nothing: the kubeconfig opens the cluster."""
        return {}

    def preview(self, spec: JobSpec, to: Destination) -> Manifest:
        """Return the RayJob that a submission would send.

        Raises:
            SpecError: the operator would refuse it, or the job has no place to be kept.
        """
        where, draft = _space(to.cluster), jobfolder.new_id(spec.name)
        written = jobmanifest.rayjob(draft, draft, spec, jobmanifest.storage_there(spec, to.storage.value))
        if where.name:
            written["metadata"]["namespace"] = where.name
        return written

    def submit(self, spec: JobSpec, to: Destination, say: Callable[[str], None]) -> Job:
        """Send a RayJob.

        Raises:
            SpecError: the operator would refuse it, its data can't be scored, or it has no place to be kept; nothing
                was sent.
        """
        splits.read(spec)
        self.preview(spec, to)  # refused, if it is, before its folder is made
        space = connection.connect(_space(to.cluster)).space
        say(f"cluster: {space.address}")
        job = jobfolder.new(spec.name, to.storage.value)
        sent = jobmanifest.rayjob(job.id, job.id, spec, jobmanifest.storage_there(spec, to.storage.value))
        is_mirror = placement_of(spec).volume is not None
        where = Submission(address=space.address, submitted=time.time(), mirrored=is_mirror)
        jobstatus.begin(job, spec.name, jobfile.dump(spec), where)
        _send(job, where, sent)
        return job

    def resume(self, job: Job, spec: JobSpec, last: Submission, say: Callable[[str], None]) -> None:
        """Send a new RayJob once the last one is gone: two drivers would write to one folder."""
        # A RayJob that has ended has no cluster any more.
        rayjobs.stop(namespace.parse(last.address), last.driver(job))
        where = last.follow(last)
        # On a volume the folder has the job's id, whatever the mirror here is called.
        folder = f"{pods.STORAGE}/{job.id}" if last.mirrored else job.folder
        sent = jobmanifest.rayjob(where.driver(job), job.id, spec, drivercommand.parent(job), folder)
        jobstatus.restart(job, where)
        _send(job, where, sent)

    def adopt(self, to: Destination) -> None:
        """Give each job on a volume that was sent from elsewhere a folder here."""
        known = {job.id for job in jobfolder.list_jobs(to.storage.value)}
        space = connection.connect(_space(to.cluster)).space
        adopted: dict[str, tuple[JobSpec, Submission]] = {}
        for found in rayjobs.list_rayjobs(space):
            identity = found["metadata"].get("labels", {}).get(JOB_LABEL, "")
            given = drivercommand.parse_leniently(found["spec"].get("entrypoint", ""))
            attempt = _attempt(found["metadata"]["name"], identity)
            if identity in known or not jobfolder.is_id(identity) or given.storage != pods.STORAGE or not attempt:
                continue
            try:
                spec = jobfile.unpack(given.spec)
            except SpecError:
                continue  # another version's
            if identity not in adopted or attempt > adopted[identity][1].attempt:
                where = Submission(address=space.address, submitted=time.time(), mirrored=True, attempt=attempt)
                adopted[identity] = (spec, where)
        for identity, (spec, where) in adopted.items():
            job = jobfolder.job_at(identity, to.storage.value)
            Folder(job.folder).make()
            jobstatus.begin(job, spec.name, jobfile.dump(spec), where)

    def ask(self, job: Job, where: Submission) -> Driver | None:
        """Return how a job's RayJob is."""
        return rayjobs.find_driver(namespace.parse(where.address), where.driver(job))

    def status(self, job: Job, where: Submission, ask: Ask, trusted: float) -> Status:
        """Return how a job stands, by its RayJob and by what its driver wrote."""
        return status.status(job, where, ask)

    def follow(self, job: Job, where: Submission) -> Iterator[Status]:
        """Yield a job's status whenever its RayJob changes, and every few seconds."""
        return status.follow(job, where, self.ask)

    def logs(self, job: Job, where: Submission, follow: bool) -> Iterator[str]:
        """Yield what a driver wrote: as it was kept when it was stopped, or from its pod."""
        return status.logs(job, where, follow)

    def stop(self, job: Job, where: Submission) -> None:
        """Delete a job's RayJob, and keep its log."""
        status.stop(job, where)

    def fetch(self, job: Job, where: Submission, to: delivery.Delivery, skip: tuple[str, ...]) -> None:
        """Copy a job's files from the volume, or from its folder where that can be read here."""
        if not where.mirrored:
            to.copy(Folder(job.folder), skip)
            return
        _fetch_from_volume(job, where, to, skip)
        # How it stands isn't the volume's to say.
        known = jobstatus.read(job).model_dump_json(indent=2).encode()
        to.put(layout.STATUS, len(known), lambda: (known,))

    def fetch_report(self, job: Job, where: Submission) -> None:
        """Copy what a job on a volume has left for people into its folder here, unless its report is there."""
        if not where.mirrored or Folder(job.folder).exists(layout.REPORT_JSON):
            return
        if self.status(job, where, self.ask, 0).phase == "SUCCEEDED":
            with delivery.deliver(Path(job.folder), job.id) as to:
                _fetch_from_volume(job, where, to, delivery.LARGE_FOLDERS)

    def prefetch(self, spec: JobSpec, cluster: Setting, mirror: str) -> NoReturn:
        """Raise SpecError: there are no nodes between two jobs."""
        raise SpecError(
            "--cluster: a job on Kubernetes makes its own nodes, so there is none to bring files to; put them on the "
            "volume (dataset.root), or allow downloads by k8s/components/internet"
        )

    def check(self, to: Destination, spec: JobSpec | None) -> list[Check]:
        """Check that the namespace answers and, for a job, that the operator would take it."""
        try:
            sent = rayjobs.list_rayjobs(_space(to.cluster))
            checks = [Check("reached", "ok", f"the namespace answers; RayJobs of gansvc there: {len(sent)}")]
        except GansvcError as error:
            checks = [Check("reached", "fault", "no", str(error))]
        if spec:
            try:
                self.preview(spec, to)
                checks.append(Check("RayJob", "ok", "valid; --dry-run of gansvc submit prints it"))
            except GansvcError as error:
                checks.append(Check("RayJob", "fault", "invalid", str(error)))
        return checks


def _space(cluster: Setting) -> Namespace:
    """Return the namespace that jobs go to."""
    try:
        return namespace.parse(cluster.value)
    except SpecError as error:
        raise SpecError(str(error).replace("--cluster", cluster.source, 1)) from None


def _send(job: Job, where: Submission, sent: Manifest) -> None:
    try:
        rayjobs.submit(namespace.parse(where.address), sent)
    except GansvcError as error:
        if isinstance(error, RefusedError) and error.status == 409 and where.attempt > 1:
            raise SpecError(f"JOB: {job.id} was resumed by another command just now; nothing to resume") from error
        jobstatus.finish(job, "FAILED", str(error))
        raise


def _fetch_from_volume(job: Job, where: Submission, to: delivery.Delivery, skip: tuple[str, ...]) -> None:
    placement = placement_of(jobfile.read_submitted(job))
    # What is known here of where the job was sent, and how it stands, is kept here.
    left = (*skip, layout.STATUS, layout.SUBMISSION)
    reader.fetch(namespace.parse(where.address), placement, job.id, to.put, left)


def _attempt(name: str, job: str) -> int:
    """Return which attempt a RayJob's name tells of, or 0."""
    number = name.removeprefix(f"{job}-")
    return 1 if name == job else (int(number) if name.startswith(f"{job}-") and number.isdecimal() else 0)
