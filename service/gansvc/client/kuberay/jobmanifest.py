"""Build the RayJob of a job, from its spec and where it is kept. Pure."""

from __future__ import annotations

from importlib.metadata import version

from gansvc.client.kuberay import manifest, pods
from gansvc.client.kuberay.pods import Manifest
from gansvc.errors import SpecError
from gansvc.spec import drivercommand
from gansvc.spec.job import JobSpec
from gansvc.spec.placement import Placement
from gansvc.store.jobfolder import Job


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
