"""The losses: hand-computed values, the penalty and its gradient against finite differences, and the whole table."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gansvc.catalog.losses import LOSSES, Loss, Lsgan, Wgan, WganGp, gradient_penalty

# Lopsided on purpose: real and fake, the players, the sign, the mean and the sum all give other numbers.
REAL = torch.tensor([2.0, -1.0, 0.5, 3.0])
FAKE = torch.tensor([0.25, -2.0, 1.5, -0.75])
EVERY = pytest.mark.parametrize("name", list(LOSSES))


def smooth_critic(seed: int = 3) -> nn.Sequential:
    """Return a small critic without kinks, in float64, so that finite differences hold."""
    torch.manual_seed(seed)
    critic = nn.Sequential(nn.Conv2d(2, 3, 2, stride=2), nn.Tanh(), nn.Conv2d(3, 1, 2), nn.Tanh(), nn.Flatten(0))
    return critic.double()


def images(seed: int, n: int = 3) -> Tensor:
    return torch.randn(n, 2, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_critic(weights: Tensor) -> nn.Sequential:
    """Return D(x) = <w, x> + 7: its gradient is w everywhere."""
    layer = nn.Linear(weights.numel(), 1).double()
    with torch.no_grad():
        layer.weight.copy_(weights.reshape(1, -1))
        layer.bias.fill_(7.0)
    return nn.Sequential(nn.Flatten(1), layer, nn.Flatten(0))


def central_difference(function: Callable[[], float], values: Tensor, step: float) -> Tensor:
    """Return the gradient of a function by the entries of a tensor that it reads, each moved both ways."""
    flat, gradient = values.data.view(-1), torch.zeros(values.numel(), dtype=torch.float64)
    for index in range(flat.numel()):
        kept = flat[index].item()
        flat[index] = kept + step
        above = function()
        flat[index] = kept - step
        below = function()
        flat[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient.view(values.shape)


# --- hand-computed values -------------------------------------------------------------------------------------------


def test_lsgan_critic() -> None:
    # real: (1 + 4 + 0.25 + 4) / 4 = 2.3125; fake: (0.0625 + 4 + 2.25 + 0.5625) / 4 = 1.71875
    assert Lsgan().critic_loss(REAL, FAKE).item() == pytest.approx(0.5 * (2.3125 + 1.71875))


def test_lsgan_generator() -> None:
    # (0.5625 + 9 + 0.25 + 3.0625) / 4 = 3.21875
    assert Lsgan().generator_loss(FAKE).item() == pytest.approx(0.5 * 3.21875)


@pytest.mark.parametrize("loss", [Wgan(), WganGp()], ids=lambda loss: loss.name)
def test_wasserstein_critic(loss: Loss) -> None:
    # mean real 4.5 / 4 = 1.125; mean fake -1 / 4 = -0.25
    assert loss.critic_loss(REAL, FAKE).item() == pytest.approx(-0.25 - 1.125)


@pytest.mark.parametrize("loss", [Wgan(), WganGp()], ids=lambda loss: loss.name)
def test_wasserstein_generator(loss: Loss) -> None:
    assert loss.generator_loss(FAKE).item() == pytest.approx(0.25)


def test_lsgan_is_least_at_its_targets() -> None:
    ones, zeros = torch.ones(3), torch.zeros(3)
    assert Lsgan().critic_loss(ones, zeros).item() == 0.0
    assert Lsgan().generator_loss(ones).item() == 0.0
    assert Lsgan().critic_loss(zeros, ones).item() == pytest.approx(1.0)
    assert Lsgan().generator_loss(zeros).item() == pytest.approx(0.5)


def test_real_and_fake_may_differ_in_number() -> None:
    fewer = FAKE[:2]  # mean -0.875
    assert Wgan().critic_loss(REAL, fewer).item() == pytest.approx(-0.875 - 1.125)
    assert Lsgan().critic_loss(REAL, fewer).item() == pytest.approx(0.5 * (2.3125 + (0.0625 + 4) / 2))


# --- the gradient penalty -------------------------------------------------------------------------------------------


def test_penalty_is_the_mean_over_samples_of_the_norm_of_finite_differences() -> None:
    critic, real, fake = smooth_critic(), images(0), images(1)
    mix = torch.tensor([0.1, 0.6, 0.9], dtype=torch.float64)
    squares = []
    for index in range(3):
        between = (mix[index] * real[index] + (1 - mix[index]) * fake[index]).unsqueeze(0)
        gradient = central_difference(lambda x=between: critic(x).item(), between, 1e-5)  # type: ignore[misc]
        squares.append((gradient.norm().item() - 1) ** 2)
    assert len({round(square, 6) for square in squares}) == 3
    assert gradient_penalty(critic, real, fake, mix).item() == pytest.approx(sum(squares) / 3, rel=1e-7)


def test_gradient_of_the_penalty_by_the_critics_parameters() -> None:
    critic, real, fake = smooth_critic(), images(0), images(1)
    mix = torch.tensor([0.1, 0.6, 0.9], dtype=torch.float64)
    gradient_penalty(critic, real, fake, mix).backward()
    largest = 0.0
    for name, parameter in critic.named_parameters():
        expected = central_difference(lambda: gradient_penalty(critic, real, fake, mix).item(), parameter, 1e-6)
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-5, atol=1e-8)
        largest = max(largest, expected.abs().max().item())
    assert largest > 1e-3


def test_penalty_of_a_linear_critic_is_known() -> None:
    weights = torch.zeros(2, 4, 4, dtype=torch.float64)
    weights[0, 0, 0], weights[1, 2, 3] = 3.0, -4.0
    penalty = gradient_penalty(linear_critic(weights), images(0), images(1), torch.rand(3, dtype=torch.float64))
    assert penalty.item() == pytest.approx((5.0 - 1.0) ** 2)


@pytest.mark.parametrize("norm", [0.0, 0.25, 1.0, 2.0])
def test_penalty_has_two_sides(norm: float) -> None:
    weights = torch.full((2, 4, 4), norm / math.sqrt(32), dtype=torch.float64)
    penalty = gradient_penalty(linear_critic(weights), images(0), images(1), torch.rand(3, dtype=torch.float64))
    assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-12)


@pytest.mark.parametrize(("mix", "side"), [(1.0, "real"), (0.0, "fake")])
def test_mix_is_the_share_of_the_real_image(mix: float, side: str) -> None:
    # D(x) = sum(x^2) / 2 has the gradient x: the penalty tells where it was taken.
    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square().flatten(1).sum(1) / 2

    given = {"real": images(0), "fake": 3 * images(1)}
    expected = (given[side].flatten(1).norm(dim=1) - 1).square().mean().item()
    weights = torch.full((3,), mix, dtype=torch.float64)
    assert gradient_penalty(Square(), given["real"], given["fake"], weights).item() == pytest.approx(expected)


def test_penalty_leaves_the_images_and_the_parameters_alone() -> None:
    critic, real, fake = smooth_critic(), images(0), images(1).requires_grad_(True)
    gradient_penalty(critic, real, fake, torch.rand(3, dtype=torch.float64)).backward()
    assert not real.requires_grad
    assert fake.grad is None
    assert all(parameter.grad is not None for parameter in critic.parameters())


def test_wgan_gp_weighs_the_penalty() -> None:
    critic, real, fake, mix = smooth_critic(), images(0), images(1), torch.rand(3, dtype=torch.float64)
    plain = gradient_penalty(critic, real, fake, mix).item()
    for loss, weight in ((WganGp(), 10.0), (WganGp(penalty_weight=2.5), 2.5), (WganGp(penalty_weight=0.0), 0.0)):
        term = loss.penalty(critic, real, fake, mix)
        assert term is not None
        assert term.item() == pytest.approx(weight * plain)


# --- weight clipping ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [0.01, 0.3])
def test_clipping_clamps_every_parameter_and_nothing_inside(clip: float) -> None:
    critic = smooth_critic()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
            parameter.view(-1)[0] = clip / 3
    before = [parameter.detach().clone() for parameter in critic.parameters()]
    Wgan(clip=clip).constrain(critic)
    for old, new in zip(before, critic.parameters(), strict=True):
        assert torch.equal(new, torch.where(old.abs() > clip, clip * old.sign(), old))
        assert new.requires_grad
    assert sum(int((old.abs() > clip).sum()) for old in before) > len(before)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "wgan"])
def test_other_losses_leave_the_weights_alone(name: str) -> None:
    critic = smooth_critic()
    before = [parameter.detach().clone() for parameter in critic.parameters()]
    LOSSES[name](name=name).constrain(critic)
    assert all(torch.equal(old, new) for old, new in zip(before, critic.parameters(), strict=True))


# --- the whole table ------------------------------------------------------------------------------------------------


@EVERY
def test_losses_are_finite_scalars(name: str) -> None:
    loss = LOSSES[name](name=name)
    for value in (loss.critic_loss(REAL, FAKE), loss.generator_loss(FAKE)):
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert torch.isfinite(value)


@EVERY
def test_losses_are_means_over_samples(name: str) -> None:
    loss = LOSSES[name](name=name)

    def twice(logits: Tensor) -> Tensor:
        return torch.cat([logits, logits])

    assert loss.critic_loss(twice(REAL), twice(FAKE)).item() == pytest.approx(loss.critic_loss(REAL, FAKE).item())
    assert loss.generator_loss(twice(FAKE)).item() == pytest.approx(loss.generator_loss(FAKE).item())


@EVERY
def test_generator_gains_when_its_images_pass_for_real(name: str) -> None:
    loss = LOSSES[name](name=name)
    values = [loss.generator_loss(torch.full((4,), logit)).item() for logit in (-2.0, -1.0, 0.0, 0.9)]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[-1] > 0.1


@EVERY
def test_critic_gains_when_it_tells_real_from_fake(name: str) -> None:
    loss = LOSSES[name](name=name)
    high, low = torch.full((4,), 0.9), torch.full((4,), 0.1)
    assert loss.critic_loss(high, low).item() < loss.critic_loss(low, low).item()
    assert loss.critic_loss(high, low).item() < loss.critic_loss(high, high).item()
    assert loss.critic_loss(high, low).item() < loss.critic_loss(low, high).item()


@EVERY
def test_gradients_reach_every_logit(name: str) -> None:
    loss = LOSSES[name](name=name)
    real, fake = REAL.clone().requires_grad_(True), FAKE.clone().requires_grad_(True)
    gradients = torch.autograd.grad(loss.critic_loss(real, fake), (real, fake))
    gradients += torch.autograd.grad(loss.generator_loss(fake), (fake,))
    assert all(bool((gradient != 0).all()) for gradient in gradients)


@EVERY
def test_history_lists_a_penalty_where_there_is_one(name: str) -> None:
    loss = LOSSES[name](name=name)
    term = loss.penalty(smooth_critic(), images(0), images(1), torch.rand(3, dtype=torch.float64))
    assert (term is not None) == loss.has_penalty
    if term is not None:
        assert term.shape == ()
        assert torch.isfinite(term)
        assert term.requires_grad


@EVERY
def test_table_entry_knows_its_name_and_source(name: str) -> None:
    kind = LOSSES[name]
    assert kind(name=name).name == name
    assert kind(name=name).label == name
    assert "arXiv" in kind.reference
