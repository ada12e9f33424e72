"""The GAN losses: one small class each, its numbers as fields, one method per player, no backward inside.

Logits are the critic's raw outputs, shape (N,), float. A loss returns a scalar, the mean over the N given samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

from pydantic import Field

from gansvc.catalog.labels import Label
from gansvc.schema.section import Section, section_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    Critic = Callable[[Tensor], Tensor]
    """What a penalty needs of a critic: images (N, C, H, W) to logits (N,)."""

Rate = Annotated[float, Field(gt=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Loss(Section):
    """What all losses share: the optimiser and the ratio of critic to generator steps."""

    reference: ClassVar[str]
    """Where the loss and its defaults come from."""

    has_penalty: ClassVar[bool] = False
    """Whether history lists a penalty."""
    pairs_real: ClassVar[bool] = False
    """Whether the generator's loss compares with the critic's logits of real images."""

    name: str
    label: Label = ""
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

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the generator's loss from the critic's logits of generated images, (N,).

        ``real`` are the logits of as many real images, given to a loss that ``pairs_real``; no gradient flows there.
        """
        raise TypeError(f"{type(self).__name__} defines no generator loss")

    def penalty(self, critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor | None:
        """Return a term to add to the critic's loss, or None; images (N, C, H, W) in [-1, 1], mix (N,) in [0, 1)."""
        return None

    def penalty_interval(self) -> int:
        """Return how many critic steps one penalty stands for; its weight grows by as much."""
        return 1

    def constrain(self, critic: nn.Module) -> None:
        """Project the critic's weights after its optimiser step; nothing by default."""


class Lsgan(Loss):
    """Least squares with targets a=0, b=c=1 (Mao et al. 2017, arXiv 1611.04076, equation 9)."""

    reference = "Mao et al. 2017, arXiv 1611.04076"
    name: Literal["lsgan"] = "lsgan"

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * ((real - 1).square().mean() + fake.square().mean())

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
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

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
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

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()

    def penalty(self, critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor | None:
        return self.penalty_weight * gradient_penalty(critic, real, fake, mix)


class Ns(Loss):
    """The non-saturating loss (Goodfellow et al. 2014, arXiv 1406.2661, section 3) with DCGAN's optimiser."""

    reference = "Goodfellow et al. 2014, arXiv 1406.2661; Radford et al. 2016, arXiv 1511.06434"
    name: Literal["ns"] = "ns"

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return _softplus(-real).mean() + _softplus(fake).mean()

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return _softplus(-fake).mean()


class Hinge(Loss):
    """The hinge loss (Lim & Ye 2017, arXiv 1705.02894) with the optimiser of SN-GAN (Miyato et al. 2018).

    SN-GAN trains it with a spectrally normalised critic: set ``network.critic_norm: spectral`` to do the same.
    """

    reference = "Lim & Ye 2017, arXiv 1705.02894; Miyato et al. 2018, arXiv 1802.05957"
    name: Literal["hinge"] = "hinge"
    betas: tuple[Beta, Beta] = (0.0, 0.9)
    n_critic: Annotated[int, Field(ge=1, le=100)] = 5

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return (1 - real).relu().mean() + (1 + fake).relu().mean()

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()


class RpGan(Loss):
    """Relativistic pairing with zero-centred R1 and R2 penalties (Huang et al. 2024, arXiv 2501.05441, section 2).

    Each generated image is paired with a real one: the critic maximises log sigmoid(D(x) - D(G(z))), the generator
    log sigmoid(D(G(z)) - D(x)).
    """

    reference = "Huang et al. 2024, arXiv 2501.05441; Jolicoeur-Martineau 2019, arXiv 1807.00734"
    has_penalty = True
    pairs_real = True
    name: Literal["rpgan"] = "rpgan"
    betas: tuple[Beta, Beta] = (0.0, 0.9)
    penalty_weight: Annotated[float, Field(ge=0, le=1000)] = 0.05
    """Weight gamma of the two penalties; the default is the paper's for CIFAR-10, the set nearest to ours in size."""
    penalty_every: Annotated[int, Field(ge=1, le=1000)] = 1
    """Critic steps per penalty, whose weight grows by as much: StyleGAN2's lazy regularisation (arXiv 1912.04958)."""

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return _softplus(fake - real).mean()

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        if real is None:
            raise TypeError("rpgan's generator loss needs the logits of real images")
        return _softplus(real - fake).mean()

    def penalty(self, critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor | None:
        return 0.5 * self.penalty_weight * zero_centred_penalty(critic, real, fake)

    def penalty_interval(self) -> int:
        return self.penalty_every


LOSSES: dict[str, type[Loss]] = {
    "lsgan": Lsgan,
    "wgan": Wgan,
    "wgan-gp": WganGp,
    "ns": Ns,
    "hinge": Hinge,
    "rpgan": RpGan,
}

if TYPE_CHECKING:
    AnyLoss = Loss
else:
    AnyLoss = Annotated[
        Union[tuple(LOSSES.values())],  # noqa: UP007 - the union is made from the table
        Field(discriminator="name"),
        section_of(LOSSES, "loss"),
    ]


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
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


def _softplus(logits: Tensor) -> Tensor:
    """Return log(1 + exp(x)): minus the log of the probability that a sigmoid gives to the other side."""
    from torch.nn import functional

    return functional.softplus(logits)
