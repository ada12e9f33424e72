"""Evaluator: the actor that extracts features of runs' best checkpoints, scores and audits them."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch import nn

from gansvc.catalog.datasets import floor_split
from gansvc.catalog.labels import REAL
from gansvc.catalog.metrics import Features
from gansvc.errors import ClusterError, RunError, reason_of
from gansvc.gan import tensorfile
from gansvc.gan.data import Images
from gansvc.gan.images import png
from gansvc.gan.modelfolder import load_best_generator
from gansvc.gan.sampling import generate, subset
from gansvc.gan.scoring import audit, usefulness
from gansvc.gan.scoring.features import extract_samples, join, reference_features
from gansvc.gan.scoring.score import make_score
from gansvc.gan.scoring.validation import Validator
from gansvc.spec.capacity import WorkerResources
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.audits import Audit
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score

GRID = 64

Prepared = tuple[Features, audit.RealReference | str | None]
"""Features of the reference split, and what the audits share; why that couldn't be made, or None without audits."""
Extracted = tuple[Features, float]
"""Features, and the seconds that an evaluator took for them."""


class Evaluator:
    """Loads the extractor once and does one task after the other: extracts a part of a run's samples, or scores it."""

    def __init__(
        self,
        spec: JobSpec,
        images: Images,
        train: Folder,
        target: Folder,
        worker: WorkerResources,
        useful: frozenset[str] = frozenset(),
    ) -> None:
        torch.set_num_threads(max(1, int(worker.cpus)))
        self.spec, self.images, self.train, self.target = spec, images, train, target
        self.worker, self.device = worker, _device(worker)
        # Names of the runs whose usefulness is measured.
        self.useful = useful

    def prepare(self) -> Prepared:
        """Return the features of the reference split, and what the audits share."""
        evaluation = self.spec.evaluation
        reference = self.images.split(evaluation.reference)
        features = reference_features(reference, evaluation.extractor, self.device)
        if self.useful:
            usefulness.cache_baselines(self.images, self.device)
        if not evaluation.audit:
            return features, None
        try:
            return features, audit.real_reference(self.images, features, evaluation, self.device)
        except Exception as error:  # an audit beside the scores must not cost the scores
            return features, reason_of(error)

    def extract(self, run: RunRecord | None, part: int = 0, parts: int = 1) -> Extracted:
        """Return the features of one part of a run's samples: of every chunk k where k modulo parts is the part.

        None stands for the real images that the noise floor is measured with; they are one part.
        """
        started, evaluation = time.monotonic(), self.spec.evaluation
        if run is None:
            features = reference_features(self._floor_images(), evaluation.extractor, self.device)
        else:
            network, dim = self._generator(run), self.spec.network.latent_dim
            features = extract_samples(network, dim, evaluation, evaluation.samples, part, parts)
        return features, time.monotonic() - started

    def score(self, run: RunRecord | None, prepared: Prepared, *parts: Extracted) -> str:
        """Write the audit, the grid and the score of a run, or of the noise floor for None, from all parts' features.

        Of a generator whose images aren't numbers there is the score alone, which says so.

        Returns:
            Its name.
        """
        started, evaluation, (reference, real) = time.monotonic(), self.spec.evaluation, prepared
        label, seed, step = (run.label, run.seed, run.best_step or 0) if run else (REAL, 0, 0)
        features, extracting = join([part for part, _ in parts]), sum(seconds for _, seconds in parts)
        images = self.images.split(evaluation.reference)
        found = make_score(label, seed, step, features, images, reference, evaluation, self.images.content)
        if run is None:
            found = found.model_copy(update={"validation": self._validation_floor(features, reference)})
        else:
            weights = tensorfile.digest(self._generator(run).state_dict())
            found = found.model_copy(update={"weights": weights, "identity": run.identity})
        shows = bool(torch.isfinite(features.pool).all())
        if real is not None and shows:
            self._audit(run, found, features, real)
        if run is not None and file_stem(run) in self.useful:
            learned = usefulness.measure(run, self._generator(run), self.spec, self.images, self.device)
            self.target.write_record(layout.usefulness(file_stem(run)), learned)
        if shows:
            self.target.write(layout.scored_grid(file_stem(run)), png(self._grid_images(run)))
        # The score comes last: where it is, all else is.
        whole = found.model_copy(update={"seconds": time.monotonic() - started + extracting})
        self.target.write_record(layout.score(file_stem(run)), whole)
        return file_stem(run)

    def _validation_floor(self, real: Features, reference: Features) -> float | None:
        """Return what real training images score on the validation split, as many as are generated on the way.

        Args:
            real: features of the noise floor's images, which are training images unless these are the reference.
            reference: features of the reference split.
        """
        validator = make_validator(self.spec, self.images.val, self.worker)
        evaluation, count = self.spec.evaluation, len(validator.reference)
        train = reference if evaluation.reference == "train" else real
        if len(train) < min(count, len(self.images.train)):
            some = self.images.train[subset(len(self.images.train), count, evaluation.seed)]
            train = reference_features(some, evaluation.extractor, self.device)
        chosen = subset(len(train), count, evaluation.seed)
        return validator.score(Features(train.pool[chosen], train.logits[chosen]))

    def _audit(self, run: RunRecord | None, score: Score, features: Features, real: audit.RealReference | str) -> None:
        """Write the audit; where it fails, a record that says why."""
        try:
            if isinstance(real, str):
                raise RunError(real)
            record = self._make_audit(run, score, features, real)
        except ClusterError:
            raise
        except Exception as error:  # an audit beside the scores must not cost the scores
            about = {"label": score.label, "seed": score.seed, "step": score.step}
            record = Audit(**about, extractor=score.contract.extractor, failed=reason_of(error))
        self.target.write_record(layout.audit(file_stem(run)), record)

    def _make_audit(self, run: RunRecord | None, score: Score, features: Features, real: audit.RealReference) -> Audit:
        if run is None:
            # Fresh real images, which the classifier hasn't learned, are the best that a generator can come to.
            fresh = self.images.val
            shown = fresh[subset(len(fresh), audit.MAX_AUDITED, self.spec.evaluation.seed)]
        else:
            shown = torch.cat(list(self._samples(run, min(audit.MAX_AUDITED, len(features)))))
        record = audit.make_audit(score, features if run else None, shown, self.images, real)
        if record.memorisation is not None and record.memorisation.pairs:
            self.target.write(layout.pairs(file_stem(run)), audit.draw_pairs(record.memorisation, shown, real))
        return record

    def _generator(self, run: RunRecord) -> nn.Module:
        weights = self.train / layout.run_name(run.label, run.seed) / layout.CHECKPOINTS
        return load_best_generator(self.spec, self.images.channels, weights).to(self.device)

    def _samples(self, run: RunRecord, count: int) -> Iterable[torch.Tensor]:
        return generate(self._generator(run), self.spec.network.latent_dim, self.spec.evaluation.seed, count)

    def _floor_images(self) -> torch.Tensor:
        """Take as many real images as are generated, or all there are: a set against itself has no noise."""
        evaluation = self.spec.evaluation
        real = self.images.split(floor_split(evaluation.reference))
        return real[subset(len(real), evaluation.samples, evaluation.seed)]

    def _grid_images(self, run: RunRecord | None) -> torch.Tensor:
        if run is not None:
            return torch.cat(list(self._samples(run, min(GRID, self.spec.evaluation.samples))))
        real = self._floor_images()
        # Spread over the set: neighbours in a file are often alike.
        return real[torch.linspace(0, len(real) - 1, min(GRID, len(real))).long()]


def make_validator(spec: JobSpec, images: torch.Tensor, worker: WorkerResources) -> Validator:
    """Return the job's Validator, made of the validation images, uint8 (N, C, H, W)."""
    torch.set_num_threads(max(1, int(worker.cpus)))
    evaluation = spec.evaluation
    chosen = images[subset(len(images), evaluation.validation_samples, evaluation.seed)]
    features = reference_features(chosen, evaluation.extractor, _device(worker))
    return Validator(evaluation, spec.objective, features, spec.network.latent_dim)


def _device(worker: WorkerResources) -> str:
    return "cuda:0" if worker.gpus and torch.cuda.is_available() else "cpu"


def file_stem(run: RunRecord | None) -> str:
    """Return what the names of a run's files in the evaluation folder begin with; None stands for the noise floor."""
    return REAL if run is None else layout.run_name(run.label, run.seed)
