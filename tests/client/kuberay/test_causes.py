"""Why a job on Kubernetes doesn't get on, in words: one sentence per cause, with the field to mend."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gansvc.client.kuberay import causes


def pod(status: dict[str, Any], role: str = "worker", name: str = "pod") -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"ray.io/node-type": role}}, "status": status}


def container(state: dict[str, Any], last: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "ray", "image": "reg/x:1", "state": state, "lastState": last or {}}]}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return container({"waiting": {"reason": reason, "message": message}})


def unschedulable(message: str) -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}


PODS = [
    (
        waiting("ErrImagePull", "404"),
        r"can't pull reg/x:1 \(ErrImagePull: 404\); check cluster\.image and cluster\.pull_s",
    ),
    (waiting("ImagePullBackOff"), "can't pull"),
    (waiting("InvalidImageName"), "can't pull"),
    (waiting("CreateContainerConfigError", 'secret "s3" not found'), r'can\'t start \(secret "s3" not found\); check'),
    (container({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), r"ran out of memory; raise cluster\.memory$"),
    (
        container({"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"reason": "OOMKilled"}}),
        r"out of memory; raise cluster\.memory$",
    ),
    (container({"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"exitCode": 3}}), r"again \(exit code 3\)"),
    (container({"terminated": {"exitCode": 2, "message": "boom\n"}}), r"ended with exit code 2 \(boom\)"),
    ({"phase": "Failed", "reason": "Evicted", "message": "disk"}, r"was lost: Evicted \(disk\)"),
    (unschedulable("0/3 nodes: 3 Insufficient nvidia.com/gpu."), r"no node with its GPUs .*lower cluster\.gpus"),
    (unschedulable('persistentvolumeclaim "jobs" not found'), r"gets no volume .*check cluster\.volume"),
    (unschedulable("0/3 nodes: 3 Insufficient memory."), r"gets no node .*cluster\.memory, or check cluster\.node_sel"),
]


@pytest.mark.parametrize(("status", "words"), PODS, ids=[words[:24] for _, words in PODS])
def test_a_pods_trouble(status: dict[str, Any], words: str) -> None:
    (found,) = causes.problems(None, [pod(status)], [])
    assert found.startswith("pod pod ") and re.search(words, found), found


def test_the_heads_memory_has_its_own_field() -> None:
    killed = container({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    assert causes.problems(None, [pod(killed, role="head")], [])[0].endswith("raise cluster.head.memory")


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"phase": "Running", **container({"running": {}})},
        waiting("ContainerCreating"),
        waiting("PodInitializing"),
        container({"terminated": {"exitCode": 0, "reason": "Completed"}}),
    ],
)
def test_a_pod_on_its_way_is_no_trouble(status: dict[str, Any]) -> None:
    assert causes.problems(None, [pod(status)], []) == []


def event(reason: str, message: str, about: str = "cluster", kind: str = "Warning", at: str = "1") -> dict[str, Any]:
    object_ = {"kind": "RayCluster", "name": about}
    meta = {"name": reason, "creationTimestamp": at}
    return {"type": kind, "reason": reason, "message": message, "involvedObject": object_, "metadata": meta}


def test_events_that_no_pod_tells_of() -> None:
    events = [
        event("FailedToCreateWorkerPod", "exceeded quota: gpus", at="3"),
        event("FailedToCreateHeadPod", "violates PodSecurity restricted", at="2"),
        event("FailedMount", "timed out", about="pod", at="1"),
        event("FailedScheduling", "is in its pod's condition", about="pod"),
        event("Created", "fine", kind="Normal"),
    ]
    found = causes.problems(None, [pod({})], events)
    assert [text.partition(" (")[0] for text in found] == [
        "the namespace's quota refuses its pods",
        "the namespace's Pod Security level refuses its pods",
        "a volume can't be mounted",
    ]


def test_each_cause_is_told_once_and_not_too_many() -> None:
    many = [event(f"Reason{index}", "why") for index in range(9)]
    assert len(causes.problems(None, [], [*many, *many])) == 4
    replicas = {"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "no"}]}}
    assert causes.problems(replicas, [], []) == ["its pods can't be made (no)"]


def test_an_operator_that_is_not_there() -> None:
    rayjob = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}
    created = 1767225600.0
    assert "is the operator running" not in causes.driver(rayjob, created + 5).message
    assert "for 300 s; is the operator running" in causes.driver(rayjob, created + 300).message
