"""The RayJob of a job: KubeRay's strict schema, the operator's refusals, the restricted profile, for every section."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given

from gansvc import api, pipeline
from gansvc.cli import app
from gansvc.client.kuberay import jobmanifest, manifest, namespace, pods
from gansvc.errors import SpecError
from gansvc.spec import jobfile
from gansvc.spec.placement import Placement

from ...kube_profiles import operator_refusals, pods_of, schema_errors, unrestricted
from ...kube_sections import SECTIONS, make, sent, tries

VERSIONS = {"gansvc": "0.1.0", "ray": "2.60.0"}


def written(section: dict[str, Any]) -> dict[str, Any]:
    return manifest.rayjob("a-job", "a-job", "exec python -m x", Placement.model_validate(section), VERSIONS, {})


@tries(300)
@given(section=SECTIONS)
def test_every_section_is_refused_by_us_or_taken_by_kubernetes(section: dict[str, Any]) -> None:
    if rayjob := sent(section):
        assert operator_refusals(rayjob) == []
        for pod in pods_of(rayjob).values():
            assert unrestricted(pod) == []


@tries(40)  # a fifth of a second each
@given(section=SECTIONS)
def test_every_section_fits_the_strict_schemas(section: dict[str, Any]) -> None:
    if rayjob := sent(section):
        assert yaml.safe_load(jobfile.dump_plain(rayjob)) == rayjob
        for pod in pods_of(rayjob).values():
            kubernetes_validate.validate(pod, "1.34", strict=True)
        assert schema_errors(rayjob) == []


def test_the_judges_find_what_is_wrong() -> None:
    good = written({"image": "x", "max_workers": 2})
    assert operator_refusals(good) == [] and all(unrestricted(pod) == [] for pod in pods_of(good).values())
    assert schema_errors(good) == []
    assert schema_errors(good | {"spec": good["spec"] | {"unknown": 1}}) != []
    assert schema_errors(good | {"spec": good["spec"] | {"backoffLimit": "two"}}) != []
    assert operator_refusals(good | {"metadata": good["metadata"] | {"name": "1" + "x" * 47}}) == ["name"]
    pod = pods_of(good)["ray-worker"]
    pod["spec"]["containers"][0]["securityContext"]["capabilities"] = {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    pod["spec"]["hostNetwork"] = True
    assert unrestricted(pod) == ["hostNetwork", "ray-worker: capabilities"]
    pod["spec"]["nodeselector"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, "1.34", strict=True)


def test_each_field_arrives() -> None:
    section = {
        "image": "reg/gansvc:1",
        "pull_secrets": ["registry"],
        "workers": 2,
        "max_workers": 5,
        "cpus": 8,
        "gpus": 2,
        "memory": "32Gi",
        "head": {"cpus": 3, "memory": "4Gi"},
        "node_selector": {"gpu": "a100"},
        "tolerations": ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
        "service_account": "trainer",
        "volume": "jobs",
        "storage_secret": "s3",
        "priority_class": "low",
        "deadline": 7200,
        "start_deadline": 600,
        "retries": 4,
    }
    job = written(section | {"pull_secrets": ("registry",)})
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    group, templates = cluster["workerGroupSpecs"][0], pods_of(job)
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (2, 2, 5)
    assert cluster["enableInTreeAutoscaling"] is True and cluster["rayVersion"] == "2.60.0"
    worker = templates["ray-worker"]["spec"]
    expected = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}
    assert worker["containers"][0]["resources"] == {"requests": expected, "limits": expected}
    assert worker["nodeSelector"] == {"gpu": "a100"}
    assert worker["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    head = templates["ray-head"]["spec"]
    assert head["containers"][0]["resources"]["limits"] == {"cpu": "3", "memory": "4Gi"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0" and "nodeSelector" not in head
    for pod in templates.values():
        container = pod["spec"]["containers"][0]
        assert container["image"] == "reg/gansvc:1" and pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
        # What only hands the driver on gets neither the jobs' folders nor the keys to them.
        stored = container["name"] != "ray-job-submitter"
        assert (container.get("envFrom") == [{"secretRef": {"name": "s3"}}]) is stored
        assert ({"name": "storage", "mountPath": "/storage"} in container["volumeMounts"]) is stored
        claim = {"name": "storage", "persistentVolumeClaim": {"claimName": "jobs"}}
        assert (claim in pod["spec"]["volumes"]) is stored and ("envFrom" in container) is stored
        assert (pod["spec"]["serviceAccountName"], pod["spec"]["priorityClassName"]) == ("trainer", "low")
        # Ray's autoscaler alone speaks to the API server.
        assert pod["spec"]["automountServiceAccountToken"] is (pod is templates["ray-head"])
    assert (spec["activeDeadlineSeconds"], spec["preRunningDeadlineSeconds"], spec["backoffLimit"]) == (7200, 600, 4)
    assert spec["submissionMode"] == "K8sJobMode" and spec["shutdownAfterJobFinishes"] is True
    assert cluster["authOptions"] == {"mode": "token"} and "suspend" not in spec


def test_a_plain_section_asks_for_no_more_than_it_needs() -> None:
    job = written({"image": "x"})
    assert "suspend" not in job["spec"] and "activeDeadlineSeconds" not in job["spec"]
    assert "enableInTreeAutoscaling" not in job["spec"]["rayClusterSpec"]
    for pod in pods_of(job).values():
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert set(pod["spec"]) == {
            *("automountServiceAccountToken", "restartPolicy", "securityContext", "containers", "volumes")
        }


def test_kueue_lets_the_job_in() -> None:
    job = written({"image": "x", "queue": "team-a"})
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a" and job["spec"]["suspend"] is True


def test_the_spec_travels_in_the_rayjob(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make({"image": "x", "volume": "jobs"})
    rayjob = api.manifest(spec, "k8s")
    assert rayjob
    words = rayjob["spec"]["entrypoint"].split(" ")
    assert words[:5] == ["exec", "python", "-P", "-m", "gansvc.pipeline"]
    seen: list[Any] = []
    monkeypatch.setattr(pipeline, "run", lambda folder, spec, monitor: seen.extend([folder.uri, spec]))
    words[words.index("--storage") + 1] = str(tmp_path)
    assert pipeline.main(words[5:]) == 0
    assert seen == [f"{tmp_path}/{rayjob['metadata']['name']}", spec]


@pytest.mark.parametrize(
    ("name", "ray", "command", "words"),
    [
        ("x" * 48, "2.60.0", "python", "name: .* up to 47"),
        ("1a", "2.60.0", "python", "name: '1a'"),
        ("a-", "2.60.0", "python", "name: 'a-'"),
        ("a", "2.51.1", "python", r"Ray 2\.51\.1 has no token"),
        ("a", "2.60.0", "python --storage s3://b/c?x=1&y=2", r"--storage: s3://b/c\?x=1&y=2 can't travel"),
        ("a", "2.60.0", "python $(id)", "can't travel"),
    ],
)
def test_what_the_operator_or_a_shell_would_spoil(name: str, ray: str, command: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        manifest.rayjob(name, "a", command, Placement(image="x"), {"gansvc": "0", "ray": ray}, {})


def test_jobs_have_one_place() -> None:
    with pytest.raises(SpecError, match=r"cluster\.volume is missing"):
        jobmanifest.storage_there(make({"image": "x"}), "~/jobs")
    with pytest.raises(SpecError, match=r"cluster\.volume: jobs and the storage s3://b both"):
        jobmanifest.storage_there(make({"image": "x", "volume": "jobs"}), "s3://b")
    assert jobmanifest.storage_there(make({"image": "x"}), "s3://b/jobs") == "s3://b/jobs"
    assert jobmanifest.storage_there(make({"image": "x", "volume": "jobs"}), "~/here") == "/storage"
    with pytest.raises(SpecError, match="cluster is missing"):
        jobmanifest.storage_there(jobfile.validate({"name": "a", "dataset": "histology", "losses": ["wgan"]}), "~/jobs")


def test_the_reader_can_only_read() -> None:
    pod = pods.reader(Placement(image="x", volume="jobs", storage_secret="s3"), "reader", 600)
    assert unrestricted(pod) == [] and "envFrom" not in pod["spec"]["containers"][0]
    kubernetes_validate.validate(pod, "1.34", strict=True)
    mounts = {mount["name"]: mount for mount in pod["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["storage"]["readOnly"] is True and pod["spec"]["activeDeadlineSeconds"] == 600


@pytest.mark.parametrize(
    ("address", "context", "name"),
    [
        ("k8s", "", ""),
        ("k8s://lab", "lab", ""),
        ("k8s://lab/gan", "lab", "gan"),
        ("k8s:///gan", "", "gan"),
        ("k8s://arn:aws:eks:eu-west-1:1:cluster/lab/gan", "arn:aws:eks:eu-west-1:1:cluster/lab", "gan"),
    ],
)
def test_addresses(address: str, context: str, name: str) -> None:
    found = namespace.parse(address)
    assert (found.context, found.name) == (context, name) and namespace.parse(found.address) == found


@pytest.mark.parametrize("address", ["k8s:", "k8s://", "k8s:/a/b", "k8s://a/B", "k8s://a/" + "x" * 64, "k8s://a\n/b"])
def test_addresses_that_name_nothing(address: str) -> None:
    assert namespace.is_address(address)
    with pytest.raises(SpecError, match="names no Kubernetes cluster"):
        namespace.parse(address)


def test_dry_run_prints_what_kubectl_takes(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    (tmp_path / "job.yaml").write_text(jobfile.dump(make({"image": "x", "volume": "jobs"})))
    with pytest.raises(SystemExit):
        app.main(["submit", str(tmp_path / "job.yaml"), "--dry-run", "--cluster", "k8s://lab/gan"])
    out = capsys.readouterr().out
    rayjob = yaml.safe_load(out)
    assert rayjob["kind"] == "RayJob" and rayjob["metadata"]["namespace"] == "gan" and "# runs: 1" in out
    assert schema_errors(rayjob) == []
    with pytest.raises(SystemExit):
        app.main(["submit", str(tmp_path / "job.yaml"), "--dry-run", "--json", "--cluster", "k8s"])
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"manifest", "plan"} and "namespace" not in printed["manifest"]["metadata"]
