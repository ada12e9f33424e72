"""The pods of a job: containers under the restricted Pod Security Standard, with their volumes and resources. Pure."""

from __future__ import annotations

from typing import Any

from gansvc.spec.drivercommand import ENVIRONMENT
from gansvc.spec.placement import Placement

STORAGE = "/storage"
"""Where a persistent volume is mounted."""
USER = 10001
"""The image's user and group."""
LABELS = {"app.kubernetes.io/name": "gansvc", "app.kubernetes.io/managed-by": "gansvc"}
_HOME = "/home/gansvc"
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
}
_SUBMITTER = {"cpu": "500m", "memory": "1Gi"}
_AUTOSCALER = {"cpu": "500m", "memory": "1Gi"}
_READER = {"cpu": "100m", "memory": "256Mi"}
_VARIABLES = {"HOME": _HOME} | ENVIRONMENT

Manifest = dict[str, Any]


def head(placement: Placement) -> Manifest:
    """Return the head's pod template, which the job's driver runs in."""
    ports = {"gcs": 6379, "dashboard": 8265, "client": 10001}
    resources = {"cpu": str(placement.head.cpus), "memory": placement.head.memory}
    container = _container("ray-head", placement, resources) | {
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()]
    }
    # Ray's autoscaler runs in the head's pod and asks the API server for workers.
    return _template(placement, container, token=placement.max_workers is not None)


def worker(placement: Placement) -> Manifest:
    """Return a worker's pod template."""
    resources = {"cpu": str(placement.cpus), "memory": placement.memory}
    if placement.gpus:
        resources["nvidia.com/gpu"] = str(placement.gpus)
    template = _template(placement, _container("ray-worker", placement, resources))
    if placement.node_selector:
        template["spec"]["nodeSelector"] = dict(placement.node_selector)
    if placement.tolerations:
        template["spec"]["tolerations"] = [
            toleration.model_dump(exclude_defaults=True) for toleration in placement.tolerations
        ]
    return template


def submitter(placement: Placement) -> Manifest:
    """Return the template of the pod that hands the driver to Ray and carries its log: it needs no job folder."""
    bare = placement.model_copy(update={"volume": None, "storage_secret": None})
    return _template(bare, _container("ray-job-submitter", bare, _SUBMITTER))


def autoscaler(placement: Placement) -> Manifest:
    """Return what the autoscaler's container in the head's pod is given."""
    container = _container("autoscaler", placement, _AUTOSCALER)
    mounts = [mount for mount in container["volumeMounts"] if mount["name"] != "storage"]
    return {key: container[key] for key in ("resources", "securityContext")} | {
        "volumeMounts": mounts,
        "env": [{"name": "HOME", "value": _HOME}],
    }


def reader(placement: Placement, name: str, seconds: int) -> Manifest:
    """Return a pod that has the volume mounted to read from, does nothing, and ends by itself after some seconds."""
    placement = placement.model_copy(update={"storage_secret": None})  # the volume is all that it reads
    container = _container("reader", placement, _READER) | {"command": ["sleep", str(seconds)]}
    for mount in container["volumeMounts"]:
        mount["readOnly"] = mount["name"] == "storage"
    template = _template(placement, container)
    template["spec"] |= {"activeDeadlineSeconds": seconds, "terminationGracePeriodSeconds": 0}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(LABELS) | {"app.kubernetes.io/component": "reader"}},
        "spec": template["spec"],
    }


def _template(placement: Placement, container: Manifest, token: bool = False) -> Manifest:
    spec: Manifest = {
        "automountServiceAccountToken": token,
        # A head or worker that is lost is made anew; half a restart inside the old pod would confuse Ray.
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "home", "emptyDir": {}}],
    }
    if placement.volume:
        spec["volumes"].append({"name": "storage", "persistentVolumeClaim": {"claimName": placement.volume}})
    if placement.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in placement.pull_secrets]
    if placement.service_account:
        spec["serviceAccountName"] = placement.service_account
    if placement.priority_class:
        spec["priorityClassName"] = placement.priority_class
    return {"metadata": {"labels": dict(LABELS)}, "spec": spec}


def _container(name: str, placement: Placement, resources: dict[str, str]) -> Manifest:
    container: Manifest = {
        "name": name,
        "image": placement.image,
        # Equal, because Ray sizes its object store by the limit and the scheduler counts the request.
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        "securityContext": {
            key: dict(value) if isinstance(value, dict) else value for key, value in _RESTRICTED.items()
        },
        "env": [{"name": key, "value": value} for key, value in _VARIABLES.items()],
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            {"name": "home", "mountPath": _HOME},
        ],
    }
    if placement.volume:
        container["volumeMounts"].append({"name": "storage", "mountPath": STORAGE})
    if placement.storage_secret:
        container["envFrom"] = [{"secretRef": {"name": placement.storage_secret}}]
    return container
