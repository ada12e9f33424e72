"""Images of asked classes, by a conditional generator."""

from __future__ import annotations

import torch
from torch import nn

from gansvc.gan.data import to_uint8
from gansvc.gan.evaluate import chunks
from gansvc.gan.streams import sample_latents


@torch.no_grad()
def generate_of(network: nn.Module, latent_dim: int, seed: int, labels: torch.Tensor) -> torch.Tensor:
    """Return images of these classes, uint8 (N, C, H, W) on the CPU; image i's latent depends on (seed, i) alone.

    Args:
        network: a conditional generator.
        latent_dim: dimensions of its latents.
        seed: seed of the latents.
        labels: the classes, int64 (N,) in [0, K), N at least 1.
    """
    network.eval()
    device = next(network.parameters()).device
    latents = sample_latents(seed, 0, len(labels), latent_dim)
    parts = zip(chunks(latents), chunks(labels), strict=True)
    return torch.cat([to_uint8(network(z.to(device), of.to(device))).cpu() for z, of in parts])
