"""The metrics of two sets of features, by torch-fidelity's own functions but for FID, and why one can't be made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from gansvc.catalog.metrics import METRICS
from gansvc.errors import RunError
from gansvc.gan.scoring import fid

if TYPE_CHECKING:
    from gansvc.gan.scoring.score import Features


class Measures(NamedTuple):
    """Metrics, and what was left out."""

    metrics: dict[str, float]
    """Column to value."""
    skipped: dict[str, str]
    """Column that was left out to the reason, as half a sentence."""


def measures(
    fake: Features, real: Features, metrics: Sequence[str], kid_subsets: int, kid_subset_size: int
) -> Measures:
    """Return our columns of the asked metrics that these features allow, and why the others aren't there.

    Raises:
        RunError: a metric that was asked for didn't come back.
    """
    reasons = {name: why for name in metrics if (why := _left_out(name, fake, real))}
    made = tuple(name for name in metrics if name not in reasons)
    return Measures(
        measure(fake, real, made, kid_subsets, kid_subset_size),
        {column: why for name, why in reasons.items() for column in METRICS[name].shown},
    )


def measure(
    fake: Features, real: Features, metrics: Sequence[str], kid_subsets: int, kid_subset_size: int
) -> dict[str, float]:
    """Return our columns of the asked metrics; the features must be as many and as finite as these need.

    Raises:
        RunError: a metric that was asked for didn't come back.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    found: dict[str, float] = {}
    if "is" in metrics:
        found |= isc_features_to_metric(fake.logits)
    if "fid" in metrics:
        found[KEY_METRIC_FID] = fid.distance(fake.pool, real.pool)
    if "kid" in metrics:
        sizes = {"kid_subsets": kid_subsets, "kid_subset_size": kid_subset_size}
        found |= kid_features_to_metric(fake.pool, real.pool, verbose=False, **sizes)
    if "precision-recall" in metrics:
        # torch-fidelity takes the generated features first; swapped, precision would be recall.
        found |= prc_features_to_metric(fake.pool, real.pool, verbose=False)
    columns = [column for name in metrics for column in METRICS[name].columns]
    if absent := [key for _, key in columns if key not in found]:
        raise RunError(f"torch-fidelity gave no {', '.join(absent)}; its version may have renamed them")
    return {ours: float(found[theirs]) for ours, theirs in columns}


def _left_out(name: str, fake: Features, real: Features) -> str | None:
    """Return why a metric can't be made of these features, as half a sentence, or None where it can."""
    if why := METRICS[name].too_few(len(fake), len(real)):
        return why
    used = (fake.logits,) if name == "is" else (fake.pool, real.pool)
    if all(bool(torch.isfinite(features).all()) for features in used):
        return None
    return "features aren't finite numbers, as where the generator's images are none"
