"""The figure of a search: every trial's score against each searched field."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.transforms import Transform, offset_copy

from gansvc.records import TrialRecord
from gansvc.report import numbers
from gansvc.report.drawing import Look, log_axis, noise_floor, panels
from gansvc.report.model import Report

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
            for trial in (trial for trial in having if trial.label == label):
                _trial(axes, trial, position(trial.values[field]) + width * aside, look, points)
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


def _trial(axes: Axes, trial: TrialRecord, x: float, look: Look, aside: float) -> None:
    """Draw a trial's mark, so many points beside its place."""

    def beside(transform: Transform) -> Transform:
        return offset_copy(transform, axes.get_figure(root=True), aside, units="points")

    # A mark that stands aside doesn't stretch the axes: its place does.
    if trial.objective is None or not math.isfinite(trial.objective):
        axes.plot([x], [0.97], "", transform=axes.get_xaxis_transform())
        axes.plot([x], [0.97], "x", color=look.colour, markersize=6, transform=beside(axes.get_xaxis_transform()))
        return
    # Hollow stars: where two stand on one another, both are seen.
    mark, size, fill = ("*", 12, "none") if trial.defaults else (look.marker, 6, look.colour)
    axes.plot([x], [trial.objective], "")
    axes.plot(
        [x],
        [trial.objective],
        mark,
        color=look.colour,
        alpha=0.9,
        markersize=size,
        markerfacecolor=fill,
        markeredgewidth=1.2,
        transform=beside(axes.transData),
    )
