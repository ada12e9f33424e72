"""Torch modules of the network pair resnet."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from gansvc.catalog.networks import Resnet

_SLOPE = 0.2
_NEAR_ZERO = 0.01
"""Scale of a branch's second convolution at the start; exactly zero would leave spectral norm nothing to divide by."""
_MOST = 4
"""Channels grow to this many times the width."""


def generator(network: Resnet, inputs: int, channels: int, size: int) -> nn.Module:
    """Return a generator: vectors (N, inputs) to images (N, channels, size, size) in [-1, 1]."""
    base, widths = network.sizes[size], _widths(network, size)
    first = nn.Linear(inputs, widths[-1] * base * base)
    stages: list[nn.Module] = [first, nn.Unflatten(1, (widths[-1], base, base)), Residual(widths[-1], widths[-1])]
    for inner, outer in pairwise(reversed(widths)):
        stages += [nn.Upsample(scale_factor=2, mode="bilinear"), Residual(inner, outer)]
    last = nn.Conv2d(widths[0], channels, 3, padding=1)
    _start(first, inputs**-0.5)
    _start(last, (9 * widths[0]) ** -0.5)
    return nn.Sequential(*stages, nn.LeakyReLU(_SLOPE), last, nn.Tanh())


def critic(network: Resnet, channels: int, size: int) -> nn.Sequential:
    """Return a critic: images (N, channels, size, size) to logits (N,)."""
    base, widths = network.sizes[size], _widths(network, size)
    first = nn.Conv2d(channels, widths[0], 3, padding=1)
    stages: list[nn.Module] = [first]
    for outer, inner in pairwise(widths):
        stages += [Residual(outer, inner), nn.AvgPool2d(2)]
    last = nn.Conv2d(widths[-1], 1, base)
    _start(first, (9 * channels) ** -0.5)
    _start(last, (base * base * widths[-1]) ** -0.5)
    return nn.Sequential(*stages, Residual(widths[-1], widths[-1]), nn.LeakyReLU(_SLOPE), last, nn.Flatten(0))


class Residual(nn.Module):
    """x plus two 3x3 convolutions of it; a 1x1 convolution of x where the number of channels changes."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, padding=1)
        self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.skip: nn.Module = nn.Identity()
        he = nn.init.calculate_gain("leaky_relu", _SLOPE)
        _start(self.first, he * (9 * channels) ** -0.5)
        _start(self.second, _NEAR_ZERO * he * (9 * out) ** -0.5)
        if channels != out:
            self.skip = skip = nn.Conv2d(channels, out, 1, bias=False)
            _start(skip, channels**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(functional.leaky_relu(x, _SLOPE))
        added: torch.Tensor = self.skip(x) + self.second(functional.leaky_relu(hidden, _SLOPE))
        return added


def _start(layer: nn.Linear | nn.Conv2d, std: float) -> None:
    """Draw weights from N(0, std); biases 0."""
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _widths(network: Resnet, size: int) -> list[int]:
    """Return the channels of the feature maps, from the image's side down to the base."""
    halvings = (size // network.sizes[size]).bit_length() - 1
    return [network.width * min(_MOST, 2**level) for level in range(halvings + 1)]
