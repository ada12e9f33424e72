"""ddp2: distributed data parallelism with two workers of one thread against one, at the same global batch."""

from __future__ import annotations

import statistics
import tempfile

from gansvc.cluster import driver
from gansvc.cluster.distributed import train_distributed
from gansvc.gan.run import RunPlan
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import History

from .job import job, settings
from .measured import Aim, Measured, from_pairs, say

CRITIC_STEPS = 60
"""Of each loss."""


def measure(rounds: int | None = None) -> Measured:
    """Compare the speed of the training loop alone, on CPUs: a group of workers takes long to start."""
    spec = job(training__workers=2, resources__gpus_per_worker=0)
    cluster, rounds, turns = driver.connect(spec), rounds or 3, []
    for number in range(1, rounds + 1):
        say(f"ddp2: round {number} of {rounds}")
        turns.append([_seconds(spec, cluster, workers) for workers in (1, 2)])
    pairs = [[(one[loss.label], two[loss.label]) for one, two in turns] for loss in spec.losses]
    what = (
        "img/s of two workers of 1 thread over one worker of 1 thread under Ray Train, without the start: "
        f"{CRITIC_STEPS} critic steps of {', '.join(loss.label for loss in spec.losses)} each, {settings(spec)} over "
        "all workers"
    )
    return from_pairs("ddp2", what, *pairs, aim=Aim("at least", 1.7, "x on 2 free cores"))


def _seconds(spec: JobSpec, cluster: driver.Cluster, workers: int) -> dict[str, float]:
    """Return each loss's seconds per critic image: the median over the steps after the first quarter."""
    budget = CRITIC_STEPS * spec.training.batch_size
    with tempfile.TemporaryDirectory() as path:
        folders = {loss.label: Folder(path) / loss.label for loss in spec.losses}
        tasks = [
            (RunPlan(spec, name, 0, epochs=1, evaluations=1, images=budget, is_trial=True), folder)
            for name, folder in folders.items()
        ]
        train_distributed(tasks, cluster.assets, cluster.worker, workers)
        return {name: _median(folder) for name, folder in folders.items()}


def _median(folder: Folder) -> float:
    lines = folder.read_lines("history.jsonl", History)
    return 1 / statistics.median(line.images_per_second for line in lines[-(-len(lines) // 4) :])
