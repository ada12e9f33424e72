"""search: the service against the plain loop on the same trials; trial_start_s: the cost of one more trial's start."""

from __future__ import annotations

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import ray
import torch

from gansvc.catalog.spaces import Value
from gansvc.cluster import driver
from gansvc.cluster.proposals import draw_values
from gansvc.errors import RunError
from gansvc.gan.run import RunPlan
from gansvc.gan.scoring.validation import Validator
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import Start

from .job import device, job, settings, threads
from .measured import Aim, Measured, alternate, from_pairs, from_values
from .plain import PlainLoop

TRIALS, IMAGES, SCORES, SCORED = 8, 2000, 4, 50
"""Trials of each loss, critic images and validation scores of a trial, and generated images of a score."""
STARTED = 12
"""Trials whose starts are timed, the first of each process left out."""


def search(rounds: int | None = None) -> Measured:
    """Search three losses both ways; ASHA stops trials as it does in a job."""
    budget = {"trials": TRIALS, "images": IMAGES, "evaluations": SCORES}
    spec = job(search=budget, evaluation__validation_samples=SCORED)
    cluster = driver.connect(spec)
    validate: Validator = ray.get(cluster.assets.validator)
    trained: list[float] = []
    pairs = alternate(
        "search",
        rounds or 1,
        partial(_plain, spec, cluster.images.train, validate),
        partial(_ours, spec, cluster, trained),
    )
    what = (
        f"a search of {TRIALS} trials of {IMAGES} images and {SCORES} scores of {SCORED} images each through the "
        "service, its processes' start counted in, the cluster's not, over the same trials by the plain loop with all "
        f"threads, one after the other: {', '.join(loss.label for loss in spec.losses)}, {settings(spec)}; by stopping "
        f"trials early the service trained on {statistics.mean(trained):.0%} of the plain loop's images"
    )
    return from_pairs("search", what, pairs, aim=Aim("at least", 2, "x"))


def trial_start(rounds: int | None = None) -> Measured:
    """Time what lies between the end of a trial and the first step of the next one in the same process."""
    budget = {"trials": STARTED, "images": 1, "evaluations": 1, "scheduler": "none"}
    spec = job(losses=["lsgan"], search=budget, evaluation__validation_samples=50)
    cluster, gaps = driver.connect(spec), []
    for _ in range(rounds or 1):
        with tempfile.TemporaryDirectory() as path:
            cluster.search(spec, ["lsgan"], Folder(path))
            gaps += _gaps(Path(path), "lsgan")
    what = (
        "seconds, no ratio: from the end of one trial to the first step of the next in the same process, its actor "
        f"reused, in a search of {STARTED} trials of one step: {settings(spec)}"
    )
    return from_values("trial_start_s", what, gaps, Aim("under", 0.5, " s"))


def _ours(spec: JobSpec, cluster: driver.Cluster, trained: list[float]) -> float:
    """Return the seconds of a search; ``trained`` gets the share of the trials' budget that was trained on."""
    labels = [loss.label for loss in spec.losses]
    with tempfile.TemporaryDirectory() as path:
        started = time.monotonic()
        found = cluster.search(spec, labels, Folder(path))
        seconds = time.monotonic() - started
    trials = [trial for label in labels for trial in found[label]]
    if len(trials) < TRIALS * len(labels) or not all(t.state in ("finished", "stopped early") for t in trials):
        raise RunError(f"not all trials ended well: {[(t.label, t.state, t.reason) for t in trials]}")
    trained.append(sum(trial.critic_images for trial in trials) / (len(trials) * IMAGES))
    return seconds


def _plain(spec: JobSpec, images: torch.Tensor, validate: Validator) -> float:
    started = time.monotonic()
    with threads():
        for loss in spec.losses:
            for values in draw_values(spec, loss.label):
                _plain_trial(spec, loss.label, values, images, validate)
    return time.monotonic() - started


def _plain_trial(
    spec: JobSpec, label: str, values: dict[str, Value], images: torch.Tensor, validate: Validator
) -> None:
    sampled = spec.with_values({f"losses.{label}.{field}": value for field, value in values.items()})
    plan = RunPlan(sampled, label, seed=0, epochs=1, evaluations=SCORES, images=IMAGES)
    loop, steps = PlainLoop(sampled, plan.loss, images, device=device()), plan.steps(len(images))
    score_at = set(plan.evaluation_steps(steps))

    def score(step: int) -> None:
        if step in score_at:
            validate(loop.generator)
            loop.generator.train()

    loop.steps(steps, score)


def _gaps(folder: Path, label: str) -> list[float]:
    """Return the seconds from each trial's end to the first step of the trial that takes its place.

    Which one that is makes no difference to their sum.
    """
    starts, ends = [], []
    for trial in sorted((folder / label).glob(f"trial-*/{layout.seed_name(0)}")):
        (start,) = Folder(trial).read_lines("starts.jsonl", Start)
        starts.append(start.time)
        ends.append((trial / "run.json").stat().st_mtime)
    starts.sort()
    ends.sort()
    first = next((at for at, start in enumerate(starts) if start > ends[0]), len(starts))
    return [start - end for start, end in zip(starts[first:], ends, strict=False)]
