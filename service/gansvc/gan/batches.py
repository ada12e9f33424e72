"""The global batches of a run: real images and all random draws, of which each worker takes its slice."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gansvc.catalog.augments import draws_of
from gansvc.gan.data import to_float
from gansvc.gan.run import Platform, RunPlan
from gansvc.gan.streams import Order, Stream, latents, uniforms, worker_slice


@dataclass(frozen=True)
class Batch:
    """What one critic step, and the generator step after it, are made of: a worker's slice of the global batch."""

    real: torch.Tensor
    """Images (N, C, H, W) in [-1, 1]."""
    latents: torch.Tensor
    """(N, latent_dim)."""
    noise: torch.Tensor
    """Draws (N, 3, D) from [0, 1) for the augmentation of real, generated and, for the generator, generated images."""
    weight: float
    """N times the world size over the global batch, so that the workers' mean is the batch's mean."""
    draws: tuple[torch.Tensor, ...] = ()
    """Draws (N, D) from [0, 1) for each of the loss's regularizers; D is 0 for one that asks for none."""
    labels: torch.Tensor | None = None
    """Classes (N,) of the real images, and those that are asked of the generator: so both have the same shares of each
    class, and what is paired or mixed is of one class. None for unconditional players."""

    def conditions(self, times: int = 1) -> tuple[torch.Tensor, ...]:
        """Return what players are given beside ``times`` batches of latents or images: their labels, or nothing."""
        return () if self.labels is None else (self.labels.repeat(times),)


class Batches:
    """The batches of a run, by number: each is a function of (seed, number, index in the global batch) alone.

    Args:
        plan: what is trained.
        images: the train split, uint8 (N, C, H, W), on the platform's device.
        labels: its classes, int64 (N,), or None for unconditional players.
        platform: says which slice of a batch is this worker's.
    """

    def __init__(self, plan: RunPlan, images: torch.Tensor, labels: torch.Tensor | None, platform: Platform) -> None:
        self._plan, self._images, self._labels, self._device = plan, images, labels, platform.device
        self._size = plan.spec.training.batch_size
        self._order = Order(plan.seed, len(images), self._size)
        self._noise = draws_of(plan.spec.training.augment)
        self._regularizers = plan.loss.all_regularizers()
        self._slice = worker_slice(self._size, platform.rank, platform.world_size)
        self._weight = (self._slice.stop - self._slice.start) * platform.world_size / self._size

    def __getitem__(self, number: int) -> Batch:
        """Return this worker's slice of the batch of critic step ``number``, from 0."""
        seed, size = self._plan.seed, self._size
        index = self._order.batch(number)[self._slice]
        return Batch(
            real=to_float(self._images[index.to(self._device)]),
            latents=self._mine(latents(seed, Stream.LATENTS, number, size, self._plan.spec.network.latent_dim)),
            noise=self._mine(uniforms(seed, Stream.AUGMENT, number, size, 3, self._noise)),
            weight=self._weight,
            draws=tuple(self._draws(number, part) for part in range(len(self._regularizers))),
            labels=None if self._labels is None else self._labels[index].to(self._device),
        )

    def _draws(self, number: int, part: int) -> torch.Tensor:
        """Return the draws of one regularizer; those that aren't used in this step aren't made."""
        regularizer, (_, channels, side, _) = self._regularizers[part], self._images.shape
        count = regularizer.draws(channels, side) if regularizer.is_due(number) else 0
        if count == 0:
            return torch.empty(self._slice.stop - self._slice.start, 0, device=self._device)
        return self._mine(uniforms(self._plan.seed, Stream.REGULARIZERS, number, self._size, count, part=part))

    def _mine(self, drawn: torch.Tensor) -> torch.Tensor:
        return drawn[self._slice].to(self._device, non_blocking=True)
