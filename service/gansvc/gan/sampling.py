"""Images of asked classes, by a conditional generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gansvc.errors import SpecError, unknown_name
from gansvc.gan.images import pictures
from gansvc.gan.scoring.score import chunks
from gansvc.gan.streams import sample_latents


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
    return torch.cat([pictures(network(z.to(device), of.to(device))) for z, of in parts])


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
