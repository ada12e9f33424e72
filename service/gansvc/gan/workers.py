"""Means over the workers of a distributed training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist


def average_over_workers(values: torch.Tensor) -> torch.Tensor:
    """Replace values by their mean over all workers, in place, and return them; alone, they stay what they are."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


class Means:
    """Means, over steps and workers, of the scalars that steps log; they stay on the device until they are taken."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self.steps = 0
        """Steps since the means were taken last."""

    def add(self, values: Mapping[str, torch.Tensor], parts: int = 1) -> None:
        """Take scalars of one of the ``parts`` that a step consists of; each weighs as much as the others."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + value / parts

    def take(self) -> dict[str, float]:
        """Return the means since they were taken last, the same on every worker."""
        sums = average_over_workers(torch.stack(list(self._sums.values())))
        means = dict(zip(self._sums, (sums / self.steps).tolist(), strict=True))
        self._sums, self.steps = {}, 0
        return means
