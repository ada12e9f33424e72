"""The job spec: strict, frozen, resolved once, saved with every default written out, passed whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from gansvc.catalog.augments import AUGMENTS
from gansvc.catalog.datasets import AnyDataset, Split
from gansvc.catalog.extractors import AnyExtractor
from gansvc.catalog.losses import AnyLoss, Loss
from gansvc.catalog.metrics import METRICS
from gansvc.catalog.networks import AnyNetwork, Network, check_losses, check_network
from gansvc.catalog.spaces import Distribution, Space, check_space, space_of
from gansvc.errors import SpecError, unknown_name
from gansvc.schema.explain import refusal, validate
from gansvc.schema.section import NameIn, Section
from gansvc.spec.capacity import Resources
from gansvc.spec.paths import set_value
from gansvc.spec.placement import JobPlacement

MetricName = Annotated[str, NameIn(METRICS, "metric")]
Objective = Annotated[str, NameIn(METRICS, "objective", lambda metric: metric.may_rank)]
AugmentName = Annotated[str, NameIn(AUGMENTS, "augmentation")]
_OBJECTIVE: Objective = "kid"


class Training(Section):
    """How every loss is trained, so that only the loss differs."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 50
    """Passes of the critic over the training images; the same number of critic images for every loss."""
    images: Annotated[int, Field(ge=1, le=10**12)] | None = None
    """Budget in images that the critic sees; takes the place of epochs where it is given."""
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
    decay: Literal["none", "linear", "cosine"] = "none"
    """How both learning rates fall over a run: not at all, or to zero along a line or half a cosine."""
    augment: tuple[AugmentName, ...] = ()
    """Differentiable augmentation of real and generated images alike, for sets so small that the critic learns them."""
    evaluations: Annotated[int, Field(ge=1, le=1000)] = 10
    """Validation scores, checkpoints and sample grids, evenly spaced over a run."""
    patience: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Evaluations in a row without a better validation score after which a run ends; never, if left out."""
    max_restarts: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a run is started again after losing a worker."""

    @model_validator(mode="after")
    def _batch_feeds_all_workers(self) -> Training:
        if self.batch_size < self.workers:
            text = f"batch_size {self.batch_size} is smaller than workers {self.workers}; every worker needs an image"
            raise refusal(text)
        if len(set(self.seeds)) < len(self.seeds):
            raise refusal("seeds must differ from each other", ".seeds")
        if len(set(self.augment)) < len(self.augment):
            raise refusal(f"{', '.join(self.augment)} names an augmentation twice; name each once", ".augment")
        return self

    def budget(self, images: int) -> int:
        """Return the images that the critic of a run sees, on a train split of ``images`` images."""
        return self.images or self.epochs * images


class Search(Section):
    """The search of each loss's hyper-parameters; without this section there is none."""

    trials: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Trials per loss; the first one has the paper's values."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Budget of a trial, in epochs; the training's own if left out."""
    images: Annotated[int, Field(ge=1, le=10**12)] | None = None
    """Budget of a trial in images that the critic sees; takes the place of epochs where it is given."""
    evaluations: Annotated[int, Field(ge=1, le=1000)] = 4
    """Scores of a trial on its way; ASHA may stop it at each."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """World size of a trial."""
    objective: Objective = _OBJECTIVE
    """Metric on the validation split that ranks trials and checkpoints; lower is better."""
    algorithm: Literal["random", "tpe"] = "random"
    """How the next values are drawn: at random, or by Optuna's tree-structured Parzen estimator."""
    scheduler: Literal["asha", "none"] = "asha"
    """asha stops the worse trials early; the trial with the paper's values always runs to its end."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the drawn values, and the first one of a trial's training."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    """How many seeds a trial is trained with: seed, seed + 1, ...; its score is the mean over them."""
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
    audit: bool = True
    """Whether each scored run is also searched for copies of training images and, where the set has classes, looked at
    by a classifier of them; costs the features of the training images, once a data set. With a conditional network also
    whether classifiers learn from its images: nine small trainings a loss."""

    @model_validator(mode="after")
    def _judged_once_by_other_images(self) -> Evaluation:
        if self.reference == "val":
            text = "reference val already chooses the checkpoints, so it can't judge them; use test or train"
            raise refusal(text)
        if len(set(self.metrics)) < len(self.metrics):
            raise refusal(f"{', '.join(self.metrics)} names a metric twice; name each once", ".metrics")
        return self


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
    cluster: JobPlacement | None = None
    """Where the job runs, if on Kubernetes; no part of what it is."""

    @field_validator("network", mode="after")
    @classmethod
    def _network_fits_the_data_set(cls, network: Network, info: ValidationInfo) -> Network:
        dataset = info.data.get("dataset")
        if dataset:
            check_network(network, dataset)
        return network

    @field_validator("losses", mode="after")
    @classmethod
    def _losses_go_together(cls, losses: tuple[Loss, ...], info: ValidationInfo) -> tuple[Loss, ...]:
        labels = [loss.label for loss in losses]
        for label in labels:
            if labels.count(label) > 1:
                text = f"two losses have the label {label!r}; give one of them another with label: NAME"
                raise refusal(text)
        if "network" in info.data:
            check_losses(losses, info.data["network"])
        return losses

    @field_validator("search", mode="after")
    @classmethod
    def _space_fits_losses(cls, search: Search | None, info: ValidationInfo) -> Search | None:
        if search is not None and "losses" in info.data:
            check_space(search.space, info.data["losses"])
        return search

    @field_validator("published", mode="after")
    @classmethod
    def _numbers_belong_to_a_loss(cls, published: tuple[Published, ...], info: ValidationInfo) -> tuple[Published, ...]:
        labels = [loss.label for loss in info.data.get("losses", ())]
        for index, numbers in enumerate(published):
            if labels and numbers.loss not in labels:
                raise refusal(unknown_name("label", numbers.loss, labels), f"[{index}].loss")
        return published

    def loss(self, label: str) -> Loss:
        """Return the loss of that label.

        Raises:
            SpecError: no loss has it.
        """
        for loss in self.losses:
            if loss.label == label:
                return loss
        raise SpecError(f"losses: none has the label {label!r}; known: {', '.join(x.label for x in self.losses)}")

    @property
    def objective(self) -> Objective:
        """Metric on the validation split that ranks trials and checkpoints: the search's, or KID without a search."""
        return self.search.objective if self.search else _OBJECTIVE

    def trial_training(self) -> Training:
        """Return how a search's trial is trained: as a run, with the search's own budget where it gives one."""
        search, training = self.search, self.training
        if search is None or not (search.epochs or search.images):
            return training
        budget = {"epochs": search.epochs or training.epochs, "images": search.images}
        return Training.model_validate(training.model_dump() | budget)

    def space_of(self, label: str) -> dict[str, Distribution]:
        """Return the search space of one loss: the path of its field to the distribution."""
        if self.search is None:
            return {}
        return space_of(self.search.space, label, [loss.label for loss in self.losses])

    def with_values(self, values: Mapping[str, Any]) -> JobSpec:
        """Return a new, fully validated spec with values set at dotted paths.

        A list's item is named by its label, its index or its name, in that order: ``losses.wgan-gp.critic_lr``. A
        section's new name drops what the old one had brought: ``evaluation.extractor.name`` takes the usual size along.

        Raises:
            SpecError: a path leads nowhere, or the value doesn't fit there.
        """
        data = self.model_dump(mode="json", exclude_none=True)
        for path, value in values.items():
            set_value(data, path, value)
        return validate(type(self), data)
