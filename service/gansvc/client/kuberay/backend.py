"""A job as Kubernetes gets it: where its folder is kept, the RayJob that is sent, and its files fetched back."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from gansvc.client import config, lifecycle
from gansvc.client.kuberay import connection, manifest, namespace, pods, reader
from gansvc.client.kuberay import jobs as rayjobs
from gansvc.client.kuberay.client import RefusedError
from gansvc.client.kuberay.manifest import JOB_LABEL
from gansvc.client.kuberay.namespace import Namespace
from gansvc.client.kuberay.pods import Manifest
from gansvc.errors import GansvcError, RunError, SpecError
from gansvc.spec import drivercommand, jobfile, splits
from gansvc.spec.identity import of_job, refuse_another
from gansvc.spec.job import JobSpec
from gansvc.spec.placement import Placement
from gansvc.store import delivery, jobfolder, jobstatus, layout, submissions
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES
from gansvc.store.submissions import Submission


def takes(flag: str | None) -> bool:
    """Return whether jobs go to Kubernetes, by what ``--cluster`` said or by what stands in for it."""
    return namespace.is_address(config.cluster(flag).value)


def has(job: Job) -> bool:
    """Return whether a job was sent to Kubernetes."""
    where = submissions.last(job)
    return where is not None and namespace.of(where) is not None


def preview(spec: JobSpec, cluster: str | None = None, storage: str | None = None) -> Manifest:
    """Return the RayJob that a submission would send, without asking anybody.

    Raises:
        SpecError: the operator would refuse it, or the job has no place to be kept.
    """
    where, draft = _space(cluster), jobfolder.new_id(spec.name)
    written = rayjob(draft, draft, spec, storage_there(spec, config.storage(storage, cluster).value))
    if where.name:
        written["metadata"]["namespace"] = where.name
    return written


def submit(spec: JobSpec, cluster: str | None, storage: str | None, say: Callable[[str], None]) -> Job:
    """Send a job to Kubernetes and return it; one on a volume gets a folder here that mirrors it; see ``api.submit``.

    Raises:
        SpecError: the operator would refuse it, its data can't be scored, or it has no place to be kept; nothing was
            sent.
        ClusterError: the API server can't be reached or refuses.
    """
    splits.read(spec)
    where, uri = _space(cluster), config.storage(storage, cluster).value
    kept = storage_there(spec, uri)
    preview(spec, cluster, storage)  # refused, if it is, before its folder is made
    space = connection.connect(where).space
    say(f"cluster: {space.address}")
    job = jobfolder.new(spec.name, uri)
    sent = rayjob(job.id, job.id, spec, kept)
    submitted = Submission(address=space.address, submitted=time.time(), mirrored=placement_of(spec).volume is not None)
    jobstatus.start(job, spec.name)
    Folder(job.folder).write(layout.JOB, jobfile.dump(spec))
    submissions.save(job, submitted)
    _send(job, submitted, sent)
    return job


def resume(job: Job) -> bool:
    """Send a new RayJob for a job that failed or was stopped: it goes on from what its folder holds.

    Returns:
        Whether it was sent: one whose runs all have a score, and that lacks nothing else, isn't.

    Raises:
        SpecError: the job is at work, or its job.yaml isn't what it was begun with.
        RunError: its folder doesn't say what it was.
        ClusterError: the API server can't be reached or refuses.
    """
    known = lifecycle.status(job)
    if known.complete:
        return False
    if known.phase not in FINAL_PHASES:
        raise SpecError(f"JOB: {job.id} is running ({known.phase}); nothing to resume")
    last, spec = _sent(job)
    refuse_another(Folder(job.folder), of_job(spec))
    # Two drivers would write to one folder; a RayJob that has ended has no cluster any more.
    rayjobs.stop(namespace.parse(last.address), last.driver(job))
    where = last.follow(last)
    # On a volume the folder has the job's id, whatever the mirror here is called.
    folder = f"{pods.STORAGE}/{job.id}" if last.mirrored else job.folder
    sent = rayjob(where.driver(job), job.id, spec, drivercommand.parent(job), folder)
    jobstatus.restart(job, where)
    _send(job, where, sent)
    return True


def adopt(cluster: str, storage: str | None = None) -> list[Job]:
    """Give each job on a volume that was sent from elsewhere a folder here, and return those jobs.

    Raises:
        ClusterError: the API server can't be reached or refuses.
    """
    if not takes(cluster):
        return []
    kept = config.storage(storage, cluster).value
    known = {job.id for job in jobfolder.every(kept)}
    space = connection.connect(_space(cluster)).space
    adopted: dict[str, tuple[Job, JobSpec, Submission]] = {}
    for found in rayjobs.every(space):
        labels = found["metadata"].get("labels", {})
        given = drivercommand.parse_leniently(found["spec"].get("entrypoint", ""))
        identity, attempt = labels.get(JOB_LABEL, ""), _attempt(found["metadata"]["name"], labels.get(JOB_LABEL, ""))
        if identity in known or not jobfolder.is_id(identity) or given.storage != pods.STORAGE or not attempt:
            continue
        try:
            spec = jobfile.unpack(given.spec)
        except SpecError:
            continue  # another version's
        if attempt > (adopted[identity][2].attempt if identity in adopted else 0):
            where = Submission(address=space.address, submitted=time.time(), mirrored=True, attempt=attempt)
            adopted[identity] = (jobfolder.at(identity, kept), spec, where)
    for job, spec, where in adopted.values():
        Folder(job.folder).make()
        jobstatus.start(job, spec.name)
        Folder(job.folder).write(layout.JOB, jobfile.dump(spec))
        submissions.save(job, where)
    return [job for job, _, _ in adopted.values()]


def fetch(job: Job, to: delivery.Delivery, skip: tuple[str, ...]) -> bool:
    """Copy a job's files from the volume, but for those that are to be left out; return whether it is kept on one.

    Raises:
        ClusterError: the volume can't be read.
    """
    where = submissions.last(job)
    if where is None or not where.mirrored:
        return False
    _, spec = _sent(job)
    space = namespace.parse(where.address)
    # What is known here of where the job was sent, and how it stands, isn't the volume's to say.
    reader.fetch(space, placement_of(spec), job.id, to.put, (*skip, layout.STATUS, layout.SUBMISSION))
    return True


def fetch_report(job: Job, report: str) -> None:
    """Copy what a job on a volume has left for people into its folder here, unless its report is there.

    Raises:
        ClusterError: the volume can't be read.
    """
    where = submissions.last(job)
    if where is None or not where.mirrored or Folder(job.folder).exists(report):
        return
    if lifecycle.status(job).phase == "SUCCEEDED":
        with delivery.open_delivery(Path(job.folder), job.id) as to:
            fetch(job, to, delivery.LARGE_FOLDERS)


def rayjob(name: str, job: str, spec: JobSpec, storage: str, folder: str = "") -> Manifest:
    """Return the RayJob of one attempt at a job.

    Args:
        name: the RayJob's own name.
        job: the job's id.
        spec: the job's spec.
        storage: folder or URI of all jobs, as the pods see it.
        folder: the job's own, where it isn't the one of its id in the storage.

    Raises:
        SpecError: the operator would refuse it.
    """
    there = Job(id=job, folder=folder or f"{storage.rstrip('/')}/{job}")
    on_volume = placement_of(spec).volume is not None
    command = drivercommand.compose(there, spec, makes_folder=on_volume)
    metadata = drivercommand.metadata(there, spec)
    versions = {"gansvc": version("gansvc"), "ray": version("ray")}
    return manifest.rayjob(name, job, command, placement_of(spec), versions, metadata)


def placement_of(spec: JobSpec) -> Placement:
    """Return a spec's ``cluster`` section.

    Raises:
        SpecError: it has none.
    """
    if spec.cluster is None:
        raise SpecError(
            "cluster is missing; a job on Kubernetes needs the section, at least cluster.image and cluster.volume"
        )
    return spec.cluster


def storage_there(spec: JobSpec, uri: str) -> str:
    """Return where the pods keep the job folders: on the volume, or in the object store of that URI.

    Raises:
        SpecError: there is neither, or both.
    """
    volume = placement_of(spec).volume
    is_object_store = "://" in uri and not uri.startswith("file:")
    if volume and is_object_store:
        raise SpecError(f"cluster.volume: {volume} and the storage {uri} both keep jobs; leave one of them out")
    if not volume and not is_object_store:
        raise SpecError(
            "cluster.volume is missing; name a persistent volume claim, or keep the jobs in an object store with "
            "--storage s3://BUCKET/FOLDER"
        )
    return pods.STORAGE if volume else uri


def _space(flag: str | None) -> Namespace:
    """Return the namespace that jobs go to."""
    cluster = config.cluster(flag)
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


def _sent(job: Job) -> tuple[Submission, JobSpec]:
    where, kept = submissions.last(job), Folder(job.folder).read(layout.JOB)
    if where is None or kept is None:
        raise RunError(f"{job.id}: its submission was cut off before anything ran; submit it again")
    return where, jobfile.read(kept, f"{job.folder}/{layout.JOB}")


def _attempt(name: str, job: str) -> int:
    """Return which attempt a RayJob's name tells of, or 0."""
    number = name.removeprefix(f"{job}-")
    return 1 if name == job else (int(number) if name.startswith(f"{job}-") and number.isdecimal() else 0)
