"""The spec's ``cluster`` section: what a job's own Ray cluster on Kubernetes looks like.

What KubeRay's operator or the API server would refuse is refused here first, with the field's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from gansvc.schema.explain import format_value, refusal
from gansvc.schema.section import Section
from gansvc.spec.capacity import WorkerResources, misfit

LONGEST_NAME = 23
"""Characters of a job's name: the id adds 21, a later attempt's number up to 3, and a RayJob's name ends at 47."""
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_IMAGE = re.compile(
    r"([A-Za-z0-9.-]+(:[0-9]{1,5})?/)?"  # registry
    r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_UNITS = {"Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SMALLEST, _LARGEST = 512 * 2**20, 64 * 2**40


def _object_name(text: str) -> str:
    if len(text) > 253 or not _SUBDOMAIN.fullmatch(text):
        raise refusal(
            f"{format_value(text)} is no Kubernetes name; use lower-case letters, digits, dashes and dots, up to 253"
        )
    return text


def _queue_name(text: str) -> str:
    if len(text) > 63:
        raise refusal(f"{format_value(text)} has {len(text)} characters; a queue's name is a label and has at most 63")
    return _object_name(text)


def _image(text: str) -> str:
    if len(text) > 512 or not _IMAGE.fullmatch(text):
        raise refusal(
            f"{format_value(text)} is no image; write it as registry.example.com/gansvc:0.1.0, or with @sha256:..."
        )
    return text


def _memory(text: str) -> str:
    number, unit = text[:-2], text[-2:]
    # [0-9], because isdigit() takes other scripts' digits too.
    if unit not in _UNITS or not re.fullmatch(r"[1-9][0-9]{0,7}", number):
        raise refusal(f"{format_value(text)} is no amount of memory; write it as 512Mi, 16Gi or 1Ti")
    if not _SMALLEST <= int(number) * _UNITS[unit] <= _LARGEST:
        raise refusal(f"{format_value(text)} is out of range; a Ray node has 512Mi to 64Ti")
    return text


def _label_key(text: str) -> bool:
    prefix, slash, name = text.rpartition("/")
    whole = not slash or (len(prefix) <= 253 and bool(_SUBDOMAIN.fullmatch(prefix)))
    return whole and bool(_LABEL.fullmatch(name))


def _label_value(text: str) -> bool:
    return not text or bool(_LABEL.fullmatch(text))


ObjectName = Annotated[str, AfterValidator(_object_name)]
Memory = Annotated[str, AfterValidator(_memory)]
Seconds = Annotated[int, Field(ge=1, lt=2**31)]


class Toleration(Section):
    """Lets pods run on nodes with that taint."""

    key: str = ""
    """Key of the taint; empty for every one, with operator Exists."""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Empty for every effect."""

    @model_validator(mode="after")
    def _is_one(self) -> Toleration:
        if self.key and not _label_key(self.key):
            raise refusal(f"{format_value(self.key)} is no taint's key; write it as nvidia.com/gpu", ".key")
        if not self.key and self.operator == "Equal":
            raise refusal("key is missing; give the taint's key, or operator: Exists for every taint")
        if self.operator == "Exists" and self.value:
            raise refusal(f"{format_value(self.value)} doesn't go with operator Exists; leave value out", ".value")
        if not _label_value(self.value):
            raise refusal(
                f"{format_value(self.value)} is no taint's value; use letters, digits, dashes, dots", ".value"
            )
        return self


class Head(Section):
    """The head's pod: Ray's own services and the job's driver, no training."""

    cpus: Annotated[int, Field(ge=1, le=1024)] = 2
    memory: Memory = "8Gi"


class Placement(Section):
    """A job's own Ray cluster on Kubernetes, made and removed by KubeRay."""

    image: Annotated[str, AfterValidator(_image)]
    """Image that holds gansvc and Ray, as the cluster's nodes pull it."""
    pull_secrets: tuple[ObjectName, ...] = ()
    """Secrets with the registry's credentials."""
    workers: Annotated[int, Field(ge=1, le=1000)] = 1
    """Worker pods; with max_workers, the fewest."""
    max_workers: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Most worker pods; Ray's autoscaler then adds and removes them. No autoscaling, if left out."""
    cpus: Annotated[int, Field(ge=1, le=1024)] = 4
    """CPUs of a worker pod."""
    gpus: Annotated[int, Field(ge=0, le=16)] = 0
    """NVIDIA GPUs of a worker pod."""
    memory: Memory = "16Gi"
    """Memory of a worker pod, asked for and at most; /dev/shm is counted in."""
    head: Head = Head()
    node_selector: dict[str, str] = Field(default={})
    """Labels of the nodes that worker pods may run on."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that worker pods tolerate."""
    service_account: ObjectName | None = None
    """Service account of the cluster's pods, as for access to an object store."""
    volume: ObjectName | None = None
    """Persistent volume claim that keeps the job folders; ReadWriteMany where there are several nodes. Without it, the
    storage must be an object store."""
    storage_secret: ObjectName | None = None
    """Secret whose keys become environment variables: the object store's credentials and endpoint."""
    priority_class: ObjectName | None = None
    queue: Annotated[str, AfterValidator(_queue_name)] | None = None
    """Kueue's LocalQueue; the job then waits until Kueue lets it in."""
    deadline: Seconds | None = None
    """Seconds after which a job at work is ended as failed; none, if left out."""
    start_deadline: Seconds = 3600
    """Seconds that the cluster may take to get its pods, with their nodes, GPUs and images."""
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    """How often KubeRay starts a failed job again, each time on a new cluster; it goes on from its folder."""

    @field_validator("node_selector", mode="after")
    @classmethod
    def _are_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for key, value in labels.items():
            if not _label_key(key):
                raise refusal(f"{format_value(key)} is no label's key; write it as nvidia.com/gpu.product")
            if not _label_value(value):
                raise refusal(
                    f"{format_value(value)} is no label's value; use up to 63 letters, digits, - _ .", f".{key}"
                )
        return labels

    @model_validator(mode="after")
    def _goes_together(self) -> Placement:
        if self.max_workers is not None and self.max_workers < self.workers:
            raise refusal(f"{self.max_workers} is less than workers, {self.workers}; raise it", ".max_workers")
        if self.max_workers is not None and self.queue:
            raise refusal("Kueue admits a cluster of a fixed size; leave max_workers or queue out", ".max_workers")
        if self.deadline is not None and self.deadline <= self.start_deadline:
            text = (
                f"{self.deadline} s would end before start_deadline, {self.start_deadline} s; raise it, or lower that"
            )
            raise refusal(text, ".deadline")
        if len(set(self.pull_secrets)) < len(self.pull_secrets):
            raise refusal(f"{', '.join(self.pull_secrets)} names a secret twice; name each once", ".pull_secrets")
        return self


def _carries_the_job(placement: Placement, info: ValidationInfo) -> Placement:
    """Refuse a cluster on which the job of the fields before could never start."""
    given: Mapping[str, Any] = info.data
    name, resources = given.get("name"), given.get("resources")
    if name and (len(name) > LONGEST_NAME or not name[0].isalpha()):
        text = f"begin it with a letter and use at most {LONGEST_NAME} characters"
        raise refusal(f"name: {name!r} can't be a RayJob's; {text}")
    if resources is None:
        return placement
    # A job starts before Ray's autoscaler adds any pod to the fewest.
    pods = [WorkerResources(placement.cpus, placement.gpus)] * placement.workers
    if found := misfit(resources, {name: given.get(name) for name in ("training", "search")}, pods, "pods"):
        field, text = found
        raise refusal(f"{field}: {text}; raise cluster.workers, cluster.cpus or cluster.gpus, or lower {field}")
    return placement


JobPlacement = Annotated[Placement, AfterValidator(_carries_the_job)]
"""A placement in a job's spec, which must carry that job."""
