"""The network pairs. All losses of a job share one pair, so that only the loss differs.

A generator maps latents (N, latent_dim) ~ N(0, 1) to images (N, channels, size, size) in [-1, 1]; a critic maps such
images to logits (N,). Conditional ones take labels (N,) as well, int64 from 0.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Union

from pydantic import Field

from gansvc.catalog.classes import MOST_CLASSES
from gansvc.catalog.datasets import Dataset
from gansvc.catalog.losses import Loss
from gansvc.schema.explain import refusal
from gansvc.schema.section import Section, section_of

if TYPE_CHECKING:
    from torch import Tensor, nn


class Network(Section):
    """What all network pairs share."""

    sizes: ClassVar[tuple[int, ...]]
    """Sides of the images, in pixels, that the pair is made for."""

    name: str
    width: Annotated[int, Field(ge=4, le=512)] = 64
    """Channels of the critic's first layer; the others are multiples of it."""
    latent_dim: Annotated[int, Field(ge=1, le=1024)] = 100
    """Dimensions of the latent vector."""
    critic_norm: Literal["none", "spectral"] = "none"
    """spectral divides each critic weight by its largest singular value (Miyato et al. 2018, arXiv 1802.05957)."""

    conditional: bool = False
    """Whether both players are given the class of each image; the data set must have classes."""

    def generator(self, channels: int, size: int = 28, shares: Tensor | None = None) -> nn.Module:
        """Return a new generator; its weights are drawn from torch's global generator.

        Args:
            channels: channels of its images.
            size: their side in pixels.
            shares: each class's share of the training images, (K,); only a conditional generator needs and keeps it.
        """
        if not self.conditional:
            return self._plain_generator(self.latent_dim, channels, size)
        from gansvc.catalog.conditional import Generator

        if shares is None:
            raise TypeError("a conditional generator needs the classes' shares")
        if (
            shares.ndim != 1
            or not 1 <= len(shares) <= MOST_CLASSES
            or not bool((shares >= 0).all() and shares.sum() > 0)
        ):
            raise ValueError(f"the classes' shares are no list of 1 to {MOST_CLASSES} shares")
        return Generator(self._plain_generator(2 * self.latent_dim, channels, size), self.latent_dim, shares)

    def critic(self, channels: int, size: int = 28, classes: int = 0) -> nn.Module:
        """Return a new critic, of so many classes if conditional; its weights are drawn as the generator's."""
        plain = self._plain_critic(channels, size)
        module: nn.Module = plain
        if self.conditional:
            from gansvc.catalog.conditional import Critic

            module = Critic(plain, classes)
        return _spectral(module) if self.critic_norm == "spectral" else module

    def _plain_generator(self, inputs: int, channels: int, size: int) -> nn.Module:
        """Return the generator of vectors (N, inputs)."""
        raise TypeError(f"{type(self).__name__} defines no generator")

    def _plain_critic(self, channels: int, size: int) -> nn.Sequential:
        """Return the critic, which ends in a convolution to one number and the flattening of it."""
        raise TypeError(f"{type(self).__name__} defines no critic")


class Dcgan(Network):
    """DCGAN for 28x28 (Radford et al. 2016, arXiv 1511.06434).

    The generator has the paper's batch norm unless told otherwise; the critic has none: batch statistics break the
    per-sample gradient penalty and a second forward under distributed data parallelism.
    """

    sizes = (28,)
    name: Literal["dcgan"] = "dcgan"
    generator_norm: Literal["batch", "group"] = "batch"
    """batch is the paper's; group (up to 8 groups) keeps no batch statistics, so that no world size changes it."""
    critic_stem: Annotated[int, Field(ge=0, le=512)] = 0
    """Channels of a 3x3 convolution at the images' own size that the critic then begins with; 0 for none.

    It sees finer detail, and a step of both players takes longer: on a CPU by a fifth at a quarter of the width, by two
    fifths at half of it.
    """

    def _plain_generator(self, inputs: int, channels: int, size: int) -> nn.Module:
        from torch import nn

        w, norm = self.width, self._norm
        return _generator_weights(
            nn.Sequential(
                # The paper's first convolution, of a single pixel, is this product; kernels for products are faster.
                nn.Linear(inputs, 2 * w * 7 * 7, bias=False),
                nn.Unflatten(1, (2 * w, 7, 7)),
                norm(2 * w),
                nn.ReLU(inplace=True),
                *_doubled(2 * w, w),
                norm(w),
                nn.ReLU(inplace=True),
                *_doubled(w, w // 2),
                norm(w // 2),
                nn.ReLU(inplace=True),
                nn.ConvTranspose2d(w // 2, channels, 3, padding=1),
                nn.Tanh(),
            )
        )

    def _plain_critic(self, channels: int, size: int) -> nn.Sequential:
        from torch import nn

        w, fine = self.width, self.critic_stem
        stem = (nn.Conv2d(channels, fine, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)) if fine else ()
        return _critic_weights(
            nn.Sequential(
                *stem,
                nn.Conv2d(fine or channels, w, 4, stride=2, padding=1),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(w, 2 * w, 4, stride=2, padding=1),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(4 * w, 1, 4),
                nn.Flatten(0),
            )
        )

    def _norm(self, channels: int) -> nn.Module:
        from torch import nn

        return nn.BatchNorm2d(channels) if self.generator_norm == "batch" else nn.GroupNorm(gcd(channels, 8), channels)


class Resnet(Network):
    """Residual networks without batch statistics, for 28x28, 32x32 and 64x64 (after Huang et al. 2024, section 4).

    Every stage resamples by interpolation and adds the output of two 3x3 convolutions, the second of which starts near
    zero, so that the signal keeps its scale at any depth with no norm (Zhang et al. 2019, arXiv 1901.09321).
    """

    sizes = (28, 32, 64)
    name: Literal["resnet"] = "resnet"
    width: Annotated[int, Field(ge=4, le=512)] = 32
    """Channels at the image's own size, in both players; each halving of the side doubles them, up to four times."""

    def _plain_generator(self, inputs: int, channels: int, size: int) -> nn.Module:
        from gansvc.catalog.residual import generator

        return generator(inputs, self.width, channels, size)

    def _plain_critic(self, channels: int, size: int) -> nn.Sequential:
        from gansvc.catalog.residual import critic

        return critic(self.width, channels, size)


NETWORKS: dict[str, type[Network]] = {"dcgan": Dcgan, "resnet": Resnet}

if TYPE_CHECKING:
    AnyNetwork = Network
else:
    AnyNetwork = Annotated[
        Union[tuple(NETWORKS.values())],  # noqa: UP007 - the union is made from the table
        Field(discriminator="name"),
        section_of(NETWORKS, "network"),
    ]


def check_network(network: Network, dataset: Dataset) -> None:
    """Refuse, in a validator's way, a pair that can't learn from that data set."""
    if dataset.size not in network.sizes:
        fit = " or ".join(name for name, other in NETWORKS.items() if dataset.size in other.sizes)
        raise refusal(f"{network.name} can't make images of dataset.size {dataset.size}; use network: {fit}")
    if network.conditional and dataset.entry.classes is False:
        text = f"true needs classes, and {dataset.name} has none; use a data set with classes, or conditional: false"
        raise refusal(text, ".conditional")


def check_losses(losses: tuple[Loss, ...], network: Network) -> None:
    """Refuse, in a validator's way, a loss that projects weights which the critic doesn't use as they are."""
    for index, loss in enumerate(losses):
        if network.critic_norm == "spectral" and type(loss).constrain is not Loss.constrain:
            raise refusal(
                f"{loss.label} bounds the critic's weights after each step, and network.critic_norm: spectral divides "
                f"each by its norm, so that the bound does nothing; set critic_norm: none, or leave {loss.label} out",
                f"[{index}]",
            )


def _doubled(channels: int, out: int) -> tuple[nn.Module, ...]:
    """Return the layers that double the side: DCGAN's 4x4 kernel of stride 2, as a 3x3 one and a 2x2 mean.

    The mean removes the checkerboard that a free 4x4 kernel starts with and short trainings keep (Odena et al. 2016,
    "Deconvolution and Checkerboard Artifacts"), at 9/16 of its multiplications.
    """
    from torch import nn

    return (
        nn.ConvTranspose2d(channels, out, 3, stride=2, bias=False),
        nn.AvgPool2d(2, stride=1),
    )


def _generator_weights(module: nn.Sequential) -> nn.Sequential:
    """Draw weights from N(0, 0.02), norms' scales from N(1, 0.02) (Radford et al., section 4); biases 0."""
    from torch import nn

    for layer in module:
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)
    return module


def _critic_weights(module: nn.Sequential) -> nn.Sequential:
    """Draw weights that keep the signal's variance (He et al. 2015, arXiv 1502.01852); biases 0.

    N(0, 0.02) leans on batch norm to restore the scale; without it four layers of width 16 shrink the signal, and so
    the generator's gradient, about a hundredfold.
    """
    from torch import nn

    for layer in module:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=0.2)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def _spectral(module: nn.Module) -> nn.Module:
    """Normalise the weight of every convolution, linear layer and embedding by one power iteration a forward."""
    from torch import nn
    from torch.nn.utils.parametrizations import spectral_norm

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            spectral_norm(layer)
    return module
