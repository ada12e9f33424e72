"""The ``cluster`` sections that Kubernetes may meet, drawn at random, and the RayJobs that we make of them."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from gansvc.client.kuberay import jobmanifest, pods
from gansvc.errors import SpecError
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z0-9]{1,9})?", fullmatch=True)
LABELS = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", fullmatch=True)
KEYS = st.one_of(LABELS, st.builds("{}/{}".format, NAMES, LABELS))
MEMORY = st.one_of(st.integers(512, 9999).map("{}Mi".format), st.integers(1, 2048).map("{}Gi".format))
TOLERATIONS = st.one_of(
    st.fixed_dictionaries({"key": KEYS, "value": st.one_of(LABELS, st.just(""))}),
    st.fixed_dictionaries(
        {"operator": st.just("Exists")},
        optional={"key": KEYS, "effect": st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"])},
    ),
)
WORDS = st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
IMAGES = st.builds("{}/{}:{}".format, NAMES, WORDS, LABELS) | st.builds("{}/{}@sha256:{}".format, NAMES, WORDS, DIGESTS)
SECTIONS = st.fixed_dictionaries(
    {"image": IMAGES},
    optional={
        "pull_secrets": st.lists(NAMES, max_size=3, unique=True),
        "workers": st.integers(1, 60),
        "max_workers": st.integers(50, 1000),
        "cpus": st.integers(1, 1024),
        "gpus": st.integers(0, 16),
        "memory": MEMORY,
        "head": st.fixed_dictionaries({}, optional={"cpus": st.integers(1, 1024), "memory": MEMORY}),
        "node_selector": st.dictionaries(KEYS, LABELS, max_size=3),
        "tolerations": st.lists(TOLERATIONS, max_size=3),
        "service_account": NAMES,
        "volume": NAMES,
        "storage_secret": NAMES,
        "priority_class": NAMES,
        "queue": NAMES,
        "deadline": st.integers(3000, 2**31 - 1),
        "start_deadline": st.integers(1, 4000),
        "retries": st.integers(0, 20),
    },
)


def make(cluster: dict[str, Any], **fields: Any) -> JobSpec:
    return jobfile.validate({"name": "small", "dataset": "histology", "losses": ["lsgan"], "cluster": cluster} | fields)


def tries(count: int) -> settings:
    return settings(max_examples=count, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def sent(section: dict[str, Any]) -> dict[str, Any] | None:
    """Return the RayJob of a job with that section, or None if our models refuse it."""
    try:
        spec = make(section)
    except SpecError as error:
        assert all(line.startswith("cluster") for line in str(error).splitlines())
        return None
    storage = pods.STORAGE if section.get("volume") else "s3://bucket/jobs"
    return jobmanifest.rayjob("small-20260101-000000-abcd", "small-20260101-000000-abcd", spec, storage)
