"""The network pairs: shapes, ranges, kinds of layer and the seed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from gansvc.catalog.networks import NETWORKS, Network

EVERY = pytest.mark.parametrize("name", list(NETWORKS))
CHANNELS = pytest.mark.parametrize("channels", [1, 3])
WIDTHS = pytest.mark.parametrize(("width", "latent_dim"), [(4, 1), (4, 100), (10, 7)])


def pair(name: str, width: int = 4, latent_dim: int = 8) -> Network:
    return NETWORKS[name](name=name, width=width, latent_dim=latent_dim)


def weights(network: Network, channels: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    players = (network.generator(channels), network.critic(channels))
    flat = [torch.cat([value.flatten().float() for value in player.state_dict().values()]) for player in players]
    return flat[0], flat[1]


@EVERY
@CHANNELS
@WIDTHS
def test_generator_maps_latents_to_images(name: str, channels: int, width: int, latent_dim: int) -> None:
    torch.manual_seed(0)
    generator = pair(name, width, latent_dim).generator(channels)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(20)  # so that only a squashing last layer keeps the range
    images = generator(torch.randn(5, latent_dim))
    assert images.shape == (5, channels, 28, 28)
    assert images.dtype == torch.float32
    assert -1 <= images.min().item() < images.max().item() <= 1


@EVERY
@CHANNELS
@WIDTHS
def test_critic_maps_images_to_logits(name: str, channels: int, width: int, latent_dim: int) -> None:
    torch.manual_seed(0)
    critic = pair(name, width, latent_dim).critic(channels)
    for count in (5, 1):
        logits = critic(torch.rand(count, channels, 28, 28) * 2 - 1)
        assert logits.shape == (count,)
        assert bool(torch.isfinite(logits).all())


@EVERY
@CHANNELS
def test_logits_are_not_squashed(name: str, channels: int) -> None:
    torch.manual_seed(0)
    critic = pair(name).critic(channels)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(50)
    logits = critic(torch.randn(64, channels, 28, 28))
    assert logits.max().item() > 1
    assert logits.min().item() < -1


@EVERY
@CHANNELS
def test_critic_has_no_batch_normalisation_and_no_buffers(name: str, channels: int) -> None:
    critic = pair(name).critic(channels)
    assert [layer for layer in critic.modules() if isinstance(layer, _NormBase)] == []
    assert list(critic.buffers()) == []


@EVERY
@CHANNELS
def test_a_logit_depends_on_its_own_image_alone(name: str, channels: int) -> None:
    torch.manual_seed(0)
    critic = pair(name).critic(channels)
    images = torch.randn(4, channels, 28, 28)
    alone = torch.cat([critic(images[index : index + 1]) for index in range(4)])
    torch.testing.assert_close(critic(images), alone)


@EVERY
@CHANNELS
def test_every_pixel_and_every_parameter_takes_part(name: str, channels: int) -> None:
    torch.manual_seed(0)
    network = pair(name)
    generator, critic = network.generator(channels), network.critic(channels)
    images = generator(torch.randn(6, 8))
    images.retain_grad()
    critic(images).sum().backward()
    assert images.grad is not None
    assert bool((images.grad.abs().sum(dim=0) > 0).all())
    for player in (generator, critic):
        assert [key for key, value in player.named_parameters() if value.grad is None] == []


@EVERY
def test_kinds_of_layer(name: str) -> None:
    network = pair(name)
    generator, critic = list(network.generator(3).modules()), list(network.critic(3).modules())
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in generator) >= 2
    assert sum(isinstance(layer, nn.Conv2d) for layer in critic) >= 2
    assert not any(isinstance(layer, nn.ConvTranspose2d) for layer in critic)


def test_dcgan_generator_keeps_batch_normalisation() -> None:
    layers = list(pair("dcgan").generator(3).modules())
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in layers) == 3


@EVERY
@CHANNELS
def test_seed_decides_the_weights(name: str, channels: int) -> None:
    network = pair(name)
    first, again, other = (weights(network, channels, seed) for seed in (1, 1, 2))
    for player in (0, 1):
        assert torch.equal(first[player], again[player])
        assert not torch.equal(first[player], other[player])


@EVERY
def test_width_and_latent_dim_change_the_size(name: str) -> None:
    def size(network: Network) -> tuple[int, int]:
        generator, critic = weights(network, 1, 0)
        return len(generator), len(critic)

    narrow, wide, long = size(pair(name, 4, 8)), size(pair(name, 8, 8)), size(pair(name, 4, 16))
    assert wide[0] > narrow[0]
    assert wide[1] > narrow[1]
    assert long[0] > narrow[0]
    assert long[1] == narrow[1]


@CHANNELS
@pytest.mark.parametrize("width", [8, 32])
def test_dcgan_starts_with_a_signal_at_every_width(channels: int, width: int) -> None:
    torch.manual_seed(0)
    network = pair("dcgan", width, 100)
    images = network.generator(channels)(torch.randn(64, 100))
    logits = network.critic(channels)(torch.randn(64, channels, 28, 28))
    # Neither grey without contrast nor stuck at tanh's ends; logits that noise can move.
    assert 0.01 < images.std().item() < 0.9
    assert 0.05 < logits.std().item() < 10


def test_dcgan_biases_start_at_zero() -> None:
    network = pair("dcgan")
    for player in (network.generator(3), network.critic(3)):
        biases = [value for key, value in player.named_parameters() if key.endswith("bias")]
        assert len(biases) >= 4
        assert not any(bool(bias.any()) for bias in biases)
