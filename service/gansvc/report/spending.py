"""Budgets of the losses, and best validation score against cost: critic images, and process-seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes

from gansvc.report import numbers
from gansvc.report.document import Paragraph, Picture, Section
from gansvc.report.drawing import LossStyle, draw_noise_floor, draw_panels, set_images_axis, set_log_axis, to_array
from gansvc.report.model import Budget, CurvePoint, Report
from gansvc.report.tables import Row, Table, loss_cell, number_columns, plain, text_columns
from gansvc.spec.job import JobSpec
from gansvc.store.records import RunRecord, TrialRecord

Cost = Literal["images", "seconds"]
Array = np.ndarray[Any, np.dtype[np.float64]]
StepCurve = tuple[Array, Array]
"""Costs, rising, and the best score from each of them on, until the next."""


def budgets(
    spec: JobSpec, runs: Sequence[RunRecord], trials: Mapping[str, Sequence[TrialRecord]]
) -> tuple[Budget, ...]:
    """Return what each loss was given, in its search and in all its runs together."""
    workers = spec.search.workers if spec.search else 1
    found = []
    for loss in spec.losses:
        searched = trials.get(loss.label, ())
        trained = [run for run in runs if run.label == loss.label]
        found.append(
            Budget(
                label=loss.label,
                trials=len(searched),
                search_critic_images=sum(trial.critic_images for trial in searched),
                search_process_seconds=workers * sum(trial.seconds for trial in searched),
                runs=len(trained),
                training_critic_images=sum(run.critic_images for run in trained),
                training_process_seconds=sum(run.seconds * run.world_size for run in trained),
            )
        )
    return tuple(found)


def section(report: Report, pictures: Mapping[str, Picture]) -> Section:
    """Return the budgets, with the figures of what each one bought."""
    said = (
        "What each loss was given, in all seeds together (process-seconds are seconds of training, its scores on the "
        "validation split included, times worker processes; the last scoring, on other images, is not in them):"
    )
    figures = [pictures[name] for name in ("best-by-images.png", "best-by-seconds.png") if name in pictures]
    curves = (
        "A curve begins after the whole search of its loss (dotted) and shows one run: what a loss has reached when it "
        "has been given so much."
    )
    return Section("Budgets", (Paragraph(said), table(report), *figures, *([Paragraph(curves)] if figures else [])))


def table(report: Report) -> Table:
    """Return what each loss was given, in the job's order."""
    rows = [
        Row(
            (
                loss_cell(budget.label),
                *plain(
                    str(budget.trials),
                    numbers.format_count(budget.search_critic_images),
                    numbers.format_count(budget.search_process_seconds),
                    str(budget.runs),
                    numbers.format_count(budget.training_critic_images),
                    numbers.format_count(budget.training_process_seconds),
                ),
            )
        )
        for budget in report.budgets
    ]
    searched = ("trials", "critic images in search", "process-seconds in search")
    trained = ("runs", "critic images in training", "process-seconds in training")
    return Table((*text_columns("loss"), *number_columns(*searched, *trained)), tuple(rows))


def best_so_far(report: Report, label: str, cost: Cost) -> list[StepCurve]:
    """Return the steps of each seed of a loss; each begins at what the loss's whole search cost.

    Runs without a finite score are left out, as are, for seconds, those of reports that don't hold the time.
    """
    workers = {(run.label, run.seed): run.world_size for run in report.runs}
    found = []
    for curve in report.curves:
        if curve.label != label:
            continue
        processes = workers.get((label, curve.seed), 1)
        xs = to_array([_cost_of(point, cost, processes) for point in curve.points])
        # A score that isn't finite is no better than the one before it.
        ys = np.fmin.accumulate(to_array([point.objective for point in curve.points]))
        known = np.isfinite(xs) & np.isfinite(ys)
        if known.any():
            found.append((xs[known] + search_cost(report, label, cost), ys[known]))
    return found


def _cost_of(point: CurvePoint, cost: Cost, processes: int) -> float | None:
    if cost == "images":
        return point.critic_images
    return None if point.seconds is None else point.seconds * processes


def search_cost(report: Report, label: str, cost: Cost) -> float:
    """Return what the search of a loss cost: images that its critics saw, or process-seconds of training."""
    budget = next((budget for budget in report.budgets if budget.label == label), None)
    if budget is None:
        return 0.0
    return float(budget.search_critic_images if cost == "images" else budget.search_process_seconds)


def mean_steps(seeds: Sequence[StepCurve]) -> StepCurve:
    """Return the mean over seeds, from where all of them have begun to where the first one ends; it may be empty."""
    first, last = max(xs[0] for xs, _ in seeds), min(xs[-1] for xs, _ in seeds)
    every = np.unique(np.concatenate([xs for xs, _ in seeds]))
    shared = every[(every >= first) & (every <= last)]
    return shared, np.mean([ys[np.searchsorted(xs, shared, side="right") - 1] for xs, ys in seeds], axis=0)


def draw(report: Report, styles: Mapping[str, LossStyle], cost: Cost) -> bytes | None:
    """Return the figure as PNG bytes, None without a score: thin lines per seed, a thick one for their mean."""
    drawn = {label: seeds for label in styles if (seeds := best_so_far(report, label, cost))}
    if not drawn:
        return None

    def panel(axes: Axes, index: int) -> None:
        for label, seeds in drawn.items():
            _draw_loss(axes, seeds, label, styles[label], search_cost(report, label, cost))
        floor = draw_noise_floor(axes, report)
        values = [float(y) for seeds in drawn.values() for _, ys in seeds for y in ys]
        if all(value > 0 for value in (*values, *([] if floor is None else [floor]))):
            set_log_axis(axes)
        axes.set_ylabel(f"best validation {numbers.metric_title(report.validation_metric)} so far (lower is better)")
        if cost == "images":
            set_images_axis(axes)
        else:
            axes.set_xlabel("process-seconds of training")
        axes.set_xlim(left=0)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)

    return draw_panels(1, panel, size=(5.4, 4.4))


def _draw_loss(axes: Axes, seeds: Sequence[StepCurve], label: str, loss_style: LossStyle, search: float) -> None:
    alone = len(seeds) == 1
    thin: dict[str, Any] = {"linewidth": 1.8, "alpha": 1.0} if alone else {"linewidth": 0.7, "alpha": 0.5}
    for xs, ys in seeds:
        axes.step(xs, ys, where="post", color=loss_style.colour, linestyle=loss_style.line, **thin)
    xs, ys = mean_steps(seeds)
    name = f"{label} ({'one seed' if alone else f'mean of {len(seeds)} seeds'})"
    axes.step(xs, ys, where="post", color=loss_style.colour, linestyle=loss_style.line, linewidth=2.2, label=name)
    if search and len(xs):
        # What the search cost, before the first step of a run.
        axes.plot([0, search], [ys[0], ys[0]], color=loss_style.colour, linewidth=1.2, linestyle=":")
