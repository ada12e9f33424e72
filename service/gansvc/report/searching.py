"""The figure of a search: every trial's score against each searched field."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.transforms import Transform, offset_copy

from gansvc.report import numbers
from gansvc.report.drawing import Look, log_axis, noise_floor, panels
from gansvc.report.model import Report
from gansvc.store.records import TrialRecord

_APART = 7.0
"""Points between the marks of two losses that share a place on a scale."""


def draw(report: Report, looks: Mapping[str, Look]) -> bytes | None:
    """Return every trial's score against each searched field, a panel per field; failed trials stand at the top."""
    trials = [trial for records in report.trials.values() for trial in records]
    fields = list(dict.fromkeys(field for trial in trials for field in trial.values))
    if not fields:
        return None
    name = report.validation_metric.upper()

    def panel(axes: Axes, index: int) -> None:
        field = fields[index]
        having = [trial for trial in trials if trial.values.get(field) is not None]
        position, width = _positions(axes, [trial.values[field] for trial in having])
        for place, (label, look) in enumerate(looks.items()):
            axes.plot([], [], look.marker, color=look.colour, label=label)
            # Losses share a value, as the spec's own: where it is a place on a scale they stand a few points apart.
            aside = (place + 0.5) / len(looks) - 0.5
            points = 0.0 if width else _APART * len(looks) * aside
            own = [trial for trial in having if trial.label == label]
            _trials(axes, [(position(trial.values[field]) + width * aside, trial) for trial in own], look, points)
        if not width:
            axes.margins(x=0.1)
        floor = noise_floor(axes, report)
        if all(value is None or value > 0 for value in (floor, *(trial.objective for trial in trials))):
            log_axis(axes)
        axes.set_xlabel(field)
        axes.set_ylabel(f"best validation {name}")

    return panels(len(fields), panel, legend="star: the spec's own values; cross: diverged or failed")


def _positions(axes: Axes, values: Sequence[Any]) -> tuple[Callable[[Any], float], float]:
    """Return where a field's value stands on the x axis, and the width over which the losses share that place.

    Fractions, and more than five whole numbers, stand where they are, width 0; fewer, and words, stand side by side.
    """
    plain = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    choices: list[Any] = sorted(set(values)) if plain else sorted({str(value) for value in values})
    if plain and (len(choices) > 5 or not all(isinstance(choice, int) for choice in choices)):
        if min(choices) > 0 and max(choices) / min(choices) > 20:
            axes.set_xscale("log")
        else:
            axes.locator_params(axis="x", nbins=5)
        return float, 0.0
    axes.set_xticks(range(len(choices)), [numbers.setting(choice) for choice in choices])
    axes.set_xlim(-0.5, len(choices) - 0.5)
    return (lambda value: float(choices.index(value if plain else str(value)))), 0.6


def _trials(axes: Axes, placed: Sequence[tuple[float, TrialRecord]], look: Look, aside: float) -> None:
    """Draw the marks of a loss's trials, so many points beside their places."""

    def marks(xs: list[float], ys: list[float], transform: Transform, mark: str, **style: Any) -> None:
        # A mark that stands aside doesn't stretch the axes: its place does.
        axes.plot(xs, ys, linestyle="none", transform=transform)
        beside = offset_copy(transform, axes.get_figure(root=True), aside, units="points")
        axes.plot(xs, ys, mark, color=look.colour, linestyle="none", transform=beside, **style)

    failed = [x for x, trial in placed if trial.objective is None or not math.isfinite(trial.objective)]
    if failed:
        marks(failed, [0.97] * len(failed), axes.get_xaxis_transform(), "x", markersize=6)
    scored = [(x, trial) for x, trial in placed if trial.objective is not None and math.isfinite(trial.objective)]
    # One call for all marks of a kind: thousands of trials would be thousands of lines. Stars last, and hollow: where
    # two stand on one another, both are seen.
    for defaults, mark, size, fill in ((False, look.marker, 6, look.colour), (True, "*", 12, "none")):
        own = [(x, trial.objective or 0.0) for x, trial in scored if trial.defaults == defaults]
        if own:
            xs, ys = map(list, zip(*own, strict=True))
            style = {"alpha": 0.9, "markersize": size, "markerfacecolor": fill, "markeredgewidth": 1.2}
            marks(xs, ys, axes.transData, mark, **style)
