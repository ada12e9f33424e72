"""Tune's search algorithm: which trial comes next, over all losses in turn."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from gansvc.catalog.spaces import Distribution, Value
from gansvc.cluster.earlier import WORST, PreviousTrial
from gansvc.spec.job import JobSpec
from gansvc.store import layout


class Proposal(NamedTuple):
    """One trial of a search."""

    label: str
    """Label of its loss."""
    trial: str
    """Name of its folder, unlike that of any other trial of its loss."""
    values: dict[str, Value]
    """The searched fields' values."""


class Proposals(Searcher):  # type: ignore[misc]
    """Tune's search algorithm for all losses of a job at once, so that their trials share one set of processes.

    A trial's config is a Proposal's fields. With ``random``, the trials are a function of the spec alone; with ``tpe``,
    each loss has an Optuna study of its own, which learns from the trials of earlier starts too.

    Args:
        spec: a spec with a search section.
        labels: labels of the losses to search.
        begun: label to the trials that an earlier start began: they keep their values, and those over aren't repeated.
    """

    def __init__(self, spec: JobSpec, labels: Sequence[str], begun: Mapping[str, Sequence[PreviousTrial]]) -> None:
        super().__init__(metric="objective", mode="min")
        assert spec.search is not None
        studies = [label for label in labels if spec.search.algorithm == "tpe" and spec.space_of(label)]
        self._studies = {label: _study(spec, label, begun.get(label, ())) for label in studies}
        # What is known of each trial's values beforehand; a study's own trials come without.
        self._left: dict[str, deque[tuple[str, dict[str, Value] | None]]] = {}
        for label in labels:
            drawn = [None] * spec.search.trials if label in studies else draw_values(spec, label)
            known = {trial.name: trial for trial in begun.get(label, ())}
            names = {layout.trial_name(number): values for number, values in enumerate(drawn)}
            todo = {name: known[name].values if name in known else values for name, values in names.items()}
            self._left[label] = deque((n, values) for n, values in todo.items() if n not in known or not known[n].over)
        self._turns, self._labels = cycle(labels), len(labels)
        self._owners: dict[str, tuple[str, dict[str, Value] | None]] = {}

    def left(self) -> int:
        """Return how many trials are left to suggest."""
        return sum(map(len, self._left.values()))

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Return the next trial's config, or FINISHED after the last one."""
        label = next(
            (label for _, label in zip(range(self._labels), self._turns, strict=False) if self._left[label]), ""
        )
        if not label:
            return str(Searcher.FINISHED)
        name, values = self._left[label].popleft()
        if study := self._studies.get(label):
            self._owners[trial_id] = label, values
            values = study.suggest(trial_id) if values is None else values
        assert values is not None
        return Proposal(label, name, values)._asdict()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell a trial's study how it ended."""
        label, values = self._owners.pop(trial_id, ("", None))
        if label and values is None:
            self._studies[label].on_trial_complete(trial_id, result, error)
        elif label and result:
            _add_known_result(self._studies[label], values, result.get("objective", WORST))

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: what was tried is told by the trials' folders."""


def draw_values(spec: JobSpec, label: str) -> list[dict[str, Value]]:
    """Return the values of a random search's trials: the paper's first, then draws from (search seed, label) alone."""
    settings, space = spec.search, spec.space_of(label)
    assert settings is not None
    random = np.random.default_rng([settings.seed, *label.encode()])
    drawn = [{field: _draw(d, random) for field, d in space.items()} for _ in range(settings.trials - 1)]
    return [default_values(spec, label), *drawn]


def default_values(spec: JobSpec, label: str) -> dict[str, Value]:
    """Return what the spec itself says for the searched fields: the paper's values, unless the user set others."""
    values = spec.loss(label).values()
    return {path: values[path] for path in spec.space_of(label)}


def _study(spec: JobSpec, label: str, begun: Sequence[PreviousTrial]) -> OptunaSearch:
    assert spec.search is not None
    space = {field: _tune_domain(distribution) for field, distribution in spec.space_of(label).items()}
    study = OptunaSearch(
        OptunaSearch.convert_search_space(space),
        metric="objective",
        mode="min",
        points_to_evaluate=None if begun else [default_values(spec, label)],
        # Another seed than the earlier start's, or it would draw the same values again.
        seed=spec.search.seed + len(begun),
    )
    for trial in begun:
        if trial.over:
            _add_known_result(study, trial.values, trial.objective())
    return study


def _add_known_result(study: OptunaSearch, values: dict[str, Value] | None, objective: float) -> None:
    # A user's own value may lie outside of the space: Optuna tries it, but doesn't learn of it afterwards.
    with suppress(ValueError):
        study.add_evaluated_point(values, objective)


def _draw(distribution: Distribution, random: np.random.Generator) -> Value:
    if distribution.choice:
        return distribution.choice[int(random.integers(len(distribution.choice)))]
    if distribution.int_uniform:
        low, high = distribution.int_uniform
        return int(random.integers(low, high + 1))
    if distribution.log_uniform:
        low_log, high_log = (math.log(end) for end in distribution.log_uniform)
        # Rounding may leave the range by one digit at its very ends.
        drawn = math.exp(random.uniform(low_log, high_log))
        return float(np.clip(drawn, *distribution.log_uniform))
    assert distribution.uniform is not None
    return float(random.uniform(*distribution.uniform))


def _tune_domain(distribution: Distribution) -> Any:
    if distribution.choice:
        return tune.choice(list(distribution.choice))
    if distribution.int_uniform:
        return tune.randint(distribution.int_uniform[0], distribution.int_uniform[1] + 1)
    if distribution.log_uniform:
        return tune.loguniform(*distribution.log_uniform)
    assert distribution.uniform is not None
    return tune.uniform(*distribution.uniform)
