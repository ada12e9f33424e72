"""Class-conditional players, made of the unconditional ones."""

from __future__ import annotations

import torch
from torch import nn


class Generator(nn.Module):
    """A generator of one class at a time: the class's vector goes beside the latent (Mirza & Osindero 2014, 1411.1784).

    Args:
        body: maps (N, 2 * latent_dim) to images.
        latent_dim: dimensions of the latents, and of the classes' vectors.
        shares: each class's share of the images that it learns from, (K,); kept with the weights, so that whoever wants
            images of no class in particular can draw classes as they occur.
    """

    shares: torch.Tensor

    def __init__(self, body: nn.Module, latent_dim: int, shares: torch.Tensor) -> None:
        super().__init__()
        self.body = body
        # As wide as the latents and of their distribution, so that both weigh alike at the start.
        self.embedding = nn.Embedding(len(shares), latent_dim)
        self.register_buffer("shares", shares.float())

    def forward(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return images (N, C, H, W) in [-1, 1] of latents (N, latent_dim) and labels (N,), int64 in [0, K)."""
        images: torch.Tensor = self.body(torch.cat([latents, self.embedding(labels)], dim=1))
        return images


class Critic(nn.Module):
    """A projection critic (Miyato & Koyama 2018, arXiv 1802.05637, equation 3): psi(phi(x)) + <v_y, phi(x)>.

    Args:
        body: a critic that ends in a convolution to one number, psi, and the flattening of it; what is before is phi.
        classes: number of classes K; each has a vector v of as many numbers as psi has weights.
    """

    def __init__(self, body: nn.Sequential, classes: int) -> None:
        super().__init__()
        self.features, self.head = body[:-2], body[-2:]
        size = next(self.head.parameters())[0].numel()
        self.embedding = nn.Embedding(classes, size)
        nn.init.normal_(self.embedding.weight, std=size**-0.5)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return logits (N,) of images (N, C, H, W) and labels (N,), int64 in [0, K)."""
        features = self.features(images)
        logits: torch.Tensor = self.head(features) + (self.embedding(labels) * features.flatten(1)).sum(dim=1)
        return logits
