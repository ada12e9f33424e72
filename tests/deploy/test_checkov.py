"""What checkov, a judge of others' making, finds in k8s/ and in the pods of every section: what we know, no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import given

from gansvc.client.kuberay import pods

from ..kube_examples import K8S, generated
from ..kube_profiles import Manifest, checkov_failures, pods_of
from ..kube_sections import SECTIONS, make, sent, tries

PROBES = {"CKV_K8S_8", "CKV_K8S_9"}
"""KubeRay's operator injects the head's and the workers'; the submitter and the reader serve nothing."""
BY_TAG = {"CKV_K8S_15", "CKV_K8S_43"}
"""A digest, or else pulling each time: who names the image chooses, and a node's own copy needs no registry."""
SECRETS_AS_FILES = {"CKV_K8S_35"}
"""The object stores' clients take their keys from the environment."""
NO_TOKEN = {"CKV_K8S_38"}
"""Ray's autoscaler, in the head's pod, asks the API server for workers."""
RESTRICTED = {f"CKV_K8S_{number}" for number in (16, 17, 18, 19, 20, 22, 23, 25, 26, 27, 28, 29, 31, 37, 39, 40)}
"""The checks of what the restricted Pod Security Standard is about, and a read-only root."""
BAD = """
apiVersion: v1
kind: Pod
metadata: {name: bad}
spec:
  hostNetwork: true
  hostPID: true
  hostIPC: true
  containers:
    - name: bad
      image: bad:latest
      ports: [{containerPort: 1, hostPort: 1}]
      securityContext: {privileged: true, runAsUser: 0, capabilities: {add: [SYS_ADMIN]}}
      volumeMounts: [{name: docker, mountPath: /docker}]
  volumes: [{name: docker, hostPath: {path: /var/run/docker.sock}}]
"""


def base() -> list[Manifest]:
    """Return what lies in k8s/base, in its namespace."""
    paths = [path for path in sorted((K8S / "base").glob("*.yaml")) if path.name != "kustomization.yaml"]
    return [placed(document) for path in paths for document in yaml.safe_load_all(path.read_text())]


def placed(document: Manifest) -> Manifest:
    """Put an object into the namespace, as kustomize and kubectl do."""
    if document["kind"] != "Namespace":
        document["metadata"]["namespace"] = "gansvc"
    return document


def unmet(section: dict[str, Any], pod: str) -> set[str]:
    """Return the checks that a pod of a job with that section fails."""
    stores = pod in ("ray-head", "ray-worker") and "storage_secret" in section
    scales = pod == "ray-head" and "max_workers" in section
    by_tag = "@sha256:" not in section["image"]
    return (
        PROBES
        | (BY_TAG if by_tag else set())
        | (SECRETS_AS_FILES if stores else set())
        | (NO_TOKEN if scales else set())
    )


def test_checkov_takes_what_lies_there(tmp_path: Path) -> None:
    around, expected = base(), PROBES | BY_TAG
    made = [pod for name in generated() for pod in pods_of(yaml.safe_load((K8S / name).read_text())).values()]
    for number, pod in enumerate(made):
        placed(pod)["metadata"]["name"] += f"-{number}"
    # Beside the pods lie the network policies that hold for them.
    assert checkov_failures(around + made, tmp_path) == [set()] * len(around) + [expected] * len(made)


def test_checkov_finds_what_is_wrong(tmp_path: Path) -> None:
    (found,) = checkov_failures([yaml.safe_load(BAD)], tmp_path)
    assert found >= RESTRICTED | PROBES | NO_TOKEN | {"CKV_K8S_43", "CKV2_K8S_6"}


def test_checkov_takes_the_pods_of_every_section(tmp_path: Path) -> None:
    checkov_failures(base(), tmp_path)  # or skip, before the long part
    made = base()
    expected: list[set[str]] = [set() for _ in made]

    @tries(300)
    @given(section=SECTIONS)
    def draw(section: dict[str, Any]) -> None:
        if rayjob := sent(section):
            of_job = pods_of(rayjob)
            placement = make(section).cluster
            if placement and placement.volume:
                of_job["reader"] = pods.reader(placement, "reader", 600)
            for name, pod in of_job.items():
                placed(pod)["metadata"]["name"] = f"{name}-{len(made)}"
                made.append(pod)
                expected.append(unmet(section, name))

    draw()
    assert set().union(*expected) == PROBES | BY_TAG | SECRETS_AS_FILES | NO_TOKEN
    found = checkov_failures(made, tmp_path)
    wrong = [trio for trio in zip(made, found, expected, strict=True) if trio[1] != trio[2]]
    assert wrong == []
