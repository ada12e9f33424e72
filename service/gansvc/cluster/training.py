"""Training one run in the process at hand, and what every way to train runs needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import ray
import torch

from gansvc.cluster.earlier import summarise_scores
from gansvc.gan import checkpoint
from gansvc.gan.run import Platform, RunPlan
from gansvc.gan.train import train
from gansvc.spec.capacity import WorkerResources
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord, ValidationScore

PlannedRun = tuple[RunPlan, Folder]
"""A run, and the folder that it leaves its records in."""


@dataclass(frozen=True)
class Assets:
    """What every training of a job reads, put into the object store once."""

    images: ray.ObjectRef
    """The train split, uint8 (N, C, H, W)."""
    validator: ray.ObjectRef
    """A gan.run.Validator."""
    labels: ray.ObjectRef
    """The train split's classes, int64 (N,), or None where the data set has none."""
    train_images: int
    """Size of the train split."""
    content: Mapping[str, str] = field(default_factory=dict)
    """Hashes of the data set and of the extractor's weights; see RunPlan."""


def train_here(
    plan: RunPlan, assets: Assets, folder: Folder, worker: WorkerResources, report: Callable[[ValidationScore], None]
) -> RunRecord:
    """Train in this process, as its only worker; ``report`` is called after each validation score."""
    torch.set_num_threads(max(1, int(worker.cpus)))
    device = torch.device("cuda" if worker.gpus and torch.cuda.is_available() else "cpu")
    platform = Platform(0, 1, device, lambda module: module, report)
    images, validator, labels = ray.get([assets.images, assets.validator, assets.labels])
    return train(plan, images, validator, folder, platform, labels)


def trial_report(todo: list[PlannedRun]) -> dict[str, float]:
    """Return what several runs together tell Tune; see ``earlier.summarise_scores``."""
    return summarise_scores([folder.read_lines(layout.EVALUATIONS, ValidationScore) for _, folder in todo])


def ended_record(run: PlannedRun) -> RunRecord | None:
    plan, folder = run
    return checkpoint.run_record(folder, plan.identity())


def parent_folder(todo: list[PlannedRun]) -> Folder:
    """Return the folder that the runs' folders are in."""
    return todo[0][1].parent
