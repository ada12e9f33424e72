"""The figures of a report, each from plain records to PNG bytes; a loss has the same colour in all of them.

Every function returns None where there is nothing to draw. Figures are made without pyplot, so nothing is shared
between threads and no display is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gansvc.report import numbers
from gansvc.report import usefulness as learned
from gansvc.report.drawing import (
    GREY,
    TRANSPARENT,
    Array,
    LossStyle,
    cut_outliers,
    decimate,
    decode_png,
    draw_noise_floor,
    draw_panels,
    set_images_axis,
    set_log_axis,
    to_array,
)
from gansvc.report.histories import RunHistory
from gansvc.report.model import Curve, Report
from gansvc.store.audits import Audit

Histories = Mapping[str, Sequence[RunHistory]]
"""Label to the history of each of its seeds."""


def samples(real: tuple[str, bytes | None], grids: Sequence[tuple[str, bytes]]) -> bytes | None:
    """Return the real images' grid beside each loss's; PNG bytes in, with a title for each."""
    title, grid = real
    shown = ([(title, grid)] if grid is not None else []) + list(grids)
    if not shown:
        return None

    def draw(axes: Axes, index: int) -> None:
        title, grid = shown[index]
        axes.imshow(decode_png(grid), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()

    return draw_panels(len(shown), draw, size=(3.3, 3.5), across=4)


def losses(histories: Histories, styles: Mapping[str, LossStyle]) -> bytes | None:
    """Return the critic's loss (left axis) and the generator's (right axis) against critic images, a panel per loss."""
    drawn = [label for label, runs in histories.items() if any(len(run.critic_images) for run in runs)]

    def draw(axes: Axes, index: int) -> None:
        label = drawn[index]
        right = axes.twinx()
        right.grid(False)
        right.spines["right"].set_visible(True)
        _curves(axes, histories[label], lambda run: run.critic_loss, color=styles[label].colour)
        _curves(right, histories[label], lambda run: run.generator_loss, color=GREY, linestyle=(0, (3, 1.5)))
        axes.set_title(label)
        axes.set_ylabel("critic loss (solid)", color=styles[label].colour)
        right.set_ylabel("generator loss (dashed)", color=GREY)

    return draw_panels(len(drawn), draw) if drawn else None


def wasserstein(histories: Histories, styles: Mapping[str, LossStyle]) -> bytes | None:
    """Return mean D(real) - mean D(fake) against critic images, a panel per loss: their scales don't compare."""
    drawn = [label for label, runs in histories.items() if any(len(run.critic_images) for run in runs)]

    def draw(axes: Axes, index: int) -> None:
        label = drawn[index]
        _curves(axes, histories[label], lambda run: run.wasserstein, color=styles[label].colour)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_title(label)
        axes.set_ylabel("mean D(real) - mean D(fake)")

    return draw_panels(len(drawn), draw) if drawn else None


def terms(histories: Histories, styles: Mapping[str, LossStyle]) -> bytes | None:
    """Return terms of the losses' regularizers against critic images: a panel per name, a colour per loss."""
    names = list(dict.fromkeys(name for runs in histories.values() for run in runs for name in run.terms))
    drawn = {label: runs for label, runs in histories.items() if any(run.terms for run in runs)}

    def draw(axes: Axes, index: int) -> None:
        name = names[index]
        for label, runs in drawn.items():
            style: dict[str, Any] = {"color": styles[label].colour, "linestyle": styles[label].line}
            axes.plot([], [], label=label, **style)
            _plot(axes, [run for run in runs if name in run.terms], lambda run: run.terms[name], **style)
        values = [run.terms[name] for runs in drawn.values() for run in runs if name in run.terms]
        _fit(axes, np.concatenate(values))
        axes.set_title(name)

    return draw_panels(len(names), draw, legend="terms of the losses' regularizers") if names else None


def validation(report: Report, styles: Mapping[str, LossStyle]) -> bytes | None:
    """Return the validation score against critic images: thin lines per seed, a thick one for their mean."""
    curves = [curve for curve in report.curves if any(point.objective is not None for point in curve.points)]
    if not curves:
        return None
    name = numbers.metric_title(report.validation_metric)

    def draw(axes: Axes, index: int) -> None:
        for label, loss_style in styles.items():
            _seeds_and_mean(axes, [curve for curve in curves if curve.label == label], label, loss_style)
        floor = draw_noise_floor(axes, report)
        values = [point.objective for curve in curves for point in curve.points] + [floor]
        if all(value is None or value > 0 for value in values):
            set_log_axis(axes)
        axes.set_ylabel(f"{name} on the validation split (lower is better)")
        set_images_axis(axes)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)

    return draw_panels(1, draw, size=(5.4, 4.4))


def pairs(audits: Sequence[tuple[Audit, bytes]]) -> bytes | None:
    """Return each audit's closest pairs, a panel per loss: generated, nearest training and nearest held-out image."""

    def draw(axes: Axes, index: int) -> None:
        audit, grid = audits[index]
        picture = decode_png(grid)
        axes.imshow(picture, interpolation="nearest")
        found = audit.memorisation.pairs if audit.memorisation else ()
        (height, width), count = picture.shape[:2], max(1, len(found))
        labels = [f"{pair.to_train:.1f}\n{pair.to_heldout:.1f}" for pair in found]
        axes.set_xticks([(place + 0.5) * width / count for place in range(len(found))], labels)
        axes.set_yticks([height * (row + 0.5) / 3 for row in range(3)], ["generated", "train", "held-out"])
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_title(f"{audit.label}, seed {audit.seed}")
        axes.set_xlabel("distance to that training image, and below it to that held-out image")

    return draw_panels(len(audits), draw, size=(6.4, 3.3), across=1, style=TRANSPARENT) if audits else None


def usefulness(report: Report, styles: Mapping[str, LossStyle]) -> bytes | None:
    """Return each classifier's accuracy as a dot, a place per mixture of images; what the loss gave, in its colour."""
    found = learned.ranked_results(report)
    if not found or found[0].exam is None:
        return None
    majority = found[0].exam.majority
    places = list(dict.fromkeys((one.what, one.share) for one in sorted(found[0].rows, key=lambda row: row.share)))

    def draw(axes: Axes, index: int) -> None:
        for turn, measured in enumerate(found):
            shift = 0.6 * ((turn + 0.5) / len(found) - 0.5)
            for one in measured.rows:
                if one.what == "real" and turn > 0:
                    continue
                colour, shift_here = (GREY, 0.0) if one.what == "real" else (styles[measured.label].colour, shift)
                x = places.index((one.what, one.share)) + shift_here
                ys = [100 * value for value in one.accuracies.values()]
                mark = "o" if one.what == "real" else styles[measured.label].marker
                axes.plot([x] * len(ys), ys, mark, color=colour, markersize=4.5, alpha=0.8)
                axes.plot([x - 0.08, x + 0.08], [100 * one.accuracy] * 2, color=colour, linewidth=1.6)
            loss_style = styles[measured.label]
            axes.plot(
                [], [], loss_style.marker, color=loss_style.colour, label=f"{measured.label}, seed {measured.seed}"
            )
        axes.plot([], [], "o", color=GREY, label="real images only")
        axes.axhline(100 * majority, color=GREY, linestyle="--", linewidth=1.2, label="always the largest class")
        names = [what if what == "generated" else f"{what}\n{numbers.format_percent(share)}" for what, share in places]
        axes.set_xticks(range(len(places)), names)
        axes.set_xlim(-0.5, len(places) - 0.5)
        axes.set_ylabel("accuracy on real test images, %")

    return draw_panels(1, draw, size=(5.4, 3.6), legend="dots: seeds of the classifier; bars: their means")


def _curves(axes: Axes, runs: Sequence[RunHistory], value: Callable[[RunHistory], Array], **style: Any) -> None:
    _plot(axes, runs, value, **style)
    _fit(axes, np.concatenate([value(run) for run in runs]) if runs else np.empty(0))


def _plot(axes: Axes, runs: Sequence[RunHistory], value: Callable[[RunHistory], Array], **style: Any) -> None:
    """Draw a line per run."""
    alone = len(runs) == 1
    for run in runs:
        ys = value(run)
        shown = decimate(ys)
        marker = "o" if np.isfinite(ys).sum() == 1 else None
        xs, width, alpha = run.critic_images[shown], 1.4 if alone else 0.8, 1 if alone else 0.75
        axes.plot(xs, ys[shown], linewidth=width, alpha=alpha, marker=marker, **style)


def _fit(axes: Axes, values: Array) -> None:
    """Set the axes of curves with such values."""
    set_images_axis(axes)
    drawn = values[np.isfinite(values)]
    if not len(drawn):
        axes.text(0.5, 0.5, "no finite values", ha="center", va="center", transform=axes.transAxes, color=GREY)
        return
    cut_outliers(axes, drawn)


def _seeds_and_mean(axes: Axes, curves: Sequence[Curve], label: str, loss_style: LossStyle) -> None:
    if not curves:
        return
    alone = len(curves) == 1
    for curve in curves:
        axes.plot(
            [point.critic_images for point in curve.points],
            to_array([point.objective for point in curve.points]),
            color=loss_style.colour,
            linestyle=loss_style.line,
            linewidth=1.8 if alone else 0.8,
            alpha=1 if alone else 0.6,
            marker=loss_style.marker,
            markersize=4 if alone else 2.5,
            label=f"{label} (seed {curve.seed})" if alone else None,
        )
    if alone:
        return
    # The mean stands only where all seeds have a value, so that a seed that ended early doesn't bend it.
    tables = [{point.critic_images: point.objective for point in curve.points} for curve in curves]
    shared = [x for x in tables[0] if all(table.get(x) is not None for table in tables)]
    means = [float(np.mean([table[x] or 0.0 for table in tables])) for x in shared]
    axes.plot(
        shared,
        means,
        color=loss_style.colour,
        linestyle=loss_style.line,
        linewidth=2.2,
        label=f"{label} (mean of {len(curves)} seeds)",
    )
