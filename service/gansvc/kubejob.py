"""A job as Kubernetes gets it: where its folder is kept, and the RayJob that is sent."""

from __future__ import annotations

from importlib.metadata import version

from gansvc import jobfolder, submission
from gansvc.cluster.kuberay import manifest, namespace, pods
from gansvc.cluster.kuberay.pods import Manifest
from gansvc.errors import SpecError
from gansvc.placement import Placement
from gansvc.spec import JobSpec


def preview(spec: JobSpec, cluster: str, storage: str | None = None) -> Manifest:
    """Return the RayJob that a submission would send, without asking anybody; see ``api.manifest``.

    Raises:
        SpecError: the operator would refuse it, or the job has no place to be kept.
    """
    where, kept = namespace.parse(cluster), storage_there(spec, storage)
    job = jobfolder.new_id(spec.name)
    written = rayjob(job, job, spec, kept)
    if where.name:
        written["metadata"]["namespace"] = where.name
    return written


def rayjob(name: str, job: str, spec: JobSpec, storage: str) -> Manifest:
    """Return the RayJob of one attempt at a job.

    Args:
        name: the RayJob's own name.
        job: the job's id.
        spec: the job's spec.
        storage: folder or URI of all jobs, as the pods see it.

    Raises:
        SpecError: the operator would refuse it.
    """
    versions = {"gansvc": version("gansvc"), "ray": version("ray")}
    command = submission.entrypoint("python", job, storage, spec)
    metadata = {"gansvc": versions["gansvc"], "storage": storage, "name": spec.name}
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


def storage_there(spec: JobSpec, storage: str | None) -> str:
    """Return where the pods keep the job folders: on the volume, or in the object store that ``storage`` names.

    Raises:
        SpecError: there is neither, or both.
    """
    volume, uri = placement_of(spec).volume, jobfolder.storage_uri(storage)
    is_object_store = "://" in uri and not uri.startswith("file:")
    if volume and is_object_store:
        raise SpecError(f"cluster.volume: {volume} and the storage {uri} both keep jobs; leave one of them out")
    if not volume and not is_object_store:
        raise SpecError(
            "cluster.volume is missing; name a persistent volume claim, or keep the jobs in an object store with "
            "--storage s3://BUCKET/FOLDER"
        )
    return pods.STORAGE if volume else uri
