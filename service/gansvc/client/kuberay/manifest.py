"""Build the RayJob or RayCluster manifest of a placement, ready for ``kubectl apply``. Pure."""

from __future__ import annotations

import re
import shlex

from gansvc.client.kuberay import pods
from gansvc.client.kuberay.pods import Manifest
from gansvc.errors import SpecError
from gansvc.spec.placement import Placement

API_VERSION = "ray.io/v1"
JOB_LABEL = "gansvc/job"
"""Label that holds a job's id: all its attempts' RayJobs carry it."""
MAX_NAME_LENGTH = 47
"""Characters of a RayJob's name; the operator builds longer ones from it."""
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # DNS-1035
_OLDEST_RAY = (2, 52)
"""The operator refuses token authentication for older versions."""


def rayjob(
    name: str, job: str, entrypoint: str, placement: Placement, versions: dict[str, str], metadata: dict[str, str]
) -> Manifest:
    """Return the RayJob of one attempt at a job.

    Args:
        name: the RayJob's own name.
        job: the job's id.
        entrypoint: the driver's command.
        placement: the spec's ``cluster`` section.
        versions: of ``gansvc`` and ``ray``, as the image has them.
        metadata: what the driver's entry in Ray's Jobs API is to say.

    Raises:
        SpecError: the operator would refuse it.
    """
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise SpecError(f"name: {name!r} can't be a RayJob's; use a letter, then letters, digits and dashes, up to 47")
    labels = dict(pods.LABELS) | {JOB_LABEL: job}
    if placement.queue:
        labels["kueue.x-k8s.io/queue-name"] = placement.queue
    spec: Manifest = {
        "entrypoint": _refuse_quoting(entrypoint),
        # The submitter pod carries the driver's log, and a lost head is a failed job, not one that silently runs twice.
        "submissionMode": "K8sJobMode",
        "shutdownAfterJobFinishes": True,
        "backoffLimit": placement.retries,
        "preRunningDeadlineSeconds": placement.start_deadline,
        "metadata": dict(metadata),
        "submitterPodTemplate": pods.submitter(placement),
        "rayClusterSpec": cluster_spec(placement, versions["ray"]),
    }
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    # Clients can't read the volume: the driver tells its status in its log.
    head["env"].append({"name": "GANSVC_STATUS_IN_LOG", "value": "1"})
    if placement.deadline is not None:
        spec["activeDeadlineSeconds"] = placement.deadline
    if placement.queue:
        spec["suspend"] = True  # until Kueue lets it in
    annotations = {"gansvc/version": versions["gansvc"]}
    return {
        "apiVersion": API_VERSION,
        "kind": "RayJob",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": spec,
    }


def raycluster(name: str, placement: Placement, ray: str) -> Manifest:
    """Return a RayCluster that stands by itself, for jobs sent to its Jobs API."""
    metadata = {"name": name, "labels": dict(pods.LABELS)}
    spec = cluster_spec(placement, ray)
    return {"apiVersion": API_VERSION, "kind": "RayCluster", "metadata": metadata, "spec": spec}


def cluster_spec(placement: Placement, ray: str) -> Manifest:
    """Return a RayCluster's spec.

    Raises:
        SpecError: Ray is too old for token authentication.
    """
    if tuple(int(part) for part in re.findall(r"\d+", ray)[:2]) < _OLDEST_RAY:
        raise SpecError(
            f"Ray {ray} has no token authentication on Kubernetes; use 2.52 or newer, here and in the image"
        )
    spec: Manifest = {
        "rayVersion": ray,
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            # No CPUs for Ray to give away: the head keeps Ray's services and the driver.
            "rayStartParams": {"dashboard-host": "0.0.0.0", "num-cpus": "0"},  # noqa: S104 - token and NetworkPolicy
            "template": pods.head(placement),
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": placement.workers,
                "minReplicas": placement.workers,
                "maxReplicas": placement.max_workers or placement.workers,
                "rayStartParams": {},
                "template": pods.worker(placement),
            }
        ],
    }
    if placement.max_workers is not None:
        spec |= {"enableInTreeAutoscaling": True, "autoscalerOptions": pods.autoscaler(placement)}
    return spec


def _refuse_quoting(entrypoint: str) -> str:
    """Refuse a command that would change on its way: the operator, a shell and Ray each read it again."""
    for word in entrypoint.split(" "):
        if shlex.quote(word) != word:
            raise SpecError(f"--storage: {word} can't travel in a RayJob's command; use letters, digits and @%+=:,./-_")
    return entrypoint
