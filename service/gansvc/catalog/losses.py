"""The GAN losses: one small class each, its numbers as fields, one method per player, no backward inside.

Logits are the critic's raw outputs, shape (N,), float. A loss returns a scalar, the mean over the N given samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from gansvc.catalog.labels import Label
from gansvc.catalog.regularizers import R1R2, AnyRegularizer, GradientPenalty, Interval, Regularizer, Weight
from gansvc.schema.explain import refusal
from gansvc.schema.section import Section, TableSection

if TYPE_CHECKING:
    from torch import Tensor, nn

Rate = Annotated[float, Field(gt=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Loss(Section):
    """What all losses share: the optimiser and the ratio of critic to generator steps."""

    reference: ClassVar[str]
    """Where the loss and its defaults come from."""

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
    regularizers: Annotated[tuple[AnyRegularizer, ...], Field(max_length=10)] = ()
    """Terms that are added to the critic's loss, beside those that the loss's own name brings."""

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

    def constrain(self, critic: nn.Module) -> None:
        """Project the critic's weights after its optimiser step; nothing by default."""

    def bounds_weights(self) -> bool:
        """Return whether ``constrain`` changes weights, so that a critic must use them as they are."""
        return False

    def own_regularizers(self) -> tuple[Regularizer, ...]:
        """Return the regularizers that the loss's name brings, with the values that its fields give them."""
        return ()

    def all_regularizers(self) -> tuple[Regularizer, ...]:
        """Return the regularizers that the loss's name brings, then those that are listed."""
        return (*self.own_regularizers(), *self.regularizers)

    def values(self) -> dict[str, Any]:
        """Return each field's plain value by its path: ``critic_lr``, ``regularizers.gradient-penalty.weight``."""
        fields = self.model_dump(mode="json")
        listed = {regularizer["name"]: regularizer for regularizer in fields.pop("regularizers")}
        return fields | {
            f"regularizers.{name}.{field}": value
            for name, values in listed.items()
            for field, value in values.items()
            if field != "name"
        }

    def with_value(self, path: str, value: object) -> Loss:
        """Return the loss with a value at one of ``values``' paths, validated anew.

        Raises:
            ValidationError: the value doesn't fit there.
        """
        data = self.model_dump()
        *parents, field = path.split(".")
        section = data
        for part in parents[1:]:
            section = next(one for one in data[parents[0]] if one["name"] == part)
        section[field] = value
        return type(self).model_validate(data)

    @model_validator(mode="after")
    def _each_regularizer_once(self) -> Loss:
        names = [regularizer.name for regularizer in self.all_regularizers()]
        own = [regularizer.name for regularizer in self.own_regularizers()]
        for index, regularizer in enumerate(self.regularizers):
            if regularizer.name in own:
                text = (
                    f"{self.name} brings {regularizer.name} itself; leave it out here, and set {self.name}'s own fields"
                )
                raise refusal(text, f".regularizers[{index}]")
            if names.count(regularizer.name) > 1:
                raise refusal(f"{regularizer.name} is there twice; name each regularizer once", ".regularizers")
        return self


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
    n_critic: Annotated[int, Field(ge=1, le=100)] = 5
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
    n_critic: Annotated[int, Field(ge=1, le=100)] = 5
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
