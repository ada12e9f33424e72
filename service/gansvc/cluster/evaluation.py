"""The evaluators: actors that share the scoring of runs' best checkpoints, and the task that makes the validator."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any

import ray
import torch
from torch import nn

from gansvc.cluster.training import Share
from gansvc.gan import audit, evaluate, usefulness
from gansvc.gan.data import Images
from gansvc.gan.evaluate import CHUNK, Features, Validator, joined
from gansvc.gan.export import best_generator
from gansvc.gan.images import png
from gansvc.records import RunRecord, Score
from gansvc.spec import JobSpec
from gansvc.store import Folder, run_name

GRID = 64
REAL = "real"
"""Label of the noise floor's score."""
AUDIT, USEFULNESS = ".audit.json", ".usefulness.json"
"""What follows a run's name in the name of its audit, and of the usefulness of its images."""

Prepared = tuple[Features, audit.Reals | None]
"""Features of the reference split, and what the audits share, where there are any."""
Extracted = tuple[Features, float]
"""Features, and the seconds that an evaluator took for them."""
Task = tuple[RunRecord | None, int | None]
"""A run, or None for the noise floor, and the part of its samples to extract, or None to score it."""


def validator(spec: JobSpec, images: torch.Tensor, share: Share) -> ray.ObjectRef:
    """Return a reference to the job's Validator, made in a worker from the validation images."""
    return ray.remote(_validator).options(num_cpus=share.cpus, num_gpus=share.gpus).remote(spec, images, share)


def score_all(
    spec: JobSpec,
    runs: list[RunRecord],
    train: Folder,
    target: Folder,
    images: Images,
    share: Share,
    at_once: int,
) -> Iterator[str]:
    """Score runs' best checkpoints and, as the noise floor, the real train split; yield each one's name when done.

    Where there are fewer of them than evaluators, the evaluators share each run's samples; the scores are the same.

    Args:
        spec: the job's spec.
        runs: finished runs.
        train: the folder that holds the runs' folders.
        target: the evaluation folder.
        images: the data set.
        share: what an evaluator asks of the cluster.
        at_once: evaluators that work at the same time.
    """
    # The noise floor comes last: by then its features are cached, since the audits need them too.
    wanted: list[RunRecord | None] = [*runs, None]
    missing = [run for run in wanted if not target.exists(f"{_name(run)}.json")]
    if not missing:
        return
    parts = 1 if len(missing) >= at_once else min(at_once, -(-spec.evaluation.samples // CHUNK))
    todo: deque[Task] = deque((run, part) for run in missing for part in range(parts if run else 1))
    data = ray.put(images)
    asks = ray.remote(Evaluator).options(num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=2, max_task_retries=2)
    useful = usefulness.chosen(spec, runs)
    actors = (asks.remote(spec, data, train, target, share, useful) for _ in range(min(at_once, len(todo))))
    yield from _shared_out(todo, parts, {actor.__ray_ready__.remote(): actor for actor in actors})


def _shared_out(todo: deque[Task], parts: int, at_work: dict[ray.ObjectRef, Any]) -> Iterator[str]:
    """Give each evaluator its next task when it is up and free; yield the name of each run that is scored.

    The features stay in the object store: this process passes on references.
    """
    left = Counter(_name(run) for run, _ in todo)
    made: dict[str, list[ray.ObjectRef]] = defaultdict(list)
    begun: dict[ray.ObjectRef, Task] = {}
    prepared: ray.ObjectRef | None = None
    while todo or begun:
        (done,), _ = ray.wait(list(at_work), fetch_local=False)
        actor, ended = at_work.pop(done), begun.pop(done, None)
        if ended and ended[1] is not None:
            left[_name(ended[0])] -= 1
            if not left[_name(ended[0])]:
                todo.appendleft((ended[0], None))

        # An evaluator that nothing is left for isn't kept, so that another job gets its place.
        if prepared is None:
            prepared = actor.prepare.remote()
            at_work[prepared] = actor
        elif todo:
            run, part = todo.popleft()
            if part is None:
                task = actor.score.remote(run, prepared, *made.pop(_name(run)))
            else:
                task = actor.extract.remote(run, part, parts)
                made[_name(run)].append(task)
            at_work[task], begun[task] = actor, (run, part)
        if ended and ended[1] is None:
            yield ray.get(done)


class Evaluator:
    """Loads the extractor once and does one task after the other: extracts a part of a run's samples, or scores it."""

    def __init__(
        self,
        spec: JobSpec,
        images: Images,
        train: Folder,
        target: Folder,
        share: Share,
        useful: frozenset[str] = frozenset(),
    ) -> None:
        torch.set_num_threads(max(1, int(share.cpus)))
        self.spec, self.images, self.train, self.target = spec, images, train, target
        self.device = _device(share)
        # Names of the runs whose usefulness is measured.
        self.useful = useful

    def prepare(self) -> Prepared:
        """Return the features of the reference split, and what the audits share."""
        evaluation = self.spec.evaluation
        reference = self.images.split(evaluation.reference)
        features = evaluate.reference_features(reference, evaluation.extractor, self.device)
        if self.useful:
            usefulness.prepare(self.images, self.device)
        return features, audit.reals(self.images, features, evaluation, self.device) if evaluation.audit else None

    def extract(self, run: RunRecord | None, part: int = 0, parts: int = 1) -> Extracted:
        """Return the features of one part of a run's samples: of every chunk k where k modulo parts is the part.

        None stands for the real images that the noise floor is measured with; they are one part.
        """
        started, evaluation = time.monotonic(), self.spec.evaluation
        if run is None:
            features = evaluate.reference_features(self._real(), evaluation.extractor, self.device)
        else:
            network, dim = self._generator(run), self.spec.network.latent_dim
            features = evaluate.extract_samples(network, dim, evaluation, evaluation.samples, part, parts)
        return features, time.monotonic() - started

    def score(self, run: RunRecord | None, prepared: Prepared, *parts: Extracted) -> str:
        """Write the audit, the grid and the score of a run, or of the noise floor for None, from all parts' features.

        Of a generator whose images aren't numbers there is the score alone, which says so.

        Returns:
            Its name.
        """
        started, evaluation, (reference, real) = time.monotonic(), self.spec.evaluation, prepared
        label, seed, step = (run.label, run.seed, run.best_step or 0) if run else (REAL, 0, 0)
        features, extracting = joined([part for part, _ in parts]), sum(seconds for _, seconds in parts)
        images = self.images.split(evaluation.reference)
        found = evaluate.score(label, seed, step, features, images, reference, evaluation)
        shows = bool(torch.isfinite(features.pool).all())
        if real is not None and shows:
            self._audit(run, found, features, real)
        if run is not None and _name(run) in self.useful:
            learned = usefulness.usefulness(run, self._generator(run), self.spec, self.images, self.device)
            self.target.write_record(f"{_name(run)}{USEFULNESS}", learned)
        if shows:
            self.target.write(f"{_name(run)}.png", png(self._shown(run)))
        # The score comes last: where it is, all else is.
        whole = found.model_copy(update={"seconds": time.monotonic() - started + extracting})
        self.target.write_record(f"{_name(run)}.json", whole)
        return _name(run)

    def _audit(self, run: RunRecord | None, score: Score, features: Features, real: audit.Reals) -> None:
        if run is None:
            # Fresh real images, which the classifier hasn't learned, are the best that a generator can come to.
            fresh = self.images.val
            shown = fresh[evaluate.subset(len(fresh), audit.AUDITED, self.spec.evaluation.seed)]
        else:
            shown = torch.cat(list(self._samples(run, min(audit.AUDITED, len(features)))))
        record = audit.audit(score, features if run else None, shown, self.images, real)
        if record.memorisation is not None:
            self.target.write(f"{_name(run)}.pairs.png", audit.pairs(record.memorisation, shown, real))
        self.target.write_record(f"{_name(run)}{AUDIT}", record)

    def _generator(self, run: RunRecord) -> nn.Module:
        weights = self.train / run_name(run.label, run.seed) / "checkpoints"
        return best_generator(self.spec, self.images.channels, weights).to(self.device)

    def _samples(self, run: RunRecord, count: int) -> Iterable[torch.Tensor]:
        return evaluate.generate(self._generator(run), self.spec.network.latent_dim, self.spec.evaluation.seed, count)

    def _real(self) -> torch.Tensor:
        """Take as many real images as are generated, or all there are, from the train split.

        Where the train split itself is the reference, the test split stands in: a set against itself has no noise.
        """
        evaluation = self.spec.evaluation
        real = self.images.split("test" if evaluation.reference == "train" else "train")
        return real[evaluate.subset(len(real), evaluation.samples, evaluation.seed)]

    def _shown(self, run: RunRecord | None) -> torch.Tensor:
        if run is not None:
            return torch.cat(list(self._samples(run, min(GRID, self.spec.evaluation.samples))))
        real = self._real()
        # Spread over the set: neighbours in a file are often alike.
        return real[torch.linspace(0, len(real) - 1, min(GRID, len(real))).long()]


def _validator(spec: JobSpec, images: torch.Tensor, share: Share) -> Validator:
    torch.set_num_threads(max(1, int(share.cpus)))
    evaluation = spec.evaluation
    chosen = images[evaluate.subset(len(images), evaluation.validation_samples, evaluation.seed)]
    features = evaluate.reference_features(chosen, evaluation.extractor, _device(share))
    objective = spec.search.objective if spec.search else "kid"
    return Validator(evaluation, objective, features, spec.network.latent_dim)


def _device(share: Share) -> str:
    return "cuda:0" if share.gpus and torch.cuda.is_available() else "cpu"


def _name(run: RunRecord | None) -> str:
    return REAL if run is None else run_name(run.label, run.seed)


def scores(folder: Folder) -> list[Score]:
    """Return all scores of an evaluation folder, the noise floor left out."""
    others = (AUDIT, USEFULNESS, f"{REAL}.json")
    names = [name for name in folder.names() if name.endswith(".json") and not name.endswith(others)]
    found = (folder.read_record(name, Score) for name in names)
    return [score for score in found if score is not None]
