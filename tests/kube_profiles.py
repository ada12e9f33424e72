"""What judges manifests in tests: KubeRay's schemas, the operator's own refusals, the restricted profile, checkov."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

SHARED = Path(os.environ.get("GANSVC_SHARED") or Path(__file__).parents[2] / "shared")
"""What isn't part of this repository."""
Manifest = dict[str, Any]


@cache
def schema(kind: str) -> jsonschema.Draft7Validator:
    """Return the strict schema of a kind of KubeRay's; a test that needs it skips where it isn't."""
    path = SHARED / "kuberay" / f"{kind.lower()}-v1.strict.schema.json"
    if not path.is_file():
        pytest.skip(f"no {path.name}: KubeRay's schemas aren't part of this repository")
    return jsonschema.Draft7Validator(json.loads(path.read_text()))


def schema_errors(manifest: Manifest) -> list[str]:
    """Return what the strict schema finds, after its defaults are filled in."""
    validator = schema(manifest["kind"])
    filled = copy.deepcopy(manifest)
    _fill(filled, validator.schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(filled)]


def _fill(data: Any, of: Any) -> None:
    if isinstance(data, dict) and isinstance(of, dict):
        for name, field in of.get("properties", {}).items():
            if "default" in field and name not in data:
                data[name] = field["default"]
            if name in data:
                _fill(data[name], field)
    elif isinstance(data, list) and isinstance(of, dict):
        for item in data:
            _fill(item, of.get("items", {}))


def operator_refusals(rayjob: Manifest) -> list[str]:
    """Return why KubeRay's operator would refuse a RayJob: what the schema doesn't check."""
    spec, name = rayjob["spec"], rayjob["metadata"]["name"]
    cluster, found = spec.get("rayClusterSpec"), []
    has_selector = bool(spec.get("clusterSelector"))
    refused = {
        "name": len(name) > 47 or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name),
        "submissionMode": spec.get("submissionMode")
        not in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
        "activeDeadlineSeconds": spec.get("activeDeadlineSeconds", 1) <= 0,
        "preRunningDeadlineSeconds": spec.get("preRunningDeadlineSeconds", 1) <= 0,
        "ttlSecondsAfterFinished": spec.get("ttlSecondsAfterFinished", 0) < 0,
        "backoffLimit": spec.get("backoffLimit", 0) < 0,
        "rayClusterSpec": (cluster is None) == (not has_selector),
        "suspend": bool(spec.get("suspend")) and not spec.get("shutdownAfterJobFinishes"),
        "clusterSelector": has_selector and bool(spec.get("backoffLimit") or spec.get("suspend")),
    }
    found += [field for field, wrong in refused.items() if wrong]
    for group in cluster["workerGroupSpecs"]:
        if not 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            found.append("replicas")
    if cluster.get("authOptions", {}).get("mode") == "token":
        found += ["rayVersion"] * (tuple(int(x) for x in cluster["rayVersion"].split(".")[:2]) < (2, 52))
    for key, value in rayjob["metadata"]["labels"].items():
        found += [f"label {key}"] * (not _is_label(key, value))
    return found


def _is_label(key: str, value: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    part = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
    domain = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
    return (
        bool(part.fullmatch(name))
        and (not value or bool(part.fullmatch(value)))
        and (not slash or (len(prefix) <= 253 and bool(domain.fullmatch(prefix))))
    )


def pods_of(manifest: Manifest) -> dict[str, Manifest]:
    """Return the pods of a RayJob or RayCluster, by their container's name; the autoscaler's beside the head."""
    spec = manifest["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    templates = [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]
    templates += [spec["submitterPodTemplate"]] if "submitterPodTemplate" in spec else []
    templates = copy.deepcopy(templates)
    if cluster.get("enableInTreeAutoscaling"):
        image = templates[0]["spec"]["containers"][0]["image"]  # the operator takes the head's
        container = {"name": "autoscaler", "image": image} | cluster["autoscalerOptions"]
        templates[0]["spec"]["containers"].append(container)
    pods = [{"apiVersion": "v1", "kind": "Pod", **template} for template in templates]
    for pod in pods:
        pod["metadata"]["name"] = pod["spec"]["containers"][0]["name"]
    return {pod["metadata"]["name"]: pod for pod in pods}


def unrestricted(pod: Manifest) -> list[str]:
    """Return where a pod breaks the restricted Pod Security Standard (v1.34), or our stricter rules beside it."""
    spec, of_pod = pod["spec"], pod["spec"].get("securityContext", {})
    found = [field for field in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if spec.get(field)]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in spec.get("volumes", ()):
        found += [f"volume {volume['name']}"] * (not set(volume) - {"name"} <= allowed)
    found += ["seccompProfile"] * (of_pod.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"))
    found += ["runAsUser"] * (of_pod.get("runAsUser") in (0, None))
    found += ["sysctls"] * bool(of_pod.get("sysctls"))
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        context, name = container.get("securityContext", {}), container["name"]
        broken = {
            "privileged": bool(context.get("privileged")),
            "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is not False,
            "capabilities": context.get("capabilities") != {"drop": ["ALL"]},
            "runAsNonRoot": context.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True,
            "runAsUser": context.get("runAsUser") == 0,
            "procMount": "procMount" in context,
            "hostPort": any("hostPort" in port for port in container.get("ports", ())),
            # Stricter than the standard.
            "readOnlyRootFilesystem": context.get("readOnlyRootFilesystem") is not True,
            "memory": container["resources"]["requests"]["memory"] != container["resources"]["limits"]["memory"],
            "writable /tmp": "/tmp" not in [mount["mountPath"] for mount in container["volumeMounts"]],
        }
        found += [f"{name}: {field}" for field, wrong in broken.items() if wrong]
    return found


def checkov_failures(manifests: list[Manifest], folder: Path) -> list[set[str]]:
    """Return the ids of checkov's Kubernetes checks that each manifest fails; skip the test where checkov isn't.

    The manifests are judged together, so that a pod is seen with the network policies of its namespace. A pair of
    namespace and name may occur once.
    """
    program = os.environ.get("GANSVC_CHECKOV") or shutil.which("checkov")
    if program is None:
        pytest.skip("no checkov: its pins exclude ours, so name one of another environment with GANSVC_CHECKOV")
    (folder / "all.yaml").write_text(yaml.safe_dump_all(manifests))
    # Nothing is asked of the network; without a way out, checkov would wait for each answer and try again.
    command = [program, "--framework", "kubernetes", "--skip-download", "--soft-fail", "--quiet", "--compact"]
    command += ["--output", "json", "--file", "all.yaml"]
    offline = os.environ | {"CKV_SKIP_PACKAGE_UPDATE_CHECK": "true"}
    done = subprocess.run(command, cwd=folder, env=offline, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0 and report["summary"]["resource_count"] == len(manifests)
    found: dict[str, set[str]] = {_checkovs_name(manifest): set() for manifest in manifests}
    for failed in report["results"]["failed_checks"]:
        found[failed["resource"]].add(failed["check_id"])
    return [found[_checkovs_name(manifest)] for manifest in manifests]


def _checkovs_name(manifest: Manifest) -> str:
    meta = manifest["metadata"]
    return f"{manifest['kind']}.{meta.get('namespace', 'default')}.{meta['name']}"
