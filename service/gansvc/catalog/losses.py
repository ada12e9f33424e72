"""The GAN losses: one small class each, its numbers as fields, one method per player, no backward inside.

Logits are the critic's raw outputs, shape (N,), float. A loss returns a scalar, the mean over the N given samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

from pydantic import Field

from gansvc.catalog.entry import Section, section_of

if TYPE_CHECKING:
    from torch import Tensor, nn

Rate = Annotated[float, Field(gt=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Loss(Section):
    """What all losses share: the optimiser and the ratio of critic to generator steps."""

    reference: ClassVar[str]
    """Where the loss and its defaults come from."""

    has_penalty: ClassVar[bool] = False
    """Whether history lists a penalty."""

    name: str
    label: Annotated[str, Field(max_length=40, pattern=r"^([a-z0-9][a-z0-9_-]*)?$")] = ""
    """Name in tables and folders; the loss's own name unless one job holds the same loss twice."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Optimiser of both players."""
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    """Adam's decay rates; RMSprop uses the second as its smoothing constant."""
    generator_lr: Rate = 2e-4
    """Learning rate of the generator."""
    critic_lr: Rate = 2e-4
    """Learning rate of the critic."""
    n_critic: Annotated[int, Field(ge=1, le=100)] = 1
    """Critic steps per generator step."""

    def model_post_init(self, context: Any, /) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name)

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the critic's loss from its logits of real and generated images, each (N,)."""
        raise TypeError(f"{type(self).__name__} defines no critic loss")

    def generator_loss(self, fake: Tensor) -> Tensor:
        """Return the generator's loss from the critic's logits of generated images, (N,)."""
        raise TypeError(f"{type(self).__name__} defines no generator loss")

    def penalty(self, critic: nn.Module, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor | None:
        """Return a term to add to the critic's loss, or None; images (N, C, H, W) in [-1, 1], mix (N,) in [0, 1)."""
        return None

    def constrain(self, critic: nn.Module) -> None:
        """Project the critic's weights after its optimiser step; nothing by default."""


class Lsgan(Loss):
    """Least squares with targets a=0, b=c=1 (Mao et al. 2017, arXiv 1611.04076, equation 9)."""

    reference = "Mao et al. 2017, arXiv 1611.04076"
    name: Literal["lsgan"] = "lsgan"

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * ((real - 1).square().mean() + fake.square().mean())

    def generator_loss(self, fake: Tensor) -> Tensor:
        return 0.5 * (fake - 1).square().mean()


class Wgan(Loss):
    """Wasserstein distance with weight clipping (Arjovsky et al. 2017, arXiv 1701.07875, algorithm 1)."""

    reference = "Arjovsky et al. 2017, arXiv 1701.07875"
    name: Literal["wgan"] = "wgan"
    optimizer: Literal["adam", "rmsprop"] = "rmsprop"
    # The paper leaves RMSprop's smoothing open: 0.99 is PyTorch's, which the authors' code used.
    betas: tuple[Beta, Beta] = (0.0, 0.99)
    generator_lr: Rate = 5e-5
    critic_lr: Rate = 5e-5
    n_critic: Annotated[int, Field(ge=1, le=100)] = 5
    clip: Annotated[float, Field(gt=0, le=10)] = 0.01
    """Bound of every critic weight after a critic step."""

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        return -fake.mean()

    def constrain(self, critic: nn.Module) -> None:
        for parameter in critic.parameters():
            parameter.data.clamp_(-self.clip, self.clip)


class WganGp(Loss):
    """Wasserstein distance with gradient penalty (Gulrajani et al. 2017, arXiv 1704.00028, algorithm 1)."""

    reference = "Gulrajani et al. 2017, arXiv 1704.00028"
    has_penalty = True
    name: Literal["wgan-gp"] = "wgan-gp"
    betas: tuple[Beta, Beta] = (0.0, 0.9)
    generator_lr: Rate = 1e-4
    critic_lr: Rate = 1e-4
    n_critic: Annotated[int, Field(ge=1, le=100)] = 5
    penalty_weight: Annotated[float, Field(ge=0, le=1000)] = 10.0
    """Weight of the gradient penalty (lambda in the paper)."""

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        return -fake.mean()

    def penalty(self, critic: nn.Module, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor | None:
        return self.penalty_weight * gradient_penalty(critic, real, fake, mix)


LOSSES: dict[str, type[Loss]] = {"lsgan": Lsgan, "wgan": Wgan, "wgan-gp": WganGp}

if TYPE_CHECKING:
    AnyLoss = Loss
else:
    AnyLoss = Annotated[
        Union[tuple(LOSSES.values())],  # noqa: UP007 - the union is made from the table
        Field(discriminator="name"),
        section_of(LOSSES, "loss"),
    ]


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Return the mean of (||grad critic(x)|| - 1)^2 at x = mix * real + (1 - mix) * fake (arXiv 1704.00028, eq. 3).

    The norm is taken per sample over channels and pixels. The graph is kept, so that the result can be differentiated
    by the critic's parameters. Images (N, C, H, W); mix (N,) in [0, 1); returns a scalar.
    """
    import torch

    weight = mix.view(-1, 1, 1, 1)
    between = (weight * real + (1 - weight) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
