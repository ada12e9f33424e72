"""The regularizers: terms that any loss may add to its critic's loss, one small class each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from gansvc.schema.section import Section, TableSection

if TYPE_CHECKING:
    from torch import Tensor

    Critic = Callable[[Tensor], Tensor]
    """Images (N, C, H, W) to logits (N,)."""

Weight = Annotated[float, Field(ge=0, le=1000)]
Interval = Annotated[int, Field(ge=1, le=1000)]


@dataclass(frozen=True)
class CriticStep:
    """What a regularizer computes its term from: one worker's slice of a critic step."""

    critic: Critic
    real: Tensor
    """Images (N, C, H, W) in [-1, 1] as the critic sees them."""
    fake: Tensor
    """As many generated images; no gradient flows to the generator."""
    real_logits: Tensor
    """The critic's logits (N,) of the real images, from the forward that the loss is computed from."""
    fake_logits: Tensor
    draws: Tensor
    """Random numbers (N, D) from [0, 1), D being what the regularizer asks for; each image has the same ones whatever
    the number of workers."""


class Regularizer(Section):
    """What all regularizers share."""

    reference: ClassVar[str]
    """Where the regularizer and its defaults come from."""

    name: str
    weight: Weight = 1.0
    """Factor of the term."""
    every: Interval = 1
    """Critic steps per term, whose weight grows by as much: StyleGAN2's lazy regularisation (arXiv 1912.04958)."""

    def is_due(self, number: int) -> bool:
        """Return whether the term is added in the critic step of that number, from 0."""
        return number % self.every == 0

    def term(self, step: CriticStep, state: Mapping[str, Tensor]) -> Tensor:
        """Return the term before its weight: a scalar, the mean over the given images."""
        raise TypeError(f"{type(self).__name__} defines no term")

    def draws(self, channels: int, size: int) -> int:
        """Return how many random numbers each image takes, for images of so many channels and that side."""
        return 0

    def initial_state(self) -> dict[str, float]:
        """Return the numbers that the regularizer remembers from step to step, as they are before the first.

        They are saved in the checkpoints, and logged.
        """
        return {}

    def observe(self, step: CriticStep, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return scalars, each a mean over the given images, that the next state depends on."""
        return {}

    def next_state(self, state: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the state after a step; ``observed`` holds what ``observe`` returned, as means over all workers."""
        return state


class GradientPenalty(Regularizer):
    """The mean of (||grad critic(x)|| - 1)^2 between real and generated images (Gulrajani et al. 2017, equation 3).

    Each x lies at a random place on the line from a generated image to a real one.
    """

    reference = "Gulrajani et al. 2017, arXiv 1704.00028"
    name: Literal["gradient-penalty"] = "gradient-penalty"
    weight: Weight = 10.0
    """Factor of the term (lambda in the paper)."""

    def draws(self, channels: int, size: int) -> int:
        return 1

    def term(self, step: CriticStep, state: Mapping[str, Tensor]) -> Tensor:
        return gradient_penalty(step.critic, step.real, step.fake, step.draws)


class R1R2(Regularizer):
    """Half of R1 + R2: the mean squared norms of the critic's gradients at real and at generated images.

    One regularizer, because one forward serves both.
    """

    reference = "Huang et al. 2024, arXiv 2501.05441; Mescheder et al. 2018, arXiv 1801.04406"
    name: Literal["r1-r2"] = "r1-r2"
    weight: Weight = 0.05
    """Factor of the term (gamma in the paper); the default is the paper's for CIFAR-10, the set nearest to ours."""

    def term(self, step: CriticStep, state: Mapping[str, Tensor]) -> Tensor:
        return 0.5 * zero_centred_penalty(step.critic, step.real, step.fake)


REGULARIZERS: dict[str, type[Regularizer]] = {
    "gradient-penalty": GradientPenalty,
    "r1-r2": R1R2,
}

AnyRegularizer = Annotated[Regularizer, TableSection(REGULARIZERS, "regularizer")]


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Return the mean of (||grad critic(x)|| - 1)^2 at x = mix * real + (1 - mix) * fake (arXiv 1704.00028, eq. 3).

    The norm is taken per sample over channels and pixels. The graph is kept, so that the result can be differentiated
    by the critic's parameters. Images (N, C, H, W); mix N numbers in [0, 1); returns a scalar.
    """
    import torch

    weight = mix.view(-1, 1, 1, 1)
    between = (weight * real + (1 - weight) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty


def zero_centred_penalty(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    """Return R1 + R2: the means of ||grad critic(x)||^2 over real and over generated images (arXiv 2501.05441, eq. 3).

    One forward and one gradient serve both, as the critic keeps no batch statistics. Images (N, C, H, W) each; the
    graph is kept, so that the scalar can be differentiated by the critic's parameters.
    """
    import torch

    images = torch.cat([real, fake]).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    squares = gradient.flatten(1).square().sum(dim=1)
    penalty: Tensor = squares[: len(real)].mean() + squares[len(real) :].mean()
    return penalty
