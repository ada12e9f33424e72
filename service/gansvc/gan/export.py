"""The model folder: the generator in three forms, its card for programs and for people, a grid; drawing from it."""

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

from gansvc.bounded import Count, Few, Plain, Text, Texts
from gansvc.catalog.datasets import title
from gansvc.catalog.networks import AnyNetwork
from gansvc.errors import ClusterError, SpecError
from gansvc.explain import first
from gansvc.gan import checkpoint, portable, tensorfile
from gansvc.gan.card import LIMITS, readme
from gansvc.gan.conditional import class_number, generate_of
from gansvc.gan.evaluate import generate
from gansvc.gan.images import png
from gansvc.records import RunRecord
from gansvc.scores import Score
from gansvc.spec import JobSpec
from gansvc.store import Folder

_LARGEST_CARD, _LARGEST_WEIGHTS = 2**22, 2**32


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
    target.write("generator.safetensors", weights_file)
    target.write_record("model.json", card)
    target.write("samples.png", png(torch.cat(list(generate(network, spec.network.latent_dim, 0, 64)))))
    inputs = {"z": torch.zeros(2, spec.network.latent_dim)}
    inputs |= {"labels": torch.zeros(2, dtype=torch.int64)} if card.classes else {}
    forms, failed = portable.forms(network, inputs)
    for name in portable.NAMES:
        # What an earlier export left is of other weights.
        target.write(name, forms[name]) if name in forms else target.delete(name)
    target.write("README.md", readme(card, tuple(forms)))
    return failed


def sample(model: Path, count: int, out: Path, seed: int, of: str | None = None) -> Path:
    """Draw a grid of images from a model folder alone and return the path of the PNG.

    Args:
        model: the model folder.
        count: images in the grid.
        out: the PNG.
        seed: seed of the latents and, where no class is asked for, of a conditional model's classes.
        of: name or number of the one class to draw.

    Raises:
        SpecError: the folder holds no such model, count is out of range, or there is no such class.
    """
    if not 1 <= count <= 10_000:
        raise SpecError(f"-n: {count} images don't fit a grid; give 1 to 10000")
    card, network = opened(model)
    if of is None:
        images = torch.cat(list(generate(network, card.network.latent_dim, seed, count)))
    elif card.classes:
        labels = torch.full((count,), class_number(of, card.classes))
        images = generate_of(network, card.network.latent_dim, seed, labels)
    else:
        raise SpecError(f"--class: {model} draws no classes; leave it out, or train with network.conditional: true")
    Folder(out.parent).write(out.name, png(images))
    return out


def opened(model: Path) -> tuple[ModelCard, nn.Module]:
    """Return the card of a model folder and its generator, in evaluation mode.

    Raises:
        SpecError: the folder holds no such model.
    """
    try:
        card = ModelCard.model_validate_json(_part(model / "model.json", _LARGEST_CARD), strict=False)
        weights = _part(model / "generator.safetensors", _LARGEST_WEIGHTS)
        state = safetensors.torch.load(weights)
    except OSError as error:
        raise SpecError(f"{error.filename}: {error.strerror}; give the model/ folder of a pulled job") from None
    except (ValidationError, *tensorfile.UNREADABLE) as error:
        reason = first(error) if isinstance(error, ValidationError) else str(error).splitlines()[0]
        raise SpecError(f"{model} holds no readable model ({reason}); pull it from the job again") from None
    # Cards of earlier versions may lack the hash.
    if card.weights_sha256 and card.weights_sha256 != hashlib.sha256(weights).hexdigest():
        raise SpecError(f"{model}/generator.safetensors is not the file that model.json tells of; pull it again")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise SpecError(
            f"{model}/generator.safetensors holds weights that aren't numbers (NaN or infinite); train anew"
        )
    return card, _network(card, state)


def _part(path: Path, most: int) -> bytes:
    """Return a file of a model folder, which anybody may have made: a regular one of such a size."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path.name} is no file")
    if path.stat().st_size > most:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes, and at most {most:,} are read")
    return path.read_bytes()


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
            f"{weights.path(checkpoint.BEST)} is of another network ({_first(error)}); give the job a folder of its own"
        ) from None
    return network.eval()


def _network(card: ModelCard, state: dict[str, torch.Tensor]) -> nn.Module:
    try:
        network = _filled(card.network, card.channels, card.size, state)
        if len(getattr(network, "shares", ())) != len(card.classes):
            raise ValueError(f"model.json names {len(card.classes)} classes")
    except (RuntimeError, TypeError, ValueError) as error:
        raise SpecError(f"generator.safetensors doesn't fit model.json ({_first(error)}); pull it again") from None
    return network.eval()


def _filled(network: AnyNetwork, channels: int, size: int, state: dict[str, torch.Tensor]) -> nn.Module:
    """Return a generator with those weights; the first try takes no memory, as their shapes alone say if they fit."""
    with torch.device("meta"):
        network.generator(channels, size, state.get("shares")).load_state_dict(state, assign=True)
    generator = network.generator(channels, size, state.get("shares"))
    generator.load_state_dict(state)
    return generator


def _first(error: BaseException) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:2])
