"""evaluate: six checkpoints through the evaluators against six calls of torch-fidelity on the same images."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch_fidelity
from torch.utils.data import Dataset

from gansvc.catalog.labels import REAL
from gansvc.catalog.metrics import FIDELITY_KEYS
from gansvc.cluster import driver
from gansvc.errors import RunError
from gansvc.gan import checkpoint
from gansvc.gan.modelfolder import load_best_generator
from gansvc.gan.networks import build_generator
from gansvc.gan.sampling import generate
from gansvc.gan.scoring import scorefiles
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord

from .job import device, job, threads
from .measured import Aim, Measured, alternate, from_pairs

CHECKPOINTS = 6
TOLERANCE = 1e-3
"""Relative difference up to which two numbers are the same."""
_LABEL = "lsgan"


class Tensors(Dataset[torch.Tensor]):
    """Images as torch-fidelity takes them: one uint8 tensor (3, H, W) each."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def measure(rounds: int | None = None) -> Measured:
    """Score generators with random weights both ways.

    Raises:
        RunError: the numbers differ.
    """
    # torch-fidelity has no audits.
    spec = job(evaluation__audit=False)
    asked, extractor = spec.evaluation, spec.evaluation.extractor
    cluster = driver.connect(spec)
    _register(spec)
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(path)
        runs = _checkpoints(spec, cluster.images.channels, folder / "train")

        def plain() -> float:
            return _plain(spec, cluster.images.test, runs, folder, theirs)

        def ours() -> float:
            return _ours(spec, cluster, runs, folder)

        theirs: list[dict[str, float]] = []
        pairs = alternate("evaluate", rounds or 3, plain, ours)
        scored = {score.seed: score.metrics for score in scorefiles.read_scores(folder / "evaluation")}
    for seed, metrics in enumerate(theirs):
        refuse_unlike(scored[seed], metrics)
    what = (
        f"scoring {CHECKPOINTS} checkpoints ({', '.join(asked.metrics)}) by as many evaluators as CPUs, their start "
        f"and the reference's features counted in, over {CHECKPOINTS} calls of torch-fidelity with all threads: "
        f"{extractor.name} at {extractor.size} px, {asked.samples} images against {len(cluster.images.test)} of "
        f"{spec.dataset.name}; all numbers agree to {TOLERANCE:g}"
    )
    return from_pairs("evaluate", what, pairs, aim=Aim("at least", 2, "x"))


def refuse_unlike(ours: dict[str, float], theirs: dict[str, float]) -> None:
    """Raise a RunError if a metric of ours is not the one that torch-fidelity gives under its own key."""
    for column, key in FIDELITY_KEYS.items():
        if not math.isclose(ours[column], theirs[key], rel_tol=TOLERANCE, abs_tol=1e-6):
            raise RunError(f"evaluate: {column} is {ours[column]!r} here, {theirs[key]!r} by torch-fidelity")


def _ours(spec: JobSpec, cluster: driver.Cluster, runs: list[RunRecord], folder: Folder) -> float:
    """Score the checkpoints anew: nothing is cached, and the real images' own score is passed over."""
    shutil.rmtree(Path(os.environ["GANSVC_CACHE"], "features"), ignore_errors=True)
    folder.delete("evaluation")
    (folder / "evaluation").write(f"{REAL}.json", "{}")
    started = time.monotonic()
    if failed := cluster.evaluate(spec, runs, folder):
        raise RunError(f"evaluate: {failed}")
    return time.monotonic() - started


def _plain(
    spec: JobSpec, real: torch.Tensor, runs: list[RunRecord], folder: Folder, found: list[dict[str, float]]
) -> float:
    """Generate and score as one would by hand, one checkpoint after the other; ``found`` gets the metrics."""
    started = time.monotonic()
    found.clear()
    with threads():
        for run in runs:
            weights = folder / "train" / layout.run_name(run.label, run.seed) / "checkpoints"
            network = load_best_generator(spec, real.shape[1], weights).to(device())
            made = generate(network, spec.network.latent_dim, spec.evaluation.seed, spec.evaluation.samples)
            found.append(_torch_fidelity(spec, torch.cat(list(made)), real))
    return time.monotonic() - started


def _torch_fidelity(spec: JobSpec, fake: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    metrics: dict[str, float] = torch_fidelity.calculate_metrics(
        input1=Tensors(fake),
        input2=Tensors(real),
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        feature_extractor=spec.evaluation.extractor.name,
        # The default, 1000, is more than there are.
        kid_subset_size=min(1000, len(fake), len(real)),
        cuda=device() == "cuda",
        verbose=False,
    )
    return metrics


def _register(spec: JobSpec) -> None:
    """Make the job's extractor known to torch-fidelity under its name, once a process."""
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    extractor = spec.evaluation.extractor
    kind: Any = type(extractor.build())

    class Registered(kind):  # type: ignore[misc]
        """The extractor with the signature that torch-fidelity calls."""

        def __init__(self, name: str, features_list: list[str], **settings: object) -> None:
            super().__init__()

    if extractor.name not in FEATURE_EXTRACTORS_REGISTRY:
        torch_fidelity.register_feature_extractor(extractor.name, Registered)


def _checkpoints(spec: JobSpec, channels: int, train: Folder) -> list[RunRecord]:
    """Write checkpoints of untrained generators, whose batch statistics are those of their own images."""
    runs = []
    for seed in range(CHECKPOINTS):
        torch.manual_seed(seed)
        network = build_generator(spec.network, channels, spec.dataset.size)
        with torch.no_grad():
            for _ in range(50):
                network(torch.randn(spec.training.batch_size, spec.network.latent_dim))
        checkpoint.save_best(train / layout.run_name(_LABEL, seed) / "checkpoints", network.state_dict(), 1, 0.0)
        runs.append(RunRecord(label=_LABEL, seed=seed, values={}, state="finished", best_step=1))
    return runs
