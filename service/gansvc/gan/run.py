"""What one trial or run is to do, and what it asks of the platform it runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from gansvc.catalog.budget import generator_steps
from gansvc.catalog.loss import Loss
from gansvc.spec.identity import of_validation
from gansvc.spec.job import JobSpec
from gansvc.store.records import ValidationScore


@dataclass(frozen=True)
class RunPlan:
    """One training: a loss of a spec with one seed, for a number of epochs or images."""

    spec: JobSpec
    label: str
    seed: int
    epochs: int
    evaluations: int
    """Validation scores and checkpoints, evenly spaced, the last one at the end."""
    images: int | None = None
    """Budget in images that the critic sees; takes the place of epochs where it is given."""
    is_trial: bool = False
    """A trial keeps no sample grids and no event folder, and isn't scored before its first step."""
    content: Mapping[str, str] = field(default_factory=dict)
    """Hashes of the data set's content, see ``Images.content``, and of the extractor's weights."""

    @property
    def loss(self) -> Loss:
        """The loss with its resolved values."""
        return self.spec.loss(self.label)

    def steps(self, images: int) -> int:
        """Return the number of generator steps on a train split of that size, at least 1.

        The budget is counted in the critic's images, so that losses of another n_critic see equally many.
        """
        return generator_steps(self.loss, self.images or self.epochs * images, self.spec.training.batch_size)

    def evaluation_steps(self, steps: int) -> list[int]:
        """Return the steps after which the run is scored and saved, rising; the last is the last step."""
        return sorted({max(1, round(steps * k / self.evaluations)) for k in range(1, self.evaluations + 1)})

    def identity(self) -> dict[str, Any]:
        """Return what a run that is resumed, or counted as done, must agree with: all that decides its result."""
        training = self.spec.training.model_dump(mode="json", exclude={"workers", "seeds", "max_restarts", "patience"})
        # Left out where it is off: checkpoints from before the field was there lack it.
        off = set() if self.spec.network.conditional else {"conditional"}
        budget = {"epochs": self.epochs, "images": self.images, "evaluations": self.evaluations}
        return {
            "data": dict(self.content),
            "dataset": self.spec.dataset.model_dump(mode="json", exclude={"root", "path"}),
            "network": self.spec.network.model_dump(mode="json", exclude=off),
            "loss": self.loss.model_dump(mode="json"),
            "training": training | budget,
            "validation": of_validation(self.spec),
            "seed": self.seed,
        }


class Validation(NamedTuple):
    """Score of a generator on the validation split."""

    objective: float
    diversity: float | None
    """Spread of the samples' features relative to the real images': 0 where all samples are one image.

    None where there is no such ratio: a score that isn't finite, or real images whose features are all alike.
    """


class Validator(Protocol):
    """Scores a generator on the validation split, the same on every worker; lower is better."""

    def __call__(self, network: nn.Module, rank: int = 0, world_size: int = 1) -> Validation:
        """Return the generator's score; the workers share the work. NaN where one worker's images aren't finite."""


@dataclass(frozen=True)
class Platform:
    """Process context of a run: rank, device, callbacks; all that the training loop knows of where it runs."""

    rank: int
    world_size: int
    device: torch.device
    wrap: Callable[[nn.Module], nn.Module]
    """Makes a module's gradients the mean over all workers."""
    report: Callable[[ValidationScore], None]
    """Called by every worker after each validation score."""


def single_process(device: str = "cpu") -> Platform:
    """Return the platform of one process alone, which reports to nobody."""
    return Platform(0, 1, torch.device(device), lambda module: module, lambda scored: None)
