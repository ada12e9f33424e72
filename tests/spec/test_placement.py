"""The spec's cluster section: what it refuses, with which words, and that it is no part of what a job is."""

from __future__ import annotations

from typing import Any

import pytest

from gansvc.errors import SpecError
from gansvc.gan.run import RunPlan
from gansvc.spec import jobfile
from gansvc.spec.identity import JobIdentity, of_job
from gansvc.spec.job import JobSpec

SPEC = {"name": "small", "dataset": "histology", "losses": ["lsgan", "wgan"]}


def make(cluster: dict[str, Any] | None = None, **fields: Any) -> JobSpec:
    data = SPEC | fields | ({} if cluster is None else {"cluster": {"image": "gansvc:0.1.0"} | cluster})
    return jobfile.validate(data)


def identity(spec: JobSpec) -> tuple[JobIdentity, dict[str, object]]:
    return of_job(spec), RunPlan(spec, "lsgan", 0, 1, 1).identity()


def test_a_job_is_the_same_wherever_it_runs() -> None:
    here, there = make(), make({"volume": "jobs", "gpus": 2})
    assert identity(here) == identity(there)
    assert "cluster" not in jobfile.dump(here) and jobfile.parse(jobfile.dump(there)) == there


def test_set_makes_the_section() -> None:
    spec = make().with_values({"cluster.image": "a/b:c", "cluster.head.cpus": 4})
    assert spec.cluster and (spec.cluster.image, spec.cluster.head.cpus) == ("a/b:c", 4)
    assert (spec.cluster.workers, spec.cluster.max_workers, spec.cluster.gpus) == (1, None, 0)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"image": ""}, r"cluster\.image: ''"),
    ({"image": "Registry/UPPER case"}, r"cluster\.image: .*registry\.example\.com"),
    ({"image": "a:b:c"}, r"cluster\.image"),
    ({"image": "x" * 600}, r"cluster\.image"),
    ({"pull_secrets": ["Under_score"]}, r"cluster\.pull_secrets\[0\]: 'Under_score'"),
    ({"pull_secrets": ["a", "a"]}, r"cluster\.pull_secrets: a, a names a secret twice"),
    ({"workers": 0}, r"cluster\.workers: 0"),
    ({"workers": 3, "max_workers": 2}, r"cluster\.max_workers: 2 is less than workers, 3"),
    ({"max_workers": 2, "queue": "team"}, r"cluster\.max_workers: Kueue"),
    ({"cpus": 0}, r"cluster\.cpus: 0"),
    ({"cpus": 1.5}, r"cluster\.cpus: 1\.5"),
    ({"gpus": -1}, r"cluster\.gpus: -1"),
    ({"gpus": "1"}, r"cluster\.gpus: '1'"),
    ({"memory": "16G"}, r"cluster\.memory: '16G'.*512Mi, 16Gi"),
    ({"memory": "1Mi"}, r"cluster\.memory: '1Mi' is out of range"),
    ({"memory": "٣Gi"}, r"cluster\.memory"),
    ({"memory": "Gi"}, r"cluster\.memory"),
    ({"head": {"memory": "0Gi"}}, r"cluster\.head\.memory"),
    ({"node_selector": {"a b": "c"}}, r"cluster\.node_selector: 'a b' is no label's key"),
    ({"node_selector": {"": "c"}}, r"cluster\.node_selector"),
    ({"node_selector": {"UPPER/a": "c"}}, r"cluster\.node_selector"),
    ({"node_selector": {"a/b": "c d"}}, r"cluster\.node_selector\.a/b: 'c d'"),
    ({"node_selector": {"a": "x" * 64}}, r"cluster\.node_selector\.a"),
    ({"tolerations": [{"operator": "Equal"}]}, r"cluster\.tolerations\[0\]: key is missing"),
    ({"tolerations": [{"key": "a/b/c"}]}, r"cluster\.tolerations\[0\]\.key"),
    ({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, r"cluster\.tolerations\[0\]\.value"),
    ({"tolerations": [{"key": "a", "value": "b c"}]}, r"cluster\.tolerations\[0\]\.value"),
    ({"tolerations": [{"key": "a", "effect": "Never"}]}, r"cluster\.tolerations\[0\]\.effect"),
    ({"service_account": "A"}, r"cluster\.service_account"),
    ({"volume": "a..b"}, r"cluster\.volume"),
    ({"volume": "a" * 254}, r"cluster\.volume"),
    ({"storage_secret": "-a"}, r"cluster\.storage_secret"),
    ({"priority_class": "a b"}, r"cluster\.priority_class"),
    ({"queue": "x" * 64}, r"cluster\.queue: .* 64 characters"),
    ({"queue": "Team"}, r"cluster\.queue"),
    ({"deadline": 0}, r"cluster\.deadline: 0"),
    ({"deadline": 2**31}, r"cluster\.deadline"),
    ({"deadline": 60}, r"cluster\.deadline: 60 s would end before start_deadline, 3600 s"),
    ({"start_deadline": 0}, r"cluster\.start_deadline: 0"),
    ({"retries": -1}, r"cluster\.retries: -1"),
    ({"imag": "x"}, r"cluster: unknown field 'imag'; did you mean 'image'"),
]


@pytest.mark.parametrize(("cluster", "words"), REFUSED, ids=[str(case[0])[:40] for case in REFUSED])
def test_what_kubernetes_would_refuse_is_refused_with_the_fields_name(cluster: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        make(cluster)
    assert len(str(caught.value).splitlines()) == 1


def test_an_image_is_needed() -> None:
    with pytest.raises(SpecError, match=r"cluster\.image is missing"):
        jobfile.validate(SPEC | {"cluster": {}})


@pytest.mark.parametrize("image", ["gansvc", "reg.example.com:5000/team/gansvc:0.1.0", "a/b@sha256:" + "0" * 64])
def test_images_as_registries_write_them(image: str) -> None:
    assert make({"image": image}).cluster


@pytest.mark.parametrize("name", ["x" * 24, "28x28"])
def test_a_name_that_no_rayjob_can_have(name: str) -> None:
    assert make(name=name)
    with pytest.raises(SpecError, match=f"name: '{name}' can't be a RayJob's"):
        make({}, name=name)


@pytest.mark.parametrize(
    ("cluster", "fields", "words"),
    [
        ({"cpus": 2}, {"training": {"workers": 3}}, r"training\.workers: 3 workers of 1 CPUs don't fit 1 pods of 2"),
        # Two pods of three CPUs hold two workers of two, not three.
        ({"cpus": 3, "workers": 2}, {"training": {"workers": 3}, "resources": {"cpus_per_worker": 2}}, "training.work"),
        ({}, {"resources": {"gpus_per_worker": 1}}, "1 CPUs and 1 GPUs don't fit 1 pods of 4 CPUs and 0 GPUs"),
        ({"gpus": 1}, {"training": {"workers": 2}}, r"training\.workers: 2 workers of 1 CPUs and 1 GPUs"),
        ({}, {"search": {"workers": 5}}, r"search\.workers: 5"),
        # The autoscaler comes too late: a job asks for a run's share when it starts.
        ({"cpus": 1, "max_workers": 4}, {"training": {"workers": 2}}, r"training\.workers: 2"),
    ],
)
def test_a_cluster_that_could_never_start_a_run(cluster: dict[str, Any], fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        make(cluster, **fields)


def test_a_cluster_that_just_holds_a_run() -> None:
    assert make({"cpus": 2, "workers": 2}, training={"workers": 4})
    assert make({"gpus": 1, "workers": 2}, training={"workers": 2}, search={"workers": 8})
    assert make({"cpus": 1}, training={"workers": 10}, resources={"cpus_per_worker": 0.1})
