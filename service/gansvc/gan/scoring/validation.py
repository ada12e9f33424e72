"""Validation score of a generator in training, the same on every worker."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from gansvc.catalog.metrics import METRICS, Features
from gansvc.gan.run import Validation
from gansvc.gan.scoring.features import extract_samples, join
from gansvc.gan.scoring.metrics import measure
from gansvc.spec.job import Evaluation


def spread(features: torch.Tensor) -> float:
    """Return the root of the total variance of features (N, D), N at least 2."""
    return math.sqrt(features.double().var(dim=0).sum().item())


@dataclass(frozen=True)
class Validator:
    """Scores a generator in training against the validation features; lower is better."""

    evaluation: Evaluation
    objective: str
    reference: Features
    latent_dim: int

    def __call__(self, network: nn.Module, rank: int = 0, world_size: int = 1) -> Validation:
        """Return the same score on every worker; the workers share the generating and the extracting.

        It is NaN on all of them where one worker's images aren't finite.
        """
        count = len(self.reference)
        mine = extract_samples(network, self.latent_dim, self.evaluation, count, rank, world_size)
        fake = mine if world_size == 1 else _gather(mine, world_size)
        objective = self.score(fake)
        if objective is None:
            return Validation(math.nan, None)
        real = spread(self.reference.pool)
        return Validation(objective, spread(fake.pool) / real if real > 0 else None)

    def score(self, fake: Features) -> float | None:
        """Return the score of features, those of real images too: so the validation split's noise floor is measured.

        None where it can't be measured.
        """
        metric = METRICS[self.objective].for_validation()
        return measure(fake, self.reference, [metric]).metrics.get(metric.columns[0].key)


def _gather(mine: Features, world_size: int) -> Features:
    """Return the features of all workers' chunks, on every worker."""
    parts = [mine] * world_size
    dist.all_gather_object(parts, mine)
    return join(parts)
