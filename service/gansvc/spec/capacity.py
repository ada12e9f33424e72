"""What workers ask for, and how many of them fit on nodes: each has all of its CPUs and GPUs on one node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import Field

from gansvc.schema.section import Section

GPUS_PER_WORKER = 1.0
GPUS_PER_TRIAL = 0.25
_ROUNDING = 1e-9


@dataclass(frozen=True)
class WorkerResources:
    """What one worker asks for, or what one node has."""

    cpus: float
    gpus: float

    def bundle(self) -> dict[str, float]:
        """Return it as Ray's resources."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})

    def holds(self, worker: WorkerResources) -> int:
        """Return how many of a worker fit on this node."""
        by_cpus = self.cpus / worker.cpus + _ROUNDING
        return int(min(by_cpus, self.gpus / worker.gpus + _ROUNDING) if worker.gpus else by_cpus)

    def describe(self, with_gpus: bool) -> str:
        """Return it in words, for GPUs that nobody asks for without them."""
        return f"{self.cpus:g} CPUs" + (f" and {self.gpus:g} GPUs" if with_gpus or self.gpus else "")


class Resources(Section):
    """What one worker or trial asks of the cluster."""

    cpus_per_worker: Annotated[float, Field(gt=0, le=1024)] = 1
    """CPUs of a training worker, of a trial and of an evaluator."""
    gpus_per_worker: Annotated[float, Field(ge=0, le=64)] | None = Field(
        None, description=f"GPUs of a training worker; {GPUS_PER_WORKER:g} where the cluster has GPUs, if left out."
    )
    gpus_per_trial: Annotated[float, Field(ge=0, le=64)] | None = Field(
        None, description=f"GPUs of a trial's worker; {GPUS_PER_TRIAL:g} where the cluster has GPUs, if left out."
    )


class SizedSection(Protocol):
    """A spec's ``training`` or ``search``."""

    @property
    def workers(self) -> int: ...


def worker_resources(asked: Resources, has_gpus: bool) -> dict[str, WorkerResources]:
    """Return what a worker of each section, ``training`` and ``search``, asks of a cluster with GPUs or without."""
    gpus = {
        "training": (asked.gpus_per_worker, GPUS_PER_WORKER),
        "search": (asked.gpus_per_trial, GPUS_PER_TRIAL),
    }
    return {
        section: WorkerResources(asked.cpus_per_worker, given if given is not None else usual * has_gpus)
        for section, (given, usual) in gpus.items()
    }


def count_fitting(worker: WorkerResources, nodes: Iterable[WorkerResources]) -> int:
    """Return how many workers fit on nodes."""
    return sum(node.holds(worker) for node in nodes)


def misfit(
    asked: Resources, sections: Mapping[str, SizedSection | None], nodes: Iterable[WorkerResources], kind: str = "nodes"
) -> tuple[str, str] | None:
    """Return the field that asks for more workers than fit, and how they don't, or None where all fit.

    Args:
        asked: the spec's ``resources``.
        sections: the spec's ``training`` and ``search``, by these names; None for one that it doesn't have.
        nodes: what there is.
        kind: what the nodes are called.
    """
    nodes = list(nodes)
    each = worker_resources(asked, any(node.gpus for node in nodes))
    for name, section in sections.items():
        if section is not None and count_fitting(each[name], nodes) < section.workers:
            asks_gpus = each[name].gpus > 0
            groups = [f"{number} {kind} of {node.describe(asks_gpus)}" for node, number in Counter(nodes).items()]
            asked_for = f"{section.workers} workers of {each[name].describe(asks_gpus)}"
            return f"{name}.workers", f"{asked_for} don't fit {', '.join(groups) or f'no {kind}'}"
    return None
