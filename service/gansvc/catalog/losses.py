"""The GAN losses: one small class each, its numbers as fields, one method per player, no backward inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gansvc.catalog.loss import Beta, Loss, Rate, Steps
from gansvc.catalog.regularizers import R1R2, GradientPenalty, Interval, Regularizer, Weight
from gansvc.schema.section import TableSection

if TYPE_CHECKING:
    from torch import Tensor, nn


class Lsgan(Loss):
    """Least squares with targets a=0, b=c=1 (Mao et al. 2017, arXiv 1611.04076, equation 9)."""

    reference = "Mao et al. 2017, arXiv 1611.04076"
    name: Literal["lsgan"] = "lsgan"

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * ((real - 1).square().mean() + fake.square().mean())

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return 0.5 * (fake - 1).square().mean()


class Wasserstein(Loss):
    """What the Wasserstein losses share: the critic's mean gap between real and generated images."""

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()


class Wgan(Wasserstein):
    """Wasserstein distance with weight clipping (Arjovsky et al. 2017, arXiv 1701.07875, algorithm 1)."""

    reference = "Arjovsky et al. 2017, arXiv 1701.07875"
    name: Literal["wgan"] = "wgan"
    optimizer: Literal["adam", "rmsprop"] = "rmsprop"
    # The paper leaves RMSprop's smoothing open: 0.99 is PyTorch's, which the authors' code used.
    betas: tuple[Beta, Beta] = (0.0, 0.99)
    generator_lr: Rate = 5e-5
    critic_lr: Rate = 5e-5
    n_critic: Steps = 5
    clip: Annotated[float, Field(gt=0, le=10)] | None = 0.01
    """Bound of every critic weight after a critic step; null for none, as beside a regularizer."""

    def constrain(self, critic: nn.Module) -> None:
        if self.clip is not None:
            for parameter in critic.parameters():
                parameter.data.clamp_(-self.clip, self.clip)

    def bounds_weights(self) -> bool:
        return self.clip is not None


class WganGp(Wasserstein):
    """Wasserstein distance with gradient penalty (Gulrajani et al. 2017, arXiv 1704.00028, algorithm 1).

    That is wgan with ``clip: null``, the regularizer gradient-penalty, and the paper's optimiser.
    """

    reference = "Gulrajani et al. 2017, arXiv 1704.00028"
    name: Literal["wgan-gp"] = "wgan-gp"
    betas: tuple[Beta, Beta] = (0.0, 0.9)
    generator_lr: Rate = 1e-4
    critic_lr: Rate = 1e-4
    n_critic: Steps = 5
    penalty_weight: Weight = 10.0
    """Weight of the gradient penalty (lambda in the paper)."""

    def own_regularizers(self) -> tuple[Regularizer, ...]:
        return (GradientPenalty(weight=self.penalty_weight),)


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
    n_critic: Steps = 5

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
    pairs_real = True
    name: Literal["rpgan"] = "rpgan"
    betas: tuple[Beta, Beta] = (0.0, 0.9)
    penalty_weight: Weight = 0.05
    """Weight gamma of the two penalties; the default is the paper's for CIFAR-10, the set nearest to ours in size."""
    penalty_every: Interval = 1
    """Critic steps per penalty, whose weight grows by as much: StyleGAN2's lazy regularisation (arXiv 1912.04958)."""

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return _softplus(fake - real).mean()

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        if real is None:
            raise TypeError("rpgan's generator loss needs the logits of real images")
        return _softplus(real - fake).mean()

    def own_regularizers(self) -> tuple[Regularizer, ...]:
        return (R1R2(weight=self.penalty_weight, every=self.penalty_every),)


LOSSES: dict[str, type[Loss]] = {
    "lsgan": Lsgan,
    "wgan": Wgan,
    "wgan-gp": WganGp,
    "ns": Ns,
    "hinge": Hinge,
    "rpgan": RpGan,
}

AnyLoss = Annotated[Loss, TableSection(LOSSES, "loss")]


def _softplus(logits: Tensor) -> Tensor:
    """Return log(1 + exp(x)): minus the log of the probability that a sigmoid gives to the other side."""
    from torch.nn import functional

    return functional.softplus(logits)
