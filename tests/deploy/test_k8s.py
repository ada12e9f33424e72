"""The manifests under k8s/: they render, validate, follow the code, and give a client the verbs that it uses."""

from __future__ import annotations

import base64
import copy
import json
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from kubernetes.config import incluster_config
from yamllint import linter
from yamllint.config import YamlLintConfig

from gansvc import api
from gansvc.client.kuberay import jobmanifest, jobs, reader
from gansvc.client.kuberay.client import PODS, RAYCLUSTERS, RAYJOBS, Client, RefusedError
from gansvc.client.kuberay.connection import connect
from gansvc.client.kuberay.namespace import Namespace
from gansvc.errors import ClusterError
from gansvc.files import patience
from gansvc.spec import jobfile

from ..kube_examples import K8S, generated
from ..kube_profiles import operator_refusals, pods_of, schema_errors, unrestricted
from ..kube_servers import Cluster, cluster, config_with, kubectl, real_folder

__all__ = ["cluster", "real_folder"]
OVERLAYS = sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))
EVERY = pytest.mark.parametrize("overlay", OVERLAYS)
OUTSIDERS = {"kind": "outsider"}


def kustomized(overlay: str) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl, which renders the overlays")
    command = ["kubectl", "kustomize", str(K8S / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def one(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


# --- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(K8S.rglob("*.yaml")), ids=lambda path: str(path.relative_to(K8S)))
def test_files_are_tidy(path: Path) -> None:
    config = YamlLintConfig(
        "{extends: default, rules: {line-length: disable, document-start: disable, indentation: {indent-sequences: "
        "whatever}, comments: {min-spaces-from-content: 1}}}"
    )
    assert [str(problem) for problem in linter.run(path.read_text(), config)] == []


@pytest.mark.parametrize("name", sorted(generated()))
def test_what_the_code_makes_is_what_lies_there(name: str) -> None:
    kept, (_, made) = yaml.safe_load((K8S / name).read_text()), generated()[name]
    hint = "`make manifests` writes it"
    # Two zlibs may pack the same spec differently.
    assert _unpacked(kept) == _unpacked(made), hint


def _unpacked(document: dict[str, Any]) -> dict[str, Any]:
    document = copy.deepcopy(document)
    if "entrypoint" in document["spec"]:
        command, packed = re.split(r" --spec (?=\S+)", document["spec"]["entrypoint"])
        spec, *rest = packed.split(" ")
        document["spec"]["entrypoint"] = [command, zlib.decompress(base64.b64decode(spec)).decode(), rest]
    return document


@pytest.mark.parametrize("name", sorted(generated()))
def test_what_the_code_makes_is_taken(name: str) -> None:
    made = yaml.safe_load((K8S / name).read_text())
    if made["kind"] == "RayJob":
        assert operator_refusals(made) == []
    for pod in pods_of(made).values():
        assert unrestricted(pod) == []
        kubernetes_validate.validate(pod, "1.34", strict=True)
    assert schema_errors(made) == []


def test_the_example_is_what_a_dry_run_prints() -> None:
    spec = api.validate(K8S / "examples/job.yaml")
    printed = api.manifest(spec, "k8s://any/gansvc", "~/jobs")
    kept = yaml.safe_load((K8S / "examples/rayjob.yaml").read_text())
    assert (
        printed
        and printed["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        == (kept["spec"]["rayClusterSpec"]["workerGroupSpecs"])
    )


@EVERY
def test_overlays_render_and_validate(overlay: str) -> None:
    documents = kustomized(overlay)
    for document in documents:
        kubernetes_validate.validate(document, "1.34", strict=True)
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == "gansvc"
    labels = one(documents, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    quota = one(documents, "ResourceQuota")["spec"]["hard"]
    assert (quota["requests.nvidia.com/gpu"] == "0") == (overlay == "cpu")


def test_the_examples_names_are_there() -> None:
    documents = kustomized("gpu")
    spec = api.validate(K8S / "examples/job.yaml")
    assert spec.cluster and spec.cluster.volume == one(documents, "PersistentVolumeClaim")["metadata"]["name"]


# --- the network ------------------------------------------------------------------------------------------------------

OURS = {"app.kubernetes.io/managed-by": "gansvc"}
HEAD = OURS | {"ray.io/node-type": "head"}
OPERATOR = {"app.kubernetes.io/name": "kuberay-operator"}
DNS = {"k8s-app": "kube-dns"}


def selects(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    return selector is not None and selector.get("matchLabels", {}).items() <= labels.items()


def allowed(direction: str, ours: dict[str, str], there: tuple[str, dict[str, str]], port: int) -> bool:
    """Return whether the policies let a pod of the namespace speak (``egress``) or be spoken to (``ingress``)."""
    policies = [doc["spec"] for doc in kustomized("gpu") if doc["kind"] == "NetworkPolicy"]
    policies = [p for p in policies if selects(p["podSelector"], ours) and direction.capitalize() in p["policyTypes"]]
    assert policies, "nothing restricts that pod"
    space, labels = there
    for rule in (rule for policy in policies for rule in policy.get(direction, ())):
        ports = [entry["port"] for entry in rule.get("ports", ())]
        for peer in rule["from" if direction == "ingress" else "to"]:
            spaces = peer.get("namespaceSelector")
            near = space == "gansvc" if spaces is None else selects(spaces, {"kubernetes.io/metadata.name": space})
            if near and selects(peer["podSelector"], labels) and (not ports or port in ports):
                return True
    return False


@pytest.mark.parametrize(
    ("direction", "ours", "there", "port", "expected"),
    [
        ("ingress", HEAD, ("gansvc", OURS), 6379, True),
        ("egress", OURS, ("gansvc", HEAD), 8265, True),
        ("egress", OURS, ("kube-system", DNS), 53, True),
        ("ingress", HEAD, ("kuberay", OPERATOR), 8265, True),
        ("ingress", HEAD, ("kuberay", OPERATOR), 6379, False),
        ("ingress", OURS, ("kuberay", OPERATOR), 8265, False),
        ("ingress", HEAD, ("gansvc", OUTSIDERS), 8265, False),
        ("ingress", HEAD, ("elsewhere", OURS), 8265, False),
        ("ingress", HEAD, ("elsewhere", {}), 8265, False),
        ("egress", OURS, ("elsewhere", {}), 443, False),
        ("egress", OURS, ("kube-system", DNS), 443, False),
        ("egress", OUTSIDERS, ("gansvc", HEAD), 8265, False),
    ],
)
def test_the_network_lets_through_what_a_job_needs(
    direction: str, ours: dict[str, str], there: tuple[str, dict[str, str]], port: int, expected: bool
) -> None:
    assert allowed(direction, ours, there, port) is expected


def test_jobs_pods_carry_the_labels_that_the_network_knows() -> None:
    for name in generated():
        for pod in pods_of(yaml.safe_load((K8S / name).read_text())).values():
            assert pod["metadata"]["labels"].items() >= OURS.items()


# --- the role ---------------------------------------------------------------------------------------------------------


def granted() -> set[tuple[str, str]]:
    rules = yaml.safe_load((K8S / "base/role.yaml").read_text())["rules"]
    return {(verb, resource) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}


def used(asked: list[str]) -> set[tuple[str, str]]:
    """Return the verbs and resources that requests stand for, as an API server counts them."""
    found = set()
    for request in asked:
        verb, path = request.split(" ", 1)
        parts = path.partition("?")[0].split("/namespaces/")[1].split("/")[1:]
        resource = "/".join(parts[::2])
        one = {"GET": "get", "POST": "create", "DELETE": "delete"}[verb]
        many = "watch" if "watch=true" in path else "list"
        found.add((many if len(parts) == 1 and verb == "GET" else one, resource))
    return found


def test_the_role_is_what_the_client_uses_and_no_more(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (small := cluster.small) is None:
        pytest.skip("a real API server doesn't tell what it was asked")
    monkeypatch.setenv("GANSVC_STORAGE", str(tmp_path / "jobs"))
    job = api.submit(api.validate(K8S / "examples/job.yaml"), cluster.space.address)
    api.status(job)
    tests_part = len(small.asked)
    cluster.play(job.id, "Running", "RUNNING", rayClusterName="a-cluster")
    cluster.pod(f"{job.id}-x", {"job-name": job.id}, {"phase": "Running"})
    small.logs[f"{job.id}-x"] = ["hello"]
    (small.volume / job.id).mkdir(parents=True)
    del small.asked[tests_part:]
    api.status(job)
    list(api.logs(job))
    next(iter(jobs.watch(cluster.space, job.id)))
    list(cluster.api.watch(RAYJOBS, str(small.version - 1)))[:0]
    api.jobs(cluster=cluster.space.address)
    api.pull(job, tmp_path / "pulled")
    api.stop(job)
    # Newer API servers ask for create as well where a web socket is opened.
    assert used(small.asked) | {("create", "pods/exec")} == granted()


def test_the_role_on_a_real_api_server(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if cluster.small:
        pytest.skip("the small server knows no roles")
    monkeypatch.setenv("GANSVC_STORAGE", str(tmp_path / "jobs"))
    for overlay in OVERLAYS:
        applied = kubectl(cluster, "apply", "-k", str(K8S / "overlays" / overlay))
        assert applied.returncode == 0, applied.stderr
    theirs = Client(Namespace("test", "gansvc"), cluster.api.api)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    answer = theirs._call("POST", "api/v1/serviceaccounts", "gansvc-client/token", asked | {"metadata": {}})
    token = json.loads(answer.read())["status"]["token"]
    monkeypatch.setenv("KUBECONFIG", str(config_with(cluster, tmp_path / "token", token=token)))
    space = Namespace("test", "gansvc")
    spec = api.validate(K8S / "examples/job.yaml")
    quota = theirs.get("api/v1/resourcequotas", "gansvc")
    assert quota
    status = {"hard": quota["spec"]["hard"], "used": dict.fromkeys(quota["spec"]["hard"], "0")}
    theirs._call("PUT", "api/v1/resourcequotas", "gansvc/status", quota | {"status": status})

    # What the role allows, done by the commands.
    job = api.submit(spec, space.address)
    assert api.status(job).phase == "PENDING"
    assert [found.job for found in api.jobs(cluster=space.address)] == [job.id]
    with pytest.raises(ClusterError, match="has no log yet"):
        list(api.logs(job))
    monkeypatch.setattr(patience, "READER", 1)
    assert spec.cluster
    with pytest.raises(ClusterError, match="doesn't start"):  # there is no kubelet; the pod was made and deleted
        reader.read(space, spec.cluster, "x")
    assert api.stop(job).phase == "STOPPED"

    # What it doesn't allow.
    mine = connect(space)
    assert mine.api.configuration.api_key, "by the token, not the administrator's certificate"
    refused: list[Callable[[], object]] = [
        lambda: mine.list_objects("api/v1/secrets"),
        lambda: mine.list_objects("api/v1/configmaps"),
        lambda: mine.list_objects(RAYCLUSTERS),
        lambda: mine.delete(RAYCLUSTERS, "any"),
        lambda: mine.create("api/v1/serviceaccounts", {"metadata": {"name": "x"}}),
        lambda: mine._call("PUT", RAYJOBS, "any/status", {"metadata": {"name": "any"}}),
        lambda: Client(Namespace("test", cluster.space.name), mine.api).list_objects(PODS),
        lambda: jobs.submit(Namespace("test", "default"), jobmanifest.rayjob("a", "a", spec, "/storage")),
    ]
    for ask in refused:
        with pytest.raises(RefusedError, match=r"you may not .*k8s/base/role\.yaml") as caught:
            ask()
        assert caught.value.status == 403
    answers = kubectl(
        cluster, "auth", "can-i", "--list", "-n", "gansvc", "--as=system:serviceaccount:gansvc:gansvc-client"
    )
    assert "pods/exec" in answers.stdout and "secrets" not in answers.stdout
    assert jobfile.load(Path(job.folder) / "job.yaml") == spec

    # The same from inside a pod, which has no kubeconfig but its account's token.
    pod = tmp_path / "serviceaccount"
    pod.mkdir()
    server = urlsplit(mine.api.configuration.host)
    for name, content in {"token": token, "namespace": "gansvc"}.items():
        (pod / name).write_text(content)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(pod / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", mine.api.configuration.ssl_ca_cert)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(server.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    inside = api.submit(spec, "k8s")
    assert connect(Namespace()).space == Namespace("", "gansvc")
    assert inside.id in [found["metadata"]["name"] for found in theirs.list_objects(RAYJOBS)[0]]
    assert api.status(inside).phase == "PENDING" and api.stop(inside).phase == "STOPPED"


def test_kubectl_takes_what_the_code_makes(cluster: Cluster) -> None:
    if cluster.small:
        pytest.skip("kubectl wants a real API server")
    for name in generated():
        applied = kubectl(cluster, "apply", "-n", cluster.space.name, "-f", str(K8S / name))
        assert applied.returncode == 0, applied.stderr
