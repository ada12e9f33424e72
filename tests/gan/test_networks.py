"""The network pairs: shapes, ranges, kinds of layer, the seed, and the spectral norm of their critics."""

from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch
from pydantic_core import PydanticCustomError
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

from gansvc.catalog.losses import LOSSES
from gansvc.catalog.networks import NETWORKS, Dcgan, Network, check_losses
from gansvc.catalog.regularizers import REGULARIZERS, CriticStep
from gansvc.gan.networks import build_critic, build_generator

EVERY = pytest.mark.parametrize("name", list(NETWORKS))
EVERY_SIZE = pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name, network in NETWORKS.items() for size in network.sizes]
)
CHANNELS = pytest.mark.parametrize("channels", [1, 3])
WIDTHS = pytest.mark.parametrize(("width", "latent_dim"), [(4, 1), (4, 100), (10, 7)])
WITHOUT_STATISTICS = pytest.mark.parametrize(
    "network",
    [NETWORKS["resnet"](name="resnet", width=4, latent_dim=8), Dcgan(width=4, latent_dim=8, generator_norm="group")],
    ids=["resnet", "dcgan-group"],
)


def pair(name: str, width: int = 4, latent_dim: int = 8, critic_norm: Literal["none", "spectral"] = "none") -> Network:
    return NETWORKS[name](name=name, width=width, latent_dim=latent_dim, critic_norm=critic_norm)


def weights(network: Network, channels: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    players = (build_generator(network, channels), build_critic(network, channels))
    flat = [torch.cat([value.flatten().float() for value in player.state_dict().values()]) for player in players]
    return flat[0], flat[1]


@EVERY_SIZE
@CHANNELS
@WIDTHS
def test_generator_maps_latents_to_images(name: str, size: int, channels: int, width: int, latent_dim: int) -> None:
    torch.manual_seed(0)
    generator = build_generator(pair(name, width, latent_dim), channels, size)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(20)  # so that only a squashing last layer keeps the range
    images = generator(torch.randn(5, latent_dim))
    assert images.shape == (5, channels, size, size)
    assert images.dtype == torch.float32
    assert -1 <= images.min().item() < images.max().item() <= 1


@EVERY_SIZE
@CHANNELS
@WIDTHS
@pytest.mark.parametrize("critic_norm", ["none", "spectral"])
def test_critic_maps_images_to_logits(
    name: str, size: int, channels: int, width: int, latent_dim: int, critic_norm: Literal["none", "spectral"]
) -> None:
    torch.manual_seed(0)
    critic = build_critic(pair(name, width, latent_dim, critic_norm), channels, size)
    for count in (5, 1):
        logits = critic(torch.rand(count, channels, size, size) * 2 - 1)
        assert logits.shape == (count,)
        assert bool(torch.isfinite(logits).all())


@EVERY_SIZE
@CHANNELS
def test_logits_are_not_squashed(name: str, size: int, channels: int) -> None:
    # Noise images look alike to a deep critic, so one critic's logits may share a sign; several critics' don't.
    logits = []
    for seed in range(8):
        torch.manual_seed(seed)
        critic = build_critic(pair(name), channels, size)
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.mul_(50)
        logits.append(critic(torch.randn(8, channels, size, size)).detach())
    assert torch.cat(logits).max().item() > 1
    assert torch.cat(logits).min().item() < -1


@EVERY
@CHANNELS
def test_critic_has_no_norm_layer_and_no_buffers(name: str, channels: int) -> None:
    critic = build_critic(pair(name), channels)
    assert [layer for layer in critic.modules() if isinstance(layer, _NormBase | nn.GroupNorm | nn.LayerNorm)] == []
    assert list(critic.buffers()) == []


@EVERY
@CHANNELS
def test_a_logit_depends_on_its_own_image_alone(name: str, channels: int) -> None:
    torch.manual_seed(0)
    critic = build_critic(pair(name), channels)
    images = torch.randn(4, channels, 28, 28)
    alone = torch.cat([critic(images[index : index + 1]) for index in range(4)])
    torch.testing.assert_close(critic(images), alone)


@WITHOUT_STATISTICS
@CHANNELS
def test_an_image_depends_on_its_own_latent_alone(network: Network, channels: int) -> None:
    torch.manual_seed(0)
    generator = build_generator(network, channels).train()
    assert [layer for layer in generator.modules() if isinstance(layer, _NormBase)] == []
    assert list(generator.buffers()) == []
    z = torch.randn(4, 8)
    images = generator(z).detach()
    torch.testing.assert_close(images, torch.cat([generator(z[index : index + 1]).detach() for index in range(4)]))
    for index in range(4):
        others = [other for other in range(4) if other != index]
        assert float((images[index] - images[others]).abs().flatten(1).max(dim=1).values.min()) > 1e-4


def test_batch_norm_ties_the_images_of_a_batch_together() -> None:
    torch.manual_seed(0)
    generator, z = build_generator(pair("dcgan"), 3).train(), torch.randn(4, 8)
    assert float((generator(z)[:2] - generator(z[:2])).detach().abs().max()) > 1e-4


@EVERY_SIZE
@CHANNELS
def test_every_pixel_and_every_parameter_takes_part(name: str, size: int, channels: int) -> None:
    torch.manual_seed(0)
    network = pair(name)
    generator, critic = build_generator(network, channels, size), build_critic(network, channels, size)
    images = generator(torch.randn(6, 8))
    images.retain_grad()
    critic(images).sum().backward()
    assert images.grad is not None
    assert bool((images.grad.abs().sum(dim=0) > 0).all())
    for player in (generator, critic):
        assert [key for key, value in player.named_parameters() if value.grad is None] == []


@EVERY
def test_critic_convolves(name: str) -> None:
    critic = list(build_critic(pair(name), 3).modules())
    assert sum(isinstance(layer, nn.Conv2d) for layer in critic) >= 2
    assert not any(isinstance(layer, nn.ConvTranspose2d) for layer in critic)


def test_resnet_resamples_without_weights() -> None:
    layers = list(build_generator(pair("resnet"), 3, 64).modules())
    # From 8 to 64 pixels the side doubles three times.
    assert sum(isinstance(layer, nn.Upsample) for layer in layers) == 3
    assert not any(isinstance(layer, nn.ConvTranspose2d) for layer in layers)


@pytest.mark.parametrize("width", [4, 8, 10, 12, 20, 64])
def test_dcgan_generator_has_the_norm_that_was_asked_for(width: int) -> None:
    batch, group = (
        list(build_generator(Dcgan(width=width, latent_dim=8, generator_norm=norm), 3).modules())
        for norm in ("batch", "group")
    )
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in batch) == 3
    channels = [2 * width, width, width // 2]
    assert [layer.num_features for layer in batch if isinstance(layer, nn.BatchNorm2d)] == channels
    assert [layer.num_channels for layer in group if isinstance(layer, nn.GroupNorm)] == channels
    assert not any(isinstance(layer, _NormBase) for layer in group)


@CHANNELS
@pytest.mark.parametrize(("width", "fine"), [(4, 2), (9, 9), (32, 8)])
def test_dcgan_critic_begins_at_the_images_own_size_if_asked(width: int, fine: int, channels: int) -> None:
    torch.manual_seed(0)
    plain, stemmed = (build_critic(Dcgan(width=width, latent_dim=8, critic_stem=stem), channels) for stem in (0, fine))
    sides: list[list[int]] = [[], []]
    for critic, found in zip((plain, stemmed), sides, strict=True):
        for layer in critic.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(lambda _layer, _inputs, made, found=found: found.append(made.shape[2]))
        critic(torch.randn(1, channels, 28, 28))
    assert sides == [[14, 7, 4, 1], [28, 14, 7, 4, 1]]
    assert [layer.out_channels for layer in stemmed.modules() if isinstance(layer, nn.Conv2d)][:2] == [fine, width]
    images = torch.randn(64, channels, 28, 28, requires_grad=True)
    logits = stemmed(images)
    assert 0.05 < logits.std().item() < 20, "as the plain one, it starts with a signal"
    logits.sum().backward()
    assert images.grad is not None and bool((images.grad.abs().sum(dim=0) > 0).all())
    assert [name for name, value in stemmed.named_parameters() if value.grad is None] == []
    torch.testing.assert_close(stemmed(images[:1]), logits[:1])


@EVERY_SIZE
@CHANNELS
def test_seed_decides_the_weights(name: str, size: int, channels: int) -> None:
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


@EVERY_SIZE
@CHANNELS
@pytest.mark.parametrize("width", [8, 32])
def test_pair_starts_with_a_signal_at_every_width(name: str, size: int, channels: int, width: int) -> None:
    torch.manual_seed(0)
    network = pair(name, width, 100)
    with torch.no_grad():
        images = build_generator(network, channels, size)(torch.randn(64, 100))
        logits = build_critic(network, channels, size)(torch.randn(64, channels, size, size))
    # Neither grey without contrast nor stuck at tanh's ends; logits that noise can move.
    assert 0.01 < images.std().item() < 0.9
    assert 0.05 < logits.std().item() < 10


@EVERY
def test_biases_start_at_zero(name: str) -> None:
    network = pair(name)
    for player in (build_generator(network, 3), build_critic(network, 3)):
        biases = [value for key, value in player.named_parameters() if key.endswith("bias")]
        assert len(biases) >= 4
        assert not any(bool(bias.any()) for bias in biases)


# --- the spectral norm ----------------------------------------------------------------------------------------------


def spectral(name: str, size: int = 28, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_critic(pair(name, critic_norm="spectral"), 3, size)


def convolutions(critic: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in critic.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("name", LOSSES)
def test_spectral_norm_goes_with_every_loss_that_leaves_the_weights_alone(name: str) -> None:
    loss, network = LOSSES[name](name=name), pair("dcgan", critic_norm="spectral")
    moved = build_critic(network, 3, 28)
    before = [parameter.clone() for parameter in moved.parameters()]
    loss.constrain(moved)
    if all(torch.equal(a, b) for a, b in zip(before, moved.parameters(), strict=True)):
        check_losses((loss,), network)
    else:
        with pytest.raises(PydanticCustomError, match=f"{name} bounds the critic's weights"):
            check_losses((LOSSES["ns"](name="ns"), loss), network)
        check_losses((loss,), pair("dcgan"))


@EVERY_SIZE
def test_spectral_norm_gives_every_weight_the_largest_singular_value_1(name: str, size: int) -> None:
    critic = spectral(name, size)
    drawn = {key: value.clone() for key, value in critic.named_parameters()}
    assert len(convolutions(critic)) > 3
    assert all(parametrize.is_parametrized(layer, "weight") for layer in convolutions(critic))
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(3)
        for _ in range(200):
            critic(torch.randn(2, 3, size, size))
        critic.eval()  # the power iteration rests
        norms = [float(torch.linalg.matrix_norm(layer.weight.flatten(1), 2)) for layer in convolutions(critic)]
    assert norms == pytest.approx([1.0] * len(norms), rel=1e-2)
    # What the optimiser moves stays what it was.
    assert all(torch.equal(3 * drawn[key], value) for key, value in critic.named_parameters())


@EVERY
def test_spectral_critic_can_be_copied_and_saved(name: str) -> None:
    critic, images = spectral(name), torch.randn(3, 3, 28, 28)
    critic(images)
    twin, loaded = copy.deepcopy(critic), spectral(name, seed=1)
    assert not torch.equal(loaded(images), critic(images))
    loaded.load_state_dict(twin.state_dict())
    critic.load_state_dict(twin.state_dict())

    # Further forwards go on with the same power iteration.
    for _ in range(3):
        expected = critic(images)
        assert torch.equal(twin(images), expected)
        assert torch.equal(loaded(images), expected)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert not torch.equal(twin(images), critic(images))


@EVERY
@pytest.mark.parametrize("regularizer", list(REGULARIZERS))
def test_penalty_of_a_spectral_critic_can_be_differentiated(name: str, regularizer: str) -> None:
    # In eval mode the power iteration rests, so that a finite difference sees the function that backward sees.
    critic = spectral(name).double().eval()
    draws = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 3, 3, 28, 28, generator=draws, dtype=torch.float64)
    entry = REGULARIZERS[regularizer](name=regularizer)
    drawn = torch.rand(3, entry.draws(3, 28), generator=draws, dtype=torch.float64)
    state = {key: torch.tensor(value, dtype=torch.float64) for key, value in entry.initial_state().items()}

    def penalty() -> torch.Tensor:
        return entry.term(CriticStep(critic, real, fake, critic(real), critic(fake), drawn), state)

    penalty().backward()
    ways = {key: torch.randn(value.shape, generator=draws).double() for key, value in critic.named_parameters()}
    slope, ends = 0.0, []
    for key, parameter in critic.named_parameters():
        if key.endswith("original"):
            assert parameter.grad is not None and bool(parameter.grad.any()), key
            slope += float((parameter.grad * ways[key]).sum())
    # So small a step that no unit of a leaky ReLU changes sides.
    for step in (1e-9, -2e-9):
        with torch.no_grad():
            for key, parameter in critic.named_parameters():
                if key.endswith("original"):
                    parameter.add_(ways[key], alpha=step)
        ends.append(penalty().item())
    assert abs(slope) > 1e-6
    assert (ends[0] - ends[1]) / 2e-9 == pytest.approx(slope, rel=1e-3)
