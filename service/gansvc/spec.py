"""The job spec: strict, frozen, resolved once, saved with every default written out, passed whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gansvc.catalog.datasets import AnyDataset, Split
from gansvc.catalog.entry import Section, named
from gansvc.catalog.extractors import AnyExtractor
from gansvc.catalog.losses import AnyLoss, Loss
from gansvc.catalog.metrics import METRICS
from gansvc.catalog.networks import AnyNetwork
from gansvc.catalog.spaces import Distribution, Space
from gansvc.errors import SpecError


def _known_metric(value: Any) -> Any:
    named(value, METRICS, "metric")
    return value


MetricName = Annotated[str, BeforeValidator(_known_metric)]
Objective = Literal["kid", "fid"]


class Training(Section):
    """How every loss is trained, so that only the loss differs."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 50
    """Passes of the critic over the training images; the same number of critic images for every loss."""
    batch_size: Annotated[int, Field(ge=2, le=16_384)] = 64
    """Global batch: what all workers see together in one step."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """World size of the distributed training of a run."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1, max_length=100)] = (0,)
    """One run per loss and seed."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 runs the networks under autocast; weights and optimisers stay float32."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the generator's moving average, whose images are scored; 0 scores the generator itself."""
    evaluations: Annotated[int, Field(ge=1, le=1000)] = 10
    """Validation scores, checkpoints and sample grids, evenly spaced over a run."""
    max_restarts: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a run is started again after losing a worker."""

    @model_validator(mode="after")
    def _batch_feeds_all_workers(self) -> Training:
        if self.batch_size < self.workers:
            text = f"batch_size {self.batch_size} is smaller than workers {self.workers}; every worker needs an image"
            raise PydanticCustomError("batch", "{text}", {"text": text})
        if len(set(self.seeds)) < len(self.seeds):
            raise PydanticCustomError("seeds", "seeds must differ from each other")
        return self


class Search(Section):
    """The search of each loss's hyper-parameters; without this section there is none."""

    trials: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Trials per loss; the first one has the paper's values."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Budget of a trial, in epochs; the training's own if left out."""
    evaluations: Annotated[int, Field(ge=1, le=1000)] = 4
    """Scores of a trial on its way; ASHA may stop it at each."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """World size of a trial."""
    objective: Objective = "kid"
    """Metric on the validation split that ranks trials and checkpoints; lower is better."""
    algorithm: Literal["random", "tpe"] = "random"
    """How the next values are drawn: at random, or by Optuna's tree-structured Parzen estimator."""
    scheduler: Literal["asha", "none"] = "asha"
    """asha stops the worse trials early; the trial with the paper's values always runs to its end."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the drawn values and of the trials' training."""
    space: Space = Field(default="default", validate_default=True)
    """What is searched."""


class Evaluation(Section):
    """How checkpoints are scored."""

    extractor: AnyExtractor = Field(default="inception-v3", validate_default=True)
    """Network whose features the metrics compare."""
    metrics: Annotated[tuple[MetricName, ...], Field(min_length=1)] = ("is", "fid", "kid", "precision-recall")
    """Metrics of the final scores."""
    samples: Annotated[int, Field(ge=50, le=1_000_000)] = 10_000
    """Generated images per final score."""
    validation_samples: Annotated[int, Field(ge=50, le=100_000)] = 500
    """Generated images per score on the way, on the validation split."""
    reference: Split = "test"
    """Split that the final scores are measured against; val only chooses checkpoints."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the latents that are scored."""

    @model_validator(mode="after")
    def _validation_is_not_the_judge(self) -> Evaluation:
        if self.reference == "val":
            text = "reference val already chooses the checkpoints, so it can't judge them; use test or train"
            raise PydanticCustomError("reference", "{text}", {"text": text})
        return self


class Resources(Section):
    """What one worker or trial asks of the cluster."""

    cpus_per_worker: Annotated[float, Field(gt=0, le=1024)] = 1
    """CPUs of a training worker, of a trial and of an evaluator."""
    gpus_per_worker: Annotated[float, Field(ge=0, le=64)] | None = None
    """GPUs of a training worker; 1 where the cluster has GPUs, if left out."""
    gpus_per_trial: Annotated[float, Field(ge=0, le=64)] | None = None
    """GPUs of a trial's worker; 0.25 where the cluster has GPUs, if left out."""


class Published(Section):
    """Numbers that a source publishes, printed beside ours and never mixed with them."""

    loss: str
    """Label of the loss they belong to."""
    inception_score: float | None = Field(default=None, alias="is")
    inception_score_std: float | None = Field(default=None, alias="is_std")
    fid: float | None = None
    kid: float | None = None
    source: Annotated[str, Field(min_length=1)]
    """Where they are published, and what is not known about them."""


class JobSpec(Section):
    """One comparison of GAN losses on one data set."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    """Lower-case letters, digits and dashes, 1 to 40: the first part of the job's id."""
    dataset: AnyDataset
    network: AnyNetwork = Field(default="dcgan", validate_default=True)
    losses: Annotated[tuple[AnyLoss, ...], Field(min_length=1, max_length=20)]
    """The losses to compare, each with its paper's defaults."""
    training: Training = Training()
    search: Search | None = None
    evaluation: Evaluation = Field(default={}, validate_default=True)
    resources: Resources = Resources()
    published: tuple[Published, ...] = ()

    @field_validator("losses", mode="after")
    @classmethod
    def _labels_differ(cls, losses: tuple[Loss, ...]) -> tuple[Loss, ...]:
        labels = [loss.label for loss in losses]
        for label in labels:
            if labels.count(label) > 1:
                text = f"two losses have the label {label!r}; give one of them another with label: NAME"
                raise PydanticCustomError("labels", "{text}", {"text": text})
        return losses

    @field_validator("search", mode="after")
    @classmethod
    def _space_fits_losses(cls, search: Search | None, info: ValidationInfo) -> Search | None:
        if search is None or "losses" not in info.data:
            return search
        for key, distribution in search.space.items():
            _check_space(key, distribution, info.data["losses"])
        return search

    def loss(self, label: str) -> Loss:
        """Return the loss of that label.

        Raises:
            SpecError: no loss has it.
        """
        for loss in self.losses:
            if loss.label == label:
                return loss
        raise SpecError(f"losses: none has the label {label!r}; known: {', '.join(x.label for x in self.losses)}")

    def space_of(self, label: str) -> dict[str, Distribution]:
        """Return the search space of one loss: its field's name to the distribution."""
        if self.search is None:
            return {}
        pairs = ((key.rpartition("."), value) for key, value in self.search.space.items())
        return {field: value for (owner, _, field), value in pairs if owner in ("", label)}

    def with_values(self, values: Mapping[str, Any]) -> JobSpec:
        """Return a new, fully validated spec with values set at dotted paths.

        A list's item is named by its index or, for losses, its label: ``losses.wgan-gp.critic_lr``.

        Raises:
            SpecError: a path leads nowhere, or the value doesn't fit there.
        """
        from gansvc.specfile import validated

        data = self.model_dump(mode="json", exclude_none=True)
        for path, value in values.items():
            _set(data, path, value)
        return validated(data)

    def digest(self) -> str:
        """Return the SHA-256 of the resolved spec, as 64 hex digits."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def _check_space(key: str, distribution: Distribution, losses: tuple[Loss, ...]) -> None:
    owner, _, field = key.rpartition(".")
    concerned = [loss for loss in losses if owner in ("", loss.label)]
    if not concerned:
        text = f"space.{key}: no loss has the label {owner!r}; known: {', '.join(loss.label for loss in losses)}"
        raise PydanticCustomError("space", "{text}", {"text": text})
    for loss in concerned:
        searchable = sorted(set(type(loss).model_fields) - {"name", "label"})
        if field not in searchable:
            owners = [other.label for other in losses if field in type(other).model_fields]
            hint = f"write {owners[0]}.{field} to search it for that loss alone" if owners else ""
            text = f"space.{key}: {loss.label} has no field {field!r}; {hint or 'it has ' + ', '.join(searchable)}"
            raise PydanticCustomError("space", "{text}", {"text": text})
        for value in distribution.extremes():
            try:
                type(loss).model_validate(loss.model_dump() | {field: value})
            except ValidationError as error:
                reason = error.errors()[0]["msg"].replace("Input should be", "it must be")
                text = f"space.{key}: {value!r} is outside the range of {loss.label}'s {field}; {reason}"
                raise PydanticCustomError("space", "{text}", {"text": text}) from None


def _set(data: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    node = data
    for part in parents:
        if isinstance(node, dict) and part not in node:
            node[part] = {}
        node = _child(node, part, path)
    if isinstance(node, list):
        node[node.index(_child(node, last, path))] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise SpecError(f"{path}: nothing can be set there; give the dotted path of a field")


def _child(node: Any, part: str, path: str) -> Any:
    if isinstance(node, dict):
        return node[part]
    if isinstance(node, list):
        for index, item in enumerate(node):
            if part == str(index) or (isinstance(item, dict) and part in (item.get("label"), item.get("name"))):
                return item
    raise SpecError(f"{path}: there is no {part!r} on that path; give the dotted path of a field")
