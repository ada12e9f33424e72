"""The regularizers: their gradients by finite differences, hand-computed values, and the whole table."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gansvc.catalog.regularizers import REGULARIZERS, CriticStep, gradient_penalty, zero_centred_penalty

EVERY = pytest.mark.parametrize("name", list(REGULARIZERS))
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


# --- the whole table ------------------------------------------------------------------------------------------------


@EVERY
def test_a_term_is_a_scalar_that_can_be_differentiated(name: str) -> None:
    regularizer, critic = REGULARIZERS[name](name=name), smooth_critic()
    real, fake = images(0), images(1)
    draws = torch.rand(3, regularizer.draws(2, 4), dtype=torch.float64)
    state = {key: torch.tensor(value, dtype=torch.float64) for key, value in regularizer.initial_state().items()}
    step = CriticStep(critic, real, fake, critic(real), critic(fake), draws)
    term = regularizer.term(step, state)
    assert term.shape == () and torch.isfinite(term) and term.requires_grad
    assert regularizer.next_state(state, regularizer.observe(step, state)).keys() == state.keys()


@EVERY
def test_a_term_is_due_at_every_step_unless_told_otherwise(name: str) -> None:
    kind = REGULARIZERS[name]
    assert all(kind(name=name).is_due(number) for number in range(5))
    assert [number for number in range(9) if kind(name=name, every=4).is_due(number)] == [0, 4, 8]


@EVERY
def test_table_entry_knows_its_name_and_source(name: str) -> None:
    assert REGULARIZERS[name](name=name).name == name
    assert "arXiv" in REGULARIZERS[name].reference
