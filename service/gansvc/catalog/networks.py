"""The network pairs: names, fields and sizes. All losses of a job share one pair, so that only the loss differs.

Their torch modules are in gan/networks.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gansvc.catalog.datasets import Dataset
from gansvc.catalog.losses import Loss
from gansvc.schema.explain import refusal
from gansvc.schema.section import Section, TableSection


class Network(Section):
    """What all network pairs share."""

    sizes: ClassVar[Mapping[int, int]]
    """Side of the images that the pair is made for, in pixels, to the side of its smallest feature maps."""

    name: str
    width: Annotated[int, Field(ge=4, le=512)] = 64
    """Channels of the critic's first layer; the others are multiples of it."""
    latent_dim: Annotated[int, Field(ge=1, le=1024)] = 100
    """Dimensions of the latent vector."""
    critic_norm: Literal["none", "spectral"] = "none"
    """spectral divides each critic weight by its largest singular value (Miyato et al. 2018, arXiv 1802.05957)."""

    conditional: bool = False
    """Whether both players are given the class of each image; the data set must have classes."""


class Dcgan(Network):
    """DCGAN for 28x28 (Radford et al. 2016, arXiv 1511.06434).

    The generator has the paper's batch norm unless told otherwise; the critic has none: batch statistics break the
    per-sample gradient penalty and a second forward under distributed data parallelism.
    """

    sizes: ClassVar[Mapping[int, int]] = {28: 7}
    name: Literal["dcgan"] = "dcgan"
    generator_norm: Literal["batch", "group"] = "batch"
    """batch is the paper's; group (up to 8 groups) keeps no batch statistics, so that no world size changes it."""
    critic_stem: Annotated[int, Field(ge=0, le=512)] = 0
    """Channels of a 3x3 convolution at the images' own size that the critic then begins with; 0 for none.

    It sees finer detail, and a step of both players takes longer: on a CPU by a fifth at a quarter of the width, by two
    fifths at half of it.
    """


class Resnet(Network):
    """Residual networks without batch statistics, for 28x28, 32x32 and 64x64 (after Huang et al. 2024, section 4).

    Every stage resamples by interpolation and adds the output of two 3x3 convolutions, the second of which starts near
    zero, so that the signal keeps its scale at any depth with no norm (Zhang et al. 2019, arXiv 1901.09321).
    """

    sizes: ClassVar[Mapping[int, int]] = {28: 7, 32: 8, 64: 8}
    name: Literal["resnet"] = "resnet"
    width: Annotated[int, Field(ge=4, le=512)] = 32
    """Channels at the image's own size, in both players; each halving of the side doubles them, up to four times."""


NETWORKS: dict[str, type[Network]] = {"dcgan": Dcgan, "resnet": Resnet}

AnyNetwork = Annotated[Network, TableSection(NETWORKS, "network")]


def check_network(network: Network, dataset: Dataset) -> None:
    """Refuse, in a validator's way, a pair that can't learn from that data set."""
    if dataset.size not in network.sizes:
        fit = " or ".join(name for name, other in NETWORKS.items() if dataset.size in other.sizes)
        sizes = " or ".join(map(str, network.sizes))
        fix = f"use network: {fit}" if fit else f"set it to {sizes}"
        raise refusal(f"{network.name} can't make images of dataset.size {dataset.size}; {fix}")
    if network.conditional and dataset.entry.classes is False:
        text = f"true needs classes, and {dataset.name} has none; use a data set with classes, or conditional: false"
        raise refusal(text, ".conditional")


def check_losses(losses: tuple[Loss, ...], network: Network) -> None:
    """Refuse, in a validator's way, a loss that projects weights which the critic doesn't use as they are."""
    for index, loss in enumerate(losses):
        if network.critic_norm == "spectral" and loss.bounds_weights():
            raise refusal(
                f"{loss.label} bounds the critic's weights after each step, and network.critic_norm: spectral divides "
                f"each by its norm, so that the bound does nothing; set critic_norm: none, or leave {loss.label} out",
                f"[{index}]",
            )
