"""Compute metrics of two sets of features, and say why one can't be had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch

from gansvc.catalog.metrics import Features, Metric
from gansvc.errors import RunError


class Measurement(NamedTuple):
    """Metrics, and what was left out."""

    metrics: dict[str, float]
    """Column to value."""
    skipped: dict[str, str]
    """Column that was left out to the reason, as half a sentence."""


def measure(fake: Features, real: Features, metrics: Iterable[Metric]) -> Measurement:
    """Return the columns of the metrics that these features allow, and why the others aren't there.

    Raises:
        RunError: a metric gave no number for one of its columns, or one for another.
    """
    values: dict[str, float] = {}
    skipped: dict[str, str] = {}
    optional: dict[str, float | str] = {}
    for metric in metrics:
        if reason := _refusal(metric, fake, real):
            skipped |= dict.fromkeys(metric.shown, reason)
            continue
        found = dict(metric.compute(fake, real))
        _check_columns(metric, found)
        optional |= {key: found.pop(key) for key in [*found] if key.removesuffix("_std") not in metric.shown}
        values |= {key: float(value) for key, value in found.items()}
    # Optional columns come last, as they have always stood in score files.
    values |= {key: float(value) for key, value in optional.items() if not isinstance(value, str)}
    return Measurement(values, skipped | {key: why for key, why in optional.items() if isinstance(why, str)})


def _check_columns(metric: Metric, found: Mapping[str, float | str]) -> None:
    known = {column.key for column in metric.columns}
    missing = [key for key in metric.shown if not isinstance(found.get(key), (int, float))]
    if wrong := missing + [key for key in found if key.removesuffix("_std") not in known]:
        raise RunError(
            f"the metric {metric.name} gave {dict(found)}; {', '.join(wrong)} must be a number of its columns"
        )


def _refusal(metric: Metric, fake: Features, real: Features) -> str | None:
    """Return why a metric can't be computed of these features, as half a sentence, or None where it can."""
    if why := metric.too_few(len(fake), len(real)):
        return why
    inputs = metric.inputs(fake, real)
    if not all(tensor.shape[1] for tensor in inputs):
        return "the extractor gives no class logits"
    if not all(bool(torch.isfinite(tensor).all()) for tensor in inputs):
        return "features aren't finite numbers, as where the generator's images are none"
    return None
