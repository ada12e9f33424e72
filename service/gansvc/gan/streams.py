"""Every random draw of a run, as a function of (seed, stream, counter) alone.

A draw depends on no global state: it is the same after a resume, and each worker takes its slice of the global batch,
so that the world size doesn't change what the batch holds.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a draw is for; draws of different streams are independent."""

    WEIGHTS = 0
    ORDER = 1
    LATENTS = 2
    AUGMENT = 3
    REGULARIZERS = 4
    SAMPLE_GRID = 5
    SCORED = 6
    SUBSET = 7
    BOOTSTRAP = 8
    LABELS = 9


def generator(seed: int, stream: Stream, *counters: int) -> torch.Generator:
    """Return torch's CPU generator for one draw."""
    state = np.random.SeedSequence([seed, int(stream), *counters]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def latents(seed: int, stream: Stream, counter: int, count: int, dim: int) -> torch.Tensor:
    """Return latents (count, dim) ~ N(0, 1)."""
    return torch.randn(count, dim, generator=generator(seed, stream, counter))


def sample_latents(seed: int, first: int, stop: int, dim: int) -> torch.Tensor:
    """Return latents (stop - first, dim) of the scored samples first..stop-1; each depends on (seed, index) alone."""
    return torch.cat([latents(seed, Stream.SCORED, index, 1, dim) for index in range(first, stop)])


def sample_labels(seed: int, first: int, stop: int, shares: torch.Tensor) -> torch.Tensor:
    """Return classes (stop - first,), int64, of the scored samples, drawn by the classes' shares (K,).

    Each depends on (seed, index) alone: it is where the cumulated shares pass a uniform draw.
    """
    cumulated = shares.double().cpu().cumsum(0)
    draws = torch.cat([uniforms(seed, Stream.LABELS, index, 1) for index in range(first, stop)])
    return torch.searchsorted(cumulated, draws * cumulated[-1], right=True).clamp(max=len(shares) - 1)


def uniforms(seed: int, stream: Stream, counter: int, *shape: int, part: int = 0) -> torch.Tensor:
    """Return draws of that shape from [0, 1); other parts of the same stream are independent of each other."""
    counters = (counter, part) if part else (counter,)
    return torch.rand(shape, generator=generator(seed, stream, *counters))


def worker_slice(count: int, rank: int, world_size: int) -> slice:
    """Return the slice of a global batch that one worker takes; sizes differ by one at most."""
    return slice(rank * count // world_size, (rank + 1) * count // world_size)


class Order:
    """The endless order in which the critic sees the images: one permutation an epoch, batches running across its end.

    Every image is seen equally often per epoch, whatever the batch size and the number of workers.
    """

    def __init__(self, seed: int, count: int, batch_size: int) -> None:
        self.seed, self.count, self.batch_size = seed, count, batch_size
        self._epochs: dict[int, torch.Tensor] = {}

    def batch(self, number: int) -> torch.Tensor:
        """Return the indices (batch_size,) of the global batch of that number, from 0."""
        at = torch.arange(number * self.batch_size, (number + 1) * self.batch_size)
        epochs = at // self.count
        parts = [self._permutation(int(epoch))[at[epochs == epoch] % self.count] for epoch in epochs.unique()]
        return torch.cat(parts)

    def _permutation(self, epoch: int) -> torch.Tensor:
        if epoch not in self._epochs:
            drawn = torch.randperm(self.count, generator=generator(self.seed, Stream.ORDER, epoch))
            self._epochs = {old: kept for old, kept in self._epochs.items() if old >= epoch - 1} | {epoch: drawn}
        return self._epochs[epoch]
