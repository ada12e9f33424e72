"""Read a model folder, or a run's best checkpoint: model.json, and the generator with its weights."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ValidationError, model_validator
from torch import Tensor, nn

from gansvc.catalog.datasets import title
from gansvc.catalog.networks import AnyNetwork
from gansvc.errors import ClusterError, SpecError
from gansvc.gan import checkpoint, tensorfile
from gansvc.gan.networks import build_generator
from gansvc.schema.bounded import Count, Few, Plain, Text, Texts
from gansvc.schema.explain import first_finding
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.scores import Score

LIMITS = (
    "Its images show no patient, were judged by no physician, and must not be used for diagnosis, treatment, or the "
    "training of a device for either.",
    "It learned from one small data set and repeats that set's populations, devices and faults.",
    "A generator can memorise training images. Read what the report finds before images or weights are shared.",
    "It is the seed of its loss with the best score, so this score flatters the loss: the mean over seeds is in the "
    "report.",
    "Its scores compare only with scores under the same contract, below.",
)


class ModelCard(BaseModel):
    """model.json: what the generator is, what it was trained on and how it scored."""

    format: int = 1
    network: AnyNetwork
    channels: Literal[1, 3]
    size: Count = 28
    """Side of the images in pixels."""
    job: Text
    dataset: Plain
    licence: Text
    """Licence of the data."""
    source: Text = ""
    """Where the data comes from."""
    loss: Plain
    seed: Count
    step: Count
    score: Score | None
    spec: Plain = {}
    """The spec that it was trained by: the job's, with the values that the search found."""
    weights_sha256: Text = ""
    """Hash of generator.safetensors."""
    gansvc: Text = ""
    torch: Text = ""
    created: datetime | None = None
    """UTC."""
    classes: Few[Text] = ()
    """Names of the classes that it can be asked for, by their numbers; empty where the generator isn't conditional."""
    shares: Few[float] = ()
    """Each class's share of the training images."""
    limits: Texts = LIMITS
    use: Text = "Research on generative models. Not for diagnosis or any other clinical use."

    @model_validator(mode="after")
    def _has_images_that_its_network_makes(self) -> ModelCard:
        if self.size not in self.network.sizes:
            raise ValueError(f"{self.network.name} makes no images of {self.size} pixels")
        return self

    @property
    def title(self) -> str:
        """What the data set is called for people."""
        return title(self.dataset["name"], self.dataset.get("path"))

    def generator(self, state: dict[str, Tensor]) -> nn.Module:
        """Return the generator with these weights, in evaluation mode.

        Raises:
            SpecError: they don't fit the card.
        """
        try:
            network = _generator(self.network, self.channels, self.size, state)
            if len(getattr(network, "shares", ())) != len(self.classes):
                raise ValueError(f"{layout.MODEL_CARD} names {len(self.classes)} classes")
        except (RuntimeError, TypeError, ValueError) as error:
            raise SpecError(
                f"{layout.GENERATOR} doesn't fit {layout.MODEL_CARD} ({_first(error)}); pull it again"
            ) from None
        return network.eval()


def load_model(model: Path) -> tuple[ModelCard, nn.Module]:
    """Return the card of a model folder and its generator, in evaluation mode.

    Raises:
        SpecError: the folder holds no such model.
    """
    written, weights = _file(model, layout.MODEL_CARD), _file(model, layout.GENERATOR)
    try:
        card = ModelCard.model_validate_json(written, strict=False)
        state = safetensors.torch.load(weights)
    except (ValidationError, *tensorfile.UNREADABLE) as error:
        reason = first_finding(error) if isinstance(error, ValidationError) else str(error).splitlines()[0]
        raise SpecError(f"{model} holds no readable model ({reason}); pull it from the job again") from None
    # Cards of earlier versions may lack the hash.
    if card.weights_sha256 and card.weights_sha256 != hashlib.sha256(weights).hexdigest():
        raise SpecError(f"{model}/{layout.GENERATOR} is not the file that {layout.MODEL_CARD} tells of; pull it again")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise SpecError(f"{model}/{layout.GENERATOR} holds weights that aren't numbers (NaN or infinite); train anew")
    return card, card.generator(state)


def _file(model: Path, name: str) -> bytes:
    """Return a file of a model folder.

    Raises:
        SpecError: it isn't there, or is no plain file.
    """
    try:
        data = Folder(model, follow=True).read(name)
    except ClusterError as error:
        raise SpecError(f"{error}; or give the model/ folder of a pulled job") from None
    if data is None:
        raise SpecError(f"{model / name}: there is no such file; give the model/ folder of a pulled job")
    return data


def load_best_generator(spec: JobSpec, channels: int, weights: Folder) -> nn.Module:
    """Return the averaged generator of a run's best checkpoint, in evaluation mode.

    Raises:
        ClusterError: there is no such checkpoint, it is damaged, or of another network.
    """
    state = checkpoint.load_best(weights)
    try:
        network = _generator(spec.network, channels, spec.dataset.size, state)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ClusterError(
            f"{weights.path(layout.BEST)} is of another network ({_first(error)}); give the job a folder of its own"
        ) from None
    return network.eval()


def _generator(network: AnyNetwork, channels: int, size: int, state: dict[str, Tensor]) -> nn.Module:
    """Return a generator with those weights; the first try takes no memory, as their shapes alone say if they fit."""
    with torch.device("meta"):
        build_generator(network, channels, size, state.get("shares")).load_state_dict(state, assign=True)
    generator = build_generator(network, channels, size, state.get("shares"))
    generator.load_state_dict(state)
    return generator


def _first(error: BaseException) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:2])
