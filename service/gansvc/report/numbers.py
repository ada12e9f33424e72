"""Format the numbers of a report: metrics in their columns' decimals, and quantities."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from gansvc.catalog import metrics as table
from gansvc.catalog.metrics import METRICS
from gansvc.report.model import Cell, Column

MISSING = "n/a"

SMALL = 5_000
"""Images of a data set below which metrics that are unbiased at any size, as KID, stand before the others."""


def metric_title(key: str) -> str:
    """Return a column's title: FID for ``fid``."""
    known = table.column(key)
    return known.title if known else key


def metric_columns(
    metrics: Iterable[str], measured: Collection[str] = (), images: int | None = None
) -> tuple[Column, ...]:
    """Return the leaderboard's columns for the asked metrics; deviations (``kid_std``) belong to their own column.

    Args:
        metrics: names of the asked metrics.
        measured: columns that some score has; optional ones (``fid_inf``) stand only if they are among them.
        images: images of the data set, all splits together, if known: KID comes first in a small one.
    """
    small = images is not None and images < SMALL
    names = sorted(metrics, key=lambda name: not METRICS[name].unbiased) if small else metrics
    return tuple(
        Column(key=one.key, title=one.title, better=one.better, decimals=one.decimals)
        for name in names
        for one in METRICS[name].columns
        if not one.optional or one.key in measured
    )


def format_metric(column: Column, value: float | None, spread: float | None = None) -> str:
    """Return a metric's value, with its deviation if given, in the column's decimals; ``n/a`` for None or NaN."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:.{column.decimals}f}"
    return text if spread is None or not math.isfinite(spread) else f"{text} ± {spread:.{column.decimals}f}"


def format_cell(column: Column, value: Cell | None) -> str:
    """Return a loss's value: the mean ± the deviation over seeds; over one seed the metric's own, inside the score."""
    if value is None:
        return MISSING
    return format_metric(column, value.mean, value.std if value.std is not None else value.within)


def format_interval(column: Column, interval: tuple[float, float] | None) -> str:
    """Return an interval in the column's decimals, ``0.0300 to 0.0320``; ``n/a`` for None."""
    return (
        MISSING if interval is None else f"{format_metric(column, interval[0])} to {format_metric(column, interval[1])}"
    )


def format_percent(share: float | None) -> str:
    """Return a share as ``97 %``; 0 % and 100 % stand for none and all alone; ``n/a`` for None."""
    if share is None:
        return MISSING
    whole = round(100 * share)
    return f"{whole if share in (0, 1) else min(99, max(1, whole))} %"


def format_share(share: float) -> str:
    """Return a share in percent with one decimal, ``97.3 %``."""
    return f"{100 * share:.1f} %"


def format_validation(name: str, value: float | None) -> str:
    """Return a validation score in the decimals of its metric; ``n/a`` for None or NaN."""
    known = table.column(name)
    return format_metric(Column(key=name, title=name, better="lower", decimals=known.decimals if known else 4), value)


def format_setting(value: Any) -> str:
    """Return the value of a loss's field: floats in three significant digits, ``1.5e-4`` below 0.01; n/a for None.

    A part of a loss is its name with its own fields: ``gradient-penalty (weight 10)``.
    """
    if value is None:
        return MISSING
    if isinstance(value, float) and 0 < abs(value) < 0.01:
        digits, _, exponent = f"{value:.2e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        fields = (f"{key} {format_setting(item)}" for key, item in value.items() if key != "name")
        return f"{value.get('name', '')} ({', '.join(fields)})".lstrip()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(format_setting(item) for item in value)}]"
    return str(value)


def format_count(value: float | None) -> str:
    """Return a whole number with thousands separated, ``n/a`` for None or NaN."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def pluralise(number: int, thing: str) -> str:
    """Return ``1 seed`` or ``3 seeds``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def join_words(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
