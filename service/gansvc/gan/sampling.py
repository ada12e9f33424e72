"""Images by a generator: sample i of (seed, i) alone, or images of classes that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from gansvc.errors import SpecError, unknown_name
from gansvc.gan.images import to_pictures
from gansvc.gan.streams import Stream, generator, sample_labels, sample_latents

CHUNK = 50
"""Images generated, and fed to an extractor, together: fixed, so that no score depends on how the work is shared."""


def chunks(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Cut images, or what belongs to each, into chunks of the one size that all scores use."""
    return torch.split(images, CHUNK)


def chunk_ranges(count: int, rank: int = 0, world_size: int = 1) -> list[range]:
    """Return this worker's chunks of the samples 0..count-1."""
    return [range(first, min(first + CHUNK, count)) for first in range(rank * CHUNK, count, world_size * CHUNK)]


@torch.no_grad()
def generate(
    network: nn.Module, latent_dim: int, seed: int, count: int, rank: int = 0, world_size: int = 1
) -> Iterable[torch.Tensor]:
    """Yield this worker's chunks of the generated samples 0..count-1, uint8 (n, C, H, W) on the CPU.

    A conditional generator is asked for classes as often as they occur in its train split.

    Raises:
        NotFiniteError: an image isn't finite.
    """
    network.eval()
    device, shares = next(network.parameters()).device, getattr(network, "shares", None)
    for drawn in chunk_ranges(count, rank, world_size):
        inputs = [sample_latents(seed, drawn.start, drawn.stop, latent_dim)]
        inputs += [] if shares is None else [sample_labels(seed, drawn.start, drawn.stop, shares)]
        yield to_pictures(network(*(part.to(device) for part in inputs)))


@torch.no_grad()
def generate_of(network: nn.Module, latent_dim: int, seed: int, labels: torch.Tensor) -> torch.Tensor:
    """Return images of these classes, uint8 (N, C, H, W) on the CPU; image i's latent depends on (seed, i) alone.

    Args:
        network: a conditional generator.
        latent_dim: dimensions of its latents.
        seed: seed of the latents.
        labels: the classes, int64 (N,) in [0, K), N at least 1.

    Raises:
        NotFiniteError: an image isn't finite.
    """
    network.eval()
    device = next(network.parameters()).device
    latents = sample_latents(seed, 0, len(labels), latent_dim)
    parts = zip(chunks(latents), chunks(labels), strict=True)
    return torch.cat([to_pictures(network(z.to(device), of.to(device))) for z, of in parts])


def subset(count: int, size: int, seed: int) -> torch.Tensor:
    """Return the indices of a fixed random subset, in rising order; all of them where size isn't smaller."""
    return torch.randperm(count, generator=generator(seed, Stream.SUBSET))[:size].sort().values


def class_number(asked: str, names: Sequence[str]) -> int:
    """Return the number of a class that is asked for by its name or, where no class is called so, by its number.

    Raises:
        SpecError: there is no such class.
    """
    if asked in names:
        return names.index(asked)
    if asked.isdecimal() and int(asked) < len(names):
        return int(asked)
    raise SpecError(f"--class: {unknown_name('class', asked, names)}; or its number, 0 to {len(names) - 1}")
