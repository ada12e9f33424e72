"""The search in a report: a table of each loss's trials, and the figure of scores against searched fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.transforms import Transform, offset_copy

from gansvc.report import numbers, runs
from gansvc.report.document import Paragraph, Picture, Section, Subsection, escape
from gansvc.report.drawing import LossStyle, draw_noise_floor, draw_panels, set_log_axis
from gansvc.report.model import Report
from gansvc.report.tables import Cell, Column, Row, Table, number_columns, plain, text_columns
from gansvc.spec.job import JobSpec
from gansvc.store.records import TrialRecord

_APART = 7.0
"""Points between the marks of two losses that share a place on a scale."""


def draw(report: Report, styles: Mapping[str, LossStyle]) -> bytes | None:
    """Return every trial's score against each searched field, a panel per field; failed trials stand at the top."""
    trials = [trial for records in report.trials.values() for trial in records]
    fields = list(dict.fromkeys(field for trial in trials for field in trial.values))
    if not fields:
        return None
    name = numbers.metric_title(report.validation_metric)

    def panel(axes: Axes, index: int) -> None:
        field = fields[index]
        having = [trial for trial in trials if trial.values.get(field) is not None]
        position, width = _positions(axes, [trial.values[field] for trial in having])
        for place, (label, loss_style) in enumerate(styles.items()):
            axes.plot([], [], loss_style.marker, color=loss_style.colour, label=label)
            # Losses share a value, as the spec's own: where it is a place on a scale they stand a few points apart.
            aside = (place + 0.5) / len(styles) - 0.5
            points = 0.0 if width else _APART * len(styles) * aside
            own = [trial for trial in having if trial.label == label]
            _trials(axes, [(position(trial.values[field]) + width * aside, trial) for trial in own], loss_style, points)
        if not width:
            axes.margins(x=0.1)
        floor = draw_noise_floor(axes, report)
        if all(value is None or value > 0 for value in (floor, *(trial.objective for trial in trials))):
            set_log_axis(axes)
        axes.set_xlabel(field)
        axes.set_ylabel(f"best validation {name}")

    return draw_panels(len(fields), panel, legend="star: the spec's own values; cross: diverged or failed")


def section(report: Report, spec: JobSpec | None, pictures: Mapping[str, Picture]) -> Section | None:
    """Return every trial, a table a loss; None where nothing was searched."""
    if not report.trials:
        return None
    seeds = _seeds(spec)
    mean = f", the mean over {seeds} seeds" if seeds > 1 else ""
    metric = escape(numbers.metric_title(report.validation_metric))
    said = (
        f"Each trial is ranked by its best {metric} on the validation split{mean}; the first one with a score, in "
        "bold, gave its values to the runs."
    )
    parts = [
        Subsection(label, (table(report, trials, seeds) if trials else Paragraph("No trial was recorded."),))
        for label, trials in report.trials.items()
    ]
    figure = [pictures["search.png"]] if "search.png" in pictures else []
    return Section("Search", (Paragraph(said), *figure, *parts))


def table(report: Report, trials: Sequence[TrialRecord], seeds: int) -> Table:
    """Return the trials of one loss, best first, and what real images score.

    Args:
        report: the report.
        trials: the trials.
        seeds: how many each one was to be trained with.
    """
    fields = list(dict.fromkeys(field for trial in trials for field in trial.values))
    best = next((trial.trial for trial in trials if trial.objective is not None), None)
    rows = []
    for trial in trials:
        score = numbers.format_validation(report.validation_metric, trial.objective)
        if seeds > 1 and trial.objectives:
            score += f" ({numbers.pluralise(len(trial.objectives), 'seed')})"
        name = f"{trial.trial} (the spec's own values)" if trial.defaults else trial.trial
        state = f"{trial.state}: {trial.reason}" if trial.reason else trial.state
        settings = (numbers.format_setting(trial.values.get(field)) for field in fields)
        cost = (numbers.format_count(trial.critic_images), numbers.format_count(trial.seconds))
        scored = Cell(score, "best" if trial.trial == best else "")
        rows.append(Row((*plain(name, state, *settings), scored, *plain(*cost))))
    rows += runs.validation_floor(report, before=len(fields) + 1, after=2)
    score_column = Column(f"val {numbers.metric_title(report.validation_metric)}", better="lower")
    texts, costs = text_columns("trial", "state"), number_columns("critic images", "seconds")
    return Table((*texts, *number_columns(*fields), score_column, *costs), tuple(rows))


def _seeds(spec: JobSpec | None) -> int:
    return spec.search.seeds if spec and spec.search else 1


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
    axes.set_xticks(range(len(choices)), [numbers.format_setting(choice) for choice in choices])
    axes.set_xlim(-0.5, len(choices) - 0.5)
    return (lambda value: float(choices.index(value if plain else str(value)))), 0.6


def _trials(axes: Axes, placed: Sequence[tuple[float, TrialRecord]], loss_style: LossStyle, aside: float) -> None:
    """Draw the marks of a loss's trials, shifted by so many points."""

    def marks(xs: list[float], ys: list[float], transform: Transform, mark: str, **style: Any) -> None:
        # A mark that stands aside doesn't stretch the axes: its place does.
        axes.plot(xs, ys, linestyle="none", transform=transform)
        shifted = offset_copy(transform, axes.get_figure(root=True), aside, units="points")
        axes.plot(xs, ys, mark, color=loss_style.colour, linestyle="none", transform=shifted, **style)

    failed = [x for x, trial in placed if trial.objective is None or not math.isfinite(trial.objective)]
    if failed:
        marks(failed, [0.97] * len(failed), axes.get_xaxis_transform(), "x", markersize=6)
    scored = [(x, trial) for x, trial in placed if trial.objective is not None and math.isfinite(trial.objective)]
    # One call for all marks of a kind: thousands of trials would be thousands of lines. Stars last, and hollow: where
    # two stand on one another, both are seen.
    for defaults, mark, size, fill in ((False, loss_style.marker, 6, loss_style.colour), (True, "*", 12, "none")):
        own = [(x, trial.objective or 0.0) for x, trial in scored if trial.defaults == defaults]
        if own:
            xs, ys = map(list, zip(*own, strict=True))
            style = {"alpha": 0.9, "markersize": size, "markerfacecolor": fill, "markeredgewidth": 1.2}
            marks(xs, ys, axes.transData, mark, **style)
