"""The evaluators: actors that score runs' best checkpoints, and the tasks that prepare the real features."""

from __future__ import annotations

import time
from collections.abc import Iterator

import ray
import torch
from ray.util import ActorPool

from gansvc.cluster.training import Share
from gansvc.gan import evaluate
from gansvc.gan.evaluate import Features, Validator
from gansvc.gan.export import best_generator
from gansvc.gan.images import png
from gansvc.records import RunRecord, Score
from gansvc.spec import JobSpec
from gansvc.store import Folder, run_name

GRID = 64
REAL = "real"
"""Label of the noise floor's score."""


def validator(spec: JobSpec, images: torch.Tensor, share: Share) -> ray.ObjectRef:
    """Return a reference to the job's Validator, made in a worker from the validation images."""
    return ray.remote(_validator).options(num_cpus=share.cpus, num_gpus=share.gpus).remote(spec, images, share)


def score_all(
    spec: JobSpec,
    runs: list[RunRecord],
    train: Folder,
    target: Folder,
    splits: dict[str, torch.Tensor],
    share: Share,
    at_once: int,
) -> Iterator[str]:
    """Score runs' best checkpoints and, as the noise floor, the real train split; yield each one's name when done.

    Args:
        spec: the job's spec.
        runs: finished runs.
        train: the folder that holds the runs' folders.
        target: the evaluation folder.
        splits: uint8 images of train and of the reference split.
        share: what an evaluator asks of the cluster.
        at_once: evaluators that work at the same time.
    """
    wanted: list[RunRecord | None] = [None, *runs]
    missing = [run for run in wanted if not target.exists(f"{_name(run)}.json")]
    if not missing:
        return
    images = ray.put(splits)
    asks = ray.remote(Evaluator).options(num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=2, max_task_retries=2)
    pool = ActorPool([asks.remote(spec, images, share) for _ in range(min(at_once, len(missing)))])
    yield from pool.map_unordered(lambda actor, run: actor.score.remote(run, train, target), missing)


class Evaluator:
    """Loads the extractor once and scores one run after the other."""

    def __init__(self, spec: JobSpec, splits: dict[str, torch.Tensor], share: Share) -> None:
        torch.set_num_threads(max(1, int(share.cpus)))
        self.spec, self.splits, self.device = spec, splits, _device(share)
        self.reference = splits[spec.evaluation.reference]
        self.real = evaluate.reference_features(self.reference, spec.evaluation.extractor, self.device)

    def score(self, run: RunRecord | None, train: Folder, target: Folder) -> str:
        """Write the score and the grid of one run, or of the real train split for None; return its name."""
        started, evaluation = time.monotonic(), self.spec.evaluation
        if run is None:
            label, seed, step, shown, fake = self._real()
        else:
            label, seed, step = run.label, run.seed, run.best_step or 0
            shown, fake = self._generated(train / run_name(label, seed) / "checkpoints")
        found = evaluate.score(label, seed, step, fake, self.reference, self.real, evaluation)
        target.write(f"{_name(run)}.png", png(shown))
        target.write_record(f"{_name(run)}.json", found.model_copy(update={"seconds": time.monotonic() - started}))
        return _name(run)

    def _generated(self, weights: Folder) -> tuple[torch.Tensor, Features]:
        evaluation = self.spec.evaluation
        network = best_generator(self.spec, self.reference.shape[1], weights).to(self.device)
        dim = self.spec.network.latent_dim
        images = list(evaluate.generate(network, dim, evaluation.seed, evaluation.samples))
        return torch.cat(images)[:GRID], evaluate.extract(images, evaluation.extractor, self.device)

    def _real(self) -> tuple[str, int, int, torch.Tensor, Features]:
        """Take as many real images as are generated, or all there are, from the train split.

        Where the train split itself is the reference, the test split stands in: a set against itself has no noise.
        """
        evaluation = self.spec.evaluation
        real = self.splits["test" if evaluation.reference == "train" else "train"]
        chosen = real[evaluate.subset(len(real), evaluation.samples, evaluation.seed)]
        # Spread over the set: neighbours in a file are often alike.
        shown = chosen[torch.linspace(0, len(chosen) - 1, min(GRID, len(chosen))).long()]
        return REAL, 0, 0, shown, evaluate.reference_features(chosen, evaluation.extractor, self.device)


def _validator(spec: JobSpec, images: torch.Tensor, share: Share) -> Validator:
    torch.set_num_threads(max(1, int(share.cpus)))
    evaluation = spec.evaluation
    chosen = images[evaluate.subset(len(images), evaluation.validation_samples, evaluation.seed)]
    features = evaluate.reference_features(chosen, evaluation.extractor, _device(share))
    objective = spec.search.objective if spec.search else "kid"
    return Validator(evaluation, objective, features, spec.network.latent_dim)


def _device(share: Share) -> str:
    return "cuda" if share.gpus and torch.cuda.is_available() else "cpu"


def _name(run: RunRecord | None) -> str:
    return REAL if run is None else run_name(run.label, run.seed)


def scores(folder: Folder) -> list[Score]:
    """Return all scores of an evaluation folder, the noise floor left out."""
    names = [name for name in folder.names() if name.endswith(".json") and name != f"{REAL}.json"]
    found = (folder.read_record(name, Score) for name in names)
    return [score for score in found if score is not None]
