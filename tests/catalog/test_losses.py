"""The losses: hand-computed values, the penalties and their gradients by finite differences, and the whole table."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gansvc.catalog.losses import (
    LOSSES,
    Hinge,
    Loss,
    Lsgan,
    Ns,
    RpGan,
    Wgan,
    WganGp,
    gradient_penalty,
    zero_centred_penalty,
)

# Lopsided on purpose: real and fake, the players, the sign, the mean and the sum all give other numbers.
REAL = torch.tensor([2.0, -1.0, 0.5, 3.0])
FAKE = torch.tensor([0.25, -2.0, 1.5, -0.75])
EVERY = pytest.mark.parametrize("name", list(LOSSES))

MIX = torch.tensor([0.1, 0.6, 0.9], dtype=torch.float64)
PENALTIES: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "gradient": lambda critic, real, fake: gradient_penalty(critic, real, fake, MIX),
    "zero-centred": zero_centred_penalty,
}
EVERY_PENALTY = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES.keys())


class Square(nn.Module):
    """D(x) = sum(x^2) / 2: its gradient is x, so a penalty tells where it was taken."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().flatten(1).sum(1) / 2


def generator_loss(loss: Loss, fake: Tensor, real: Tensor) -> Tensor:
    """Return the generator's loss, given real logits only where it asks for them."""
    return loss.generator_loss(fake, real) if loss.pairs_real else loss.generator_loss(fake)


def softplus(logit: float) -> float:
    return math.log(1 + math.exp(logit))


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


def test_ns() -> None:
    real = sum(softplus(-logit) for logit in REAL.tolist()) / 4
    fake = sum(softplus(logit) for logit in FAKE.tolist()) / 4
    assert Ns().critic_loss(REAL, FAKE).item() == pytest.approx(real + fake)
    assert Ns().generator_loss(FAKE).item() == pytest.approx(sum(softplus(-logit) for logit in FAKE.tolist()) / 4)


def test_ns_is_minus_the_log_of_a_sigmoids_probability() -> None:
    # A logit of log 3 is a probability of 3/4.
    sure = torch.full((2,), math.log(3))
    assert Ns().critic_loss(sure, sure).item() == pytest.approx(-math.log(0.75) - math.log(0.25))
    assert Ns().generator_loss(sure).item() == pytest.approx(-math.log(0.75))


def test_hinge() -> None:
    # real: (0 + 2 + 0.5 + 0) / 4 = 0.625; fake: (1.25 + 0 + 2.5 + 0.25) / 4 = 1
    assert Hinge().critic_loss(REAL, FAKE).item() == pytest.approx(0.625 + 1.0)
    assert Hinge().generator_loss(FAKE).item() == pytest.approx(0.25)


def test_hinge_asks_no_more_than_its_margin() -> None:
    real, fake = torch.tensor([0.9, 1.1], requires_grad=True), torch.tensor([-0.9, -1.1], requires_grad=True)
    Hinge().critic_loss(real, fake).backward()
    assert real.grad is not None and real.grad.tolist() == [-0.5, 0.0]
    assert fake.grad is not None and fake.grad.tolist() == [0.5, 0.0]


def test_rpgan_compares_each_generated_image_with_its_real_one() -> None:
    gaps = [real - fake for real, fake in zip(REAL.tolist(), FAKE.tolist(), strict=True)]
    assert RpGan().critic_loss(REAL, FAKE).item() == pytest.approx(sum(softplus(-gap) for gap in gaps) / 4)
    assert RpGan().generator_loss(FAKE, REAL).item() == pytest.approx(sum(softplus(gap) for gap in gaps) / 4)
    assert RpGan().critic_loss(REAL, FAKE.flip(0)).item() != pytest.approx(RpGan().critic_loss(REAL, FAKE).item())
    # Only the gap counts: a constant that the critic adds everywhere changes nothing.
    assert RpGan().critic_loss(REAL + 5, FAKE + 5).item() == pytest.approx(RpGan().critic_loss(REAL, FAKE).item())


def test_rpgan_says_what_it_lacks() -> None:
    with pytest.raises(TypeError, match="logits of real images"):
        RpGan().generator_loss(FAKE)


@pytest.mark.parametrize("loss", [Ns(), RpGan()], ids=lambda loss: loss.name)
def test_logarithms_bear_a_critic_that_is_wrong_and_sure(loss: Loss) -> None:
    real, fake = torch.tensor([-200.0], requires_grad=True), torch.tensor([200.0], requires_grad=True)
    value = loss.critic_loss(real, fake)
    assert value.item() == pytest.approx(400.0)
    assert [gradient.item() for gradient in torch.autograd.grad(value, (real, fake))] == [-1.0, 1.0]
    assert generator_loss(loss, fake, real).item() == pytest.approx(0.0)


def test_real_and_fake_may_differ_in_number() -> None:
    fewer = FAKE[:2]  # mean -0.875
    assert Wgan().critic_loss(REAL, fewer).item() == pytest.approx(-0.875 - 1.125)
    assert Lsgan().critic_loss(REAL, fewer).item() == pytest.approx(0.5 * (2.3125 + (0.0625 + 4) / 2))


# --- the penalties --------------------------------------------------------------------------------------------------


def test_penalty_is_the_mean_over_samples_of_the_norm_of_finite_differences() -> None:
    critic, real, fake = smooth_critic(), images(0), images(1)
    squares = []
    for index in range(3):
        between = (MIX[index] * real[index] + (1 - MIX[index]) * fake[index]).unsqueeze(0)
        gradient = central_difference(lambda x=between: critic(x).item(), between, 1e-5)  # type: ignore[misc]
        squares.append((gradient.norm().item() - 1) ** 2)
    assert len({round(square, 6) for square in squares}) == 3
    assert gradient_penalty(critic, real, fake, MIX).item() == pytest.approx(sum(squares) / 3, rel=1e-7)


@EVERY_PENALTY
def test_gradient_of_a_penalty_by_the_critics_parameters(
    penalty: Callable[[nn.Module, Tensor, Tensor], Tensor],
) -> None:
    critic, real, fake = smooth_critic(), images(0), images(1)
    penalty(critic, real, fake).backward()
    largest = 0.0
    for name, parameter in critic.named_parameters():
        expected = central_difference(lambda: penalty(critic, real, fake).item(), parameter, 1e-6)
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
    given = {"real": images(0), "fake": 3 * images(1)}
    expected = (given[side].flatten(1).norm(dim=1) - 1).square().mean().item()
    weights = torch.full((3,), mix, dtype=torch.float64)
    assert gradient_penalty(Square(), given["real"], given["fake"], weights).item() == pytest.approx(expected)


def test_zero_centred_penalty_is_the_mean_of_squares_of_finite_differences_on_both_sides() -> None:
    critic = smooth_critic()
    sides = []
    for batch in (images(0), 3 * images(1)):
        squares = []
        for index in range(3):
            image = batch[index : index + 1].clone()
            gradient = central_difference(lambda x=image: critic(x).item(), image, 1e-5)  # type: ignore[misc]
            squares.append(gradient.square().sum().item())
        sides.append(sum(squares) / 3)
    assert abs(sides[0] - sides[1]) > 0.01 * sides[0]
    found = zero_centred_penalty(critic, images(0), 3 * images(1)).item()
    assert found == pytest.approx(sides[0] + sides[1], rel=1e-7)


def test_zero_centred_penalty_of_a_linear_critic_is_known() -> None:
    weights = torch.zeros(2, 4, 4, dtype=torch.float64)
    weights[0, 0, 0], weights[1, 2, 3] = 3.0, -4.0
    # R1 = R2 = ||w||^2 = 25, whatever the images.
    assert zero_centred_penalty(linear_critic(weights), images(0), images(1)).item() == pytest.approx(25.0 + 25.0)


def test_zero_centred_penalty_counts_both_sides_each_with_its_own_mean() -> None:
    # Three real and two generated images, so that neither a swap nor one mean over all gives the same.
    real, fake = images(0), 3 * images(1, n=2)
    r1, r2 = (side.flatten(1).square().sum(1).mean().item() for side in (real, fake))
    assert zero_centred_penalty(Square(), real, fake).item() == pytest.approx(r1 + r2)
    assert zero_centred_penalty(Square(), real, torch.zeros_like(fake)).item() == pytest.approx(r1)
    assert zero_centred_penalty(Square(), torch.zeros_like(real), fake).item() == pytest.approx(r2)


@EVERY_PENALTY
def test_penalty_leaves_the_images_and_the_parameters_alone(
    penalty: Callable[[nn.Module, Tensor, Tensor], Tensor],
) -> None:
    critic, real, fake = smooth_critic(), images(0), images(1).requires_grad_(True)
    penalty(critic, real, fake).backward()
    assert not real.requires_grad
    assert fake.grad is None
    assert all(parameter.grad is not None for parameter in critic.parameters())


def test_losses_weigh_their_penalties() -> None:
    critic, real, fake = smooth_critic(), images(0), images(1)
    one, both = gradient_penalty(critic, real, fake, MIX).item(), zero_centred_penalty(critic, real, fake).item()
    weighed: list[tuple[Loss, float]] = [
        *((WganGp(), 10 * one), (WganGp(penalty_weight=2.5), 2.5 * one), (WganGp(penalty_weight=0.0), 0.0)),
        # gamma / 2 before each of R1 and R2; that a penalty is rarer changes its weight outside the loss.
        *((RpGan(), 0.025 * both), (RpGan(penalty_weight=3.0, penalty_every=4), 1.5 * both)),
    ]
    for loss, expected in weighed:
        term = loss.penalty(critic, real, fake, MIX)
        assert term is not None
        assert term.item() == pytest.approx(expected)


@EVERY
def test_penalty_is_due_at_every_step_unless_told_otherwise(name: str) -> None:
    assert LOSSES[name](name=name).penalty_interval() == 1
    assert RpGan(penalty_every=4).penalty_interval() == 4


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
    for value in (loss.critic_loss(REAL, FAKE), generator_loss(loss, FAKE, REAL)):
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert torch.isfinite(value)


@EVERY
def test_losses_are_means_over_samples(name: str) -> None:
    loss = LOSSES[name](name=name)

    def twice(logits: Tensor) -> Tensor:
        return torch.cat([logits, logits])

    assert loss.critic_loss(twice(REAL), twice(FAKE)).item() == pytest.approx(loss.critic_loss(REAL, FAKE).item())
    once = generator_loss(loss, FAKE, REAL).item()
    assert generator_loss(loss, twice(FAKE), twice(REAL)).item() == pytest.approx(once)


@EVERY
def test_generator_gains_when_its_images_pass_for_real(name: str) -> None:
    loss = LOSSES[name](name=name)
    logits = (-2.0, -1.0, 0.0, 0.9)
    values = [generator_loss(loss, torch.full((4,), logit), torch.zeros(4)).item() for logit in logits]
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
    # A quarter of them lies inside hinge's margin; beyond it the loss is flat on purpose.
    real, fake = (REAL / 4).requires_grad_(True), (FAKE / 4).requires_grad_(True)
    gradients = torch.autograd.grad(loss.critic_loss(real, fake), (real, fake))
    gradients += torch.autograd.grad(generator_loss(loss, fake, real.detach()), (fake,))
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
