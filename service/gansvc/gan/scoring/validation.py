"""The validation score: how good a generator is on its way, the same on every worker."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from gansvc.gan.run import Validation
from gansvc.gan.scoring.metrics import measures
from gansvc.gan.scoring.score import Features, extract_samples, joined
from gansvc.spec.job import Evaluation


def spread(features: torch.Tensor) -> float:
    """Return the root of the total variance of features (N, D), N at least 2."""
    return math.sqrt(features.double().var(dim=0).sum().item())


@dataclass(frozen=True)
class Validator:
    """Scores a generator on its way against the validation features; lower is better.

    KID is the unbiased estimate over all images at once, FID the usual one.
    """

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
        fake = mine if world_size == 1 else _gathered(mine, world_size)
        objective = self.measured(fake)
        if objective is None:
            return Validation(math.nan, None)
        real = spread(self.reference.pool)
        return Validation(objective, spread(fake.pool) / real if real > 0 else None)

    def measured(self, fake: Features) -> float | None:
        """Return the score of features, those of real images too: so the validation split's noise floor is measured.

        None where it can't be measured.
        """
        size = min(len(fake), len(self.reference))
        found = measures(fake, self.reference, (self.objective,), kid_subsets=1, kid_subset_size=size)
        return found.metrics.get(self.objective)


def _gathered(mine: Features, world_size: int) -> Features:
    """Return the features of all workers' chunks, on every worker."""
    parts = [mine] * world_size
    dist.all_gather_object(parts, mine)
    return joined(parts)
