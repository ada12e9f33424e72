"""Early stopping of trials: one ASHA for each loss, which never stops the paper's values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from gansvc.catalog.spaces import Value
from gansvc.cluster.earlier import PreviousTrial
from gansvc.cluster.proposals import Proposal, default_values
from gansvc.spec.job import JobSpec

_REDUCTION = 2


class SparingAsha(AsyncHyperBandScheduler):  # type: ignore[misc]
    """ASHA that never stops the trial with the paper's values, so that a search can't end worse than no search."""

    def __init__(self, defaults: dict[str, Value], **settings: Any) -> None:
        super().__init__(**settings)
        self._defaults = defaults

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision: str = super().on_trial_result(tune_controller, trial, result)
        spared = decision == TrialScheduler.STOP and trial.config["values"] == self._defaults
        return TrialScheduler.CONTINUE if spared else decision


@dataclass(frozen=True)
class StableTrial:
    """What ASHA sees of a trial: its name, which stays the same when a job is resumed, while Tune's own id changes."""

    trial_id: str
    config: dict[str, Any]


class PerLossScheduler(FIFOScheduler):  # type: ignore[misc]
    """One scheduler a loss: trials of unlike losses are never weighed against each other."""

    def __init__(self, schedulers: Mapping[str, TrialScheduler]) -> None:
        super().__init__()
        self._of = schedulers

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept what Tune says of the metric; each loss's scheduler knows it already."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._of[trial.config["label"]].on_trial_add(tune_controller, _stable(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return str(self._of[trial.config["label"]].on_trial_result(tune_controller, _stable(trial), result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._of[trial.config["label"]].on_trial_complete(tune_controller, _stable(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._of[trial.config["label"]].on_trial_remove(tune_controller, _stable(trial))


def scheduler(
    spec: JobSpec, labels: Sequence[str], begun: Mapping[str, Sequence[PreviousTrial]], train_images: int
) -> TrialScheduler:
    """Return the scheduler of a search of these losses, whose rungs hold what the begun trials of each reported."""
    settings = spec.search
    if settings is None or settings.scheduler == "none":
        return FIFOScheduler()
    images = spec.trial_training().budget(train_images)
    # Trials of another n_critic end a few images apart: the rungs lie a little below the points of scoring.
    grace = max(1.0, 0.9 * images / settings.evaluations)
    made = PerLossScheduler({label: _asha(spec, label, grace, 2.0 * settings.seeds * images) for label in labels})
    for label in labels:
        for earlier in begun.get(label, ()):
            trial = StableTrial(earlier.name, Proposal(label, earlier.name, earlier.values)._asdict())
            made.on_trial_add(None, trial)
            for report in earlier.reports:
                made.on_trial_result(None, trial, report)
    return made


def _stable(trial: Any) -> StableTrial:
    return StableTrial(trial.config["trial"], trial.config)


def _asha(spec: JobSpec, label: str, grace: float, most: float) -> SparingAsha:
    return SparingAsha(
        default_values(spec, label),
        time_attr="critic_images",
        metric="objective",
        mode="min",
        grace_period=grace,
        max_t=most,
        reduction_factor=_REDUCTION,
    )
