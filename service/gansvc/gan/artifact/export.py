"""The model folder: the generator in three forms, its card for programs and for people, a grid; opening it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ValidationError, model_validator
from torch import nn

from gansvc.catalog.datasets import title
from gansvc.catalog.networks import AnyNetwork
from gansvc.errors import ClusterError, SpecError
from gansvc.gan import checkpoint, tensorfile
from gansvc.gan.artifact import portable
from gansvc.gan.artifact.card import LIMITS, readme
from gansvc.gan.images import png
from gansvc.gan.networks import build_generator
from gansvc.gan.scoring.score import generate
from gansvc.schema.bounded import Count, Few, Plain, Text, Texts
from gansvc.schema.explain import first
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score


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


def export(
    target: Folder,
    job: str,
    spec: JobSpec,
    channels: int,
    run: RunRecord,
    score: Score,
    weights: Folder,
    classes: tuple[str, ...] = (),
) -> dict[str, str]:
    """Write the model folder of one run's best checkpoint; return the reason by the name of each form that failed.

    The forms that need no gansvc come last: the model itself is there without them.

    Args:
        target: the model folder.
        job: the job's id.
        spec: the job's spec.
        channels: channels of the images, 1 or 3.
        run: how the run ended.
        score: its final score.
        weights: the run's checkpoints folder.
        classes: names of the data set's classes; a conditional generator needs them.
    """
    state = checkpoint.load_best(weights)
    weights_file = safetensors.torch.save(state)
    card = ModelCard(
        network=spec.network,
        channels=channels,
        size=spec.dataset.size,
        job=job,
        dataset=spec.dataset.model_dump(mode="json", exclude_none=True),
        licence=spec.dataset.entry.licence,
        loss=run.values,
        seed=run.seed,
        step=score.step,
        score=score,
        source=spec.dataset.entry.source,
        spec=spec.model_dump(mode="json", exclude_none=True),
        weights_sha256=hashlib.sha256(weights_file).hexdigest(),
        gansvc=version("gansvc"),
        torch=torch.__version__,
        created=datetime.now(UTC),
        classes=classes if spec.network.conditional else (),
        shares=tuple(state["shares"].tolist()) if spec.network.conditional else (),
    )
    network = _network(card, state)
    target.write(layout.GENERATOR, weights_file)
    target.write_record(layout.MODEL_CARD, card)
    target.write(layout.MODEL_SAMPLES, png(torch.cat(list(generate(network, spec.network.latent_dim, 0, 64)))))
    inputs = {"z": torch.zeros(2, spec.network.latent_dim)}
    inputs |= {"labels": torch.zeros(2, dtype=torch.int64)} if card.classes else {}
    forms, failed = portable.forms(network, inputs)
    for name in portable.NAMES:
        # What an earlier export left is of other weights.
        target.write(name, forms[name]) if name in forms else target.delete(name)
    target.write(layout.MODEL_README, readme(card, tuple(forms)))
    return failed


def opened(model: Path) -> tuple[ModelCard, nn.Module]:
    """Return the card of a model folder and its generator, in evaluation mode.

    Raises:
        SpecError: the folder holds no such model.
    """
    written, weights = _file(model, layout.MODEL_CARD), _file(model, layout.GENERATOR)
    try:
        card = ModelCard.model_validate_json(written, strict=False)
        state = safetensors.torch.load(weights)
    except (ValidationError, *tensorfile.UNREADABLE) as error:
        reason = first(error) if isinstance(error, ValidationError) else str(error).splitlines()[0]
        raise SpecError(f"{model} holds no readable model ({reason}); pull it from the job again") from None
    # Cards of earlier versions may lack the hash.
    if card.weights_sha256 and card.weights_sha256 != hashlib.sha256(weights).hexdigest():
        raise SpecError(f"{model}/{layout.GENERATOR} is not the file that {layout.MODEL_CARD} tells of; pull it again")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise SpecError(f"{model}/{layout.GENERATOR} holds weights that aren't numbers (NaN or infinite); train anew")
    return card, _network(card, state)


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


def best_generator(spec: JobSpec, channels: int, weights: Folder) -> nn.Module:
    """Return the averaged generator of a run's best checkpoint, in evaluation mode.

    Raises:
        ClusterError: there is no such checkpoint, it is damaged, or of another network.
    """
    state = checkpoint.load_best(weights)
    try:
        network = _filled(spec.network, channels, spec.dataset.size, state)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ClusterError(
            f"{weights.path(layout.BEST)} is of another network ({_first(error)}); give the job a folder of its own"
        ) from None
    return network.eval()


def _network(card: ModelCard, state: dict[str, torch.Tensor]) -> nn.Module:
    try:
        network = _filled(card.network, card.channels, card.size, state)
        if len(getattr(network, "shares", ())) != len(card.classes):
            raise ValueError(f"{layout.MODEL_CARD} names {len(card.classes)} classes")
    except (RuntimeError, TypeError, ValueError) as error:
        raise SpecError(
            f"{layout.GENERATOR} doesn't fit {layout.MODEL_CARD} ({_first(error)}); pull it again"
        ) from None
    return network.eval()


def _filled(network: AnyNetwork, channels: int, size: int, state: dict[str, torch.Tensor]) -> nn.Module:
    """Return a generator with those weights; the first try takes no memory, as their shapes alone say if they fit."""
    with torch.device("meta"):
        build_generator(network, channels, size, state.get("shares")).load_state_dict(state, assign=True)
    generator = build_generator(network, channels, size, state.get("shares"))
    generator.load_state_dict(state)
    return generator


def _first(error: BaseException) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:2])
