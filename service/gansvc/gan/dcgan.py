"""Torch modules of the network pair dcgan."""

from __future__ import annotations

from functools import partial
from math import gcd

from torch import nn

from gansvc.catalog.networks import Dcgan


def generator(network: Dcgan, inputs: int, channels: int, size: int) -> nn.Module:
    """Return a generator: vectors (N, inputs) to images (N, channels, 28, 28) in [-1, 1]."""
    w, norm = network.width, partial(_norm, network)
    return _generator_weights(
        nn.Sequential(
            # The paper's first convolution, of a single pixel, is this product; kernels for products are faster.
            nn.Linear(inputs, 2 * w * 7 * 7, bias=False),
            nn.Unflatten(1, (2 * w, 7, 7)),
            norm(2 * w),
            nn.ReLU(inplace=True),
            *_doubled(2 * w, w),
            norm(w),
            nn.ReLU(inplace=True),
            *_doubled(w, w // 2),
            norm(w // 2),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(w // 2, channels, 3, padding=1),
            nn.Tanh(),
        )
    )


def critic(network: Dcgan, channels: int, size: int) -> nn.Sequential:
    """Return a critic: images (N, channels, 28, 28) to logits (N,)."""
    w, fine = network.width, network.critic_stem
    stem = (nn.Conv2d(channels, fine, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)) if fine else ()
    return _critic_weights(
        nn.Sequential(
            *stem,
            nn.Conv2d(fine or channels, w, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(4 * w, 1, 4),
            nn.Flatten(0),
        )
    )


def _norm(network: Dcgan, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if network.generator_norm == "batch" else nn.GroupNorm(gcd(channels, 8), channels)


def _doubled(channels: int, out: int) -> tuple[nn.Module, ...]:
    """Return the layers that double the side: DCGAN's 4x4 kernel of stride 2, as a 3x3 one and a 2x2 mean.

    The mean removes the checkerboard that a free 4x4 kernel starts with and short trainings keep (Odena et al. 2016,
    "Deconvolution and Checkerboard Artifacts"), at 9/16 of its multiplications.
    """
    return (
        nn.ConvTranspose2d(channels, out, 3, stride=2, bias=False),
        nn.AvgPool2d(2, stride=1),
    )


def _generator_weights(module: nn.Sequential) -> nn.Sequential:
    """Draw weights from N(0, 0.02), norms' scales from N(1, 0.02) (Radford et al., section 4); biases 0."""
    for layer in module:
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)
    return module


def _critic_weights(module: nn.Sequential) -> nn.Sequential:
    """Draw weights that keep the signal's variance (He et al. 2015, arXiv 1502.01852); biases 0.

    N(0, 0.02) leans on batch norm to restore the scale; without it four layers of width 16 shrink the signal, and so
    the generator's gradient, about a hundredfold.
    """
    for layer in module:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=0.2)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module
