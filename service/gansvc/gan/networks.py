"""Torch modules of the network pairs that the catalog names.

A generator maps latents (N, latent_dim) ~ N(0, 1) to images (N, channels, size, size) in [-1, 1]; a critic maps such
images to logits (N,). Conditional ones take labels (N,) as well, int64 from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gansvc.catalog.classes import MOST_CLASSES
from gansvc.catalog.networks import Dcgan, Network, Resnet
from gansvc.gan import conditional, dcgan, residual


class Bodies(NamedTuple):
    """What makes an unconditional pair's modules; the first argument is the catalog's entry with its fields."""

    generator: Callable[[Any, int, int, int], nn.Module]
    """Takes the entry, the length of the vectors that are mapped to images, the images' channels and their side."""
    critic: Callable[[Any, int, int], nn.Sequential]
    """Takes the entry, the images' channels and their side; ends in a convolution to one number and its flattening."""


BODIES: dict[type[Network], Bodies] = {
    Dcgan: Bodies(dcgan.generator, dcgan.critic),
    Resnet: Bodies(residual.generator, residual.critic),
}


def build_generator(network: Network, channels: int, size: int = 28, shares: Tensor | None = None) -> nn.Module:
    """Return a new generator; its weights are drawn from torch's global generator.

    Args:
        network: the pair.
        channels: channels of its images.
        size: their side in pixels.
        shares: each class's share of the training images, (K,); only a conditional generator needs and keeps it.
    """
    body, latent_dim = BODIES[type(network)].generator, network.latent_dim
    if not network.conditional:
        return body(network, latent_dim, channels, size)
    if shares is None:
        raise TypeError("a conditional generator needs the classes' shares")
    if shares.ndim != 1 or not 1 <= len(shares) <= MOST_CLASSES or not bool((shares >= 0).all() and shares.sum() > 0):
        raise ValueError(f"the classes' shares are no list of 1 to {MOST_CLASSES} shares")
    return conditional.Generator(body(network, 2 * latent_dim, channels, size), latent_dim, shares)


def build_critic(network: Network, channels: int, size: int = 28, classes: int = 0) -> nn.Module:
    """Return a new critic, of so many classes if conditional; its weights are drawn as the generator's."""
    body = BODIES[type(network)].critic(network, channels, size)
    module = conditional.Critic(body, classes) if network.conditional else body
    return _spectral(module) if network.critic_norm == "spectral" else module


def _spectral(module: nn.Module) -> nn.Module:
    """Normalise the weight of every convolution, linear layer and embedding by one power iteration a forward."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            spectral_norm(layer)
    return module
