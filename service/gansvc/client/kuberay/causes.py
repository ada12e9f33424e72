"""Explain why a job on Kubernetes doesn't get on: from its RayJob, RayCluster, pods and events. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from gansvc.files import patience
from gansvc.store.driverstate import Driver, State

Item = dict[str, Any]

_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_NO_START = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError")
_DEPLOYMENT = {
    "": "KubeRay's operator hasn't looked at it yet",
    "Initializing": "its cluster is being made",
    "Waiting": "it waits to be submitted",
    "Suspending": "it is being suspended",
    "Suspended": "it is suspended: Kueue hasn't let it in, or somebody suspended it",
    "Retrying": "the attempt failed; KubeRay starts it again on a new cluster",
}
_REASONS = {
    "DeadlineExceeded": "it was ended by cluster.deadline",
    "PreRunningDeadlineExceeded": "its cluster wasn't ready within cluster.start_deadline",
    "SubmissionFailed": "its driver couldn't be started, or its head was lost",
    "AppFailed": "its driver failed",
    "JobStatusCheckTimeoutExceeded": "its head stopped answering",
    "JobDeploymentStatusTransitionGracePeriodExceeded": "its driver ended and its submitter didn't",
    "ValidationFailed": "KubeRay refuses it",
}
_MAX_SENTENCES = 4
"""Sentences in one message."""


def driver(rayjob: Item, now: float) -> Driver:
    """Return how far a RayJob is, from its own status; the message is empty where nothing needs saying."""
    status = rayjob.get("status", {})
    deployed, job = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    said = status.get("message", "").strip()
    if deployed == "Complete":
        ended: State = "STOPPED" if job == "STOPPED" else ("FAILED" if job == "FAILED" else "SUCCEEDED")
        return Driver(ended, said)
    if deployed in ("Failed", "ValidationFailed"):
        reason = status.get("reason", "") or ("ValidationFailed" if deployed == "ValidationFailed" else "")
        words = _REASONS.get(reason) or (f"KubeRay says {reason}" if reason else "KubeRay calls it failed")
        return Driver("FAILED", f"{words} ({said[:300]})" if said else words)
    if deployed == "Running":
        return Driver("RUNNING" if job in ("RUNNING", "SUCCEEDED", "FAILED", "STOPPED") else "PENDING", "")
    words = _DEPLOYMENT.get(deployed, f"KubeRay calls it {deployed}")
    if not deployed and (age := now - _time(rayjob["metadata"].get("creationTimestamp"))) > patience.SILENCE:
        words += f", for {age:.0f} s; is the operator running, and does it watch this namespace?"
    return Driver("PENDING", words)


def problems(cluster: Item | None, pods: Iterable[Item], events: Iterable[Item]) -> list[str]:
    """Return what stands in a job's way, worst first, each once."""
    found = [sentence for pod in pods for sentence in _of_pod(pod)]
    for condition in (cluster or {}).get("status", {}).get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            found.append(f"its pods can't be made ({condition.get('message', '')[:300]})")
    named = {pod["metadata"]["name"] for pod in pods}
    for event in sorted(events, key=_when, reverse=True):
        # A pod's own status says better what its events say, but for volumes, which only events tell of.
        about = event.get("involvedObject", {}).get("name")
        if event.get("type") == "Warning" and (about not in named or event.get("reason") in _VOLUME):
            found.append(_of_event(event))
    return list(dict.fromkeys(found))[:_MAX_SENTENCES]


_VOLUME = ("FailedMount", "FailedAttachVolume")


def _of_pod(pod: Item) -> Iterable[str]:
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            yield _unschedulable(name, condition.get("message", ""))
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    for container in containers:
        state = container.get("state", {})
        waiting, ended = state.get("waiting", {}), state.get("terminated", {})
        why, said = waiting.get("reason", ""), waiting.get("message", "")[:300]
        last = container.get("lastState", {}).get("terminated", {})
        if why in _NO_IMAGE:
            image = container.get("image", "")
            yield f"pod {name} can't pull {image} ({why}: {said}); check cluster.image and cluster.pull_secrets"
        elif why in _NO_START:
            yield f"pod {name} can't start ({said or why}); check the names in the cluster section"
        elif "OOMKilled" in (ended.get("reason"), last.get("reason")):
            yield f"pod {name} ran out of memory; raise {_memory_field(pod)}"
        elif why == "CrashLoopBackOff":
            yield f"pod {name} ends again and again (exit code {last.get('exitCode', 'unknown')}); see its log"
        elif ended.get("exitCode", 0) != 0:
            yield f"pod {name} ended with exit code {ended['exitCode']}{_in_brackets(ended.get('message', ''))}"
    if status.get("phase") == "Failed" and status.get("reason"):
        yield f"pod {name} was lost: {status['reason']}{_in_brackets(status.get('message', ''))}"


def _unschedulable(pod: str, message: str) -> str:
    if "nvidia.com/gpu" in message:
        return (
            f"pod {pod} gets no node with its GPUs ({message[:300]}); lower cluster.gpus, or wait until some are free"
        )
    if "persistentvolumeclaim" in message.lower():
        return f"pod {pod} gets no volume ({message[:300]}); check cluster.volume"
    hint = "lower cluster.cpus or cluster.memory, or check cluster.node_selector and cluster.tolerations"
    return f"pod {pod} gets no node ({message[:300]}); {hint}"


def _of_event(event: Item) -> str:
    message, reason = event.get("message", "")[:300], event.get("reason", "")
    if "exceeded quota" in message:
        return f"the namespace's quota refuses its pods ({message}); lower the cluster section, or ask for more"
    if "violates PodSecurity" in message:
        return f"the namespace's Pod Security level refuses its pods ({message})"
    if reason in _VOLUME:
        return f"a volume can't be mounted ({message}); check cluster.volume"
    return f"{event.get('involvedObject', {}).get('kind', 'Kubernetes')} says {reason}: {message}"


def _memory_field(pod: Item) -> str:
    return (
        "cluster.head.memory"
        if pod["metadata"].get("labels", {}).get("ray.io/node-type") == "head"
        else "cluster.memory"
    )


def _in_brackets(text: str) -> str:
    return f" ({text.strip()[:300]})" if text.strip() else ""


def _when(event: Item) -> str:
    times = (event.get("lastTimestamp"), event.get("eventTime"), event["metadata"].get("creationTimestamp"))
    return next((time for time in times if time), "")


def _time(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else float("inf")
