"""Paired bootstrap over seeds: all losses share a seed's data order and latents.

Its limits: a bootstrap over k seeds knows no more than k values. With 2 or 3 seeds its 95 % interval is the range
from the worst seed to the best, which holds the mean of a symmetric distribution only with probability 1 - 2^(1-k):
1 time in 2, or 3 times in 4. And k equally good pairs all fall to one side with probability 2^(1-k), so that fewer than
``SIGNIFICANT_SEEDS`` seeds can't carry a difference at 5 %, however clear it looks. The report says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from gansvc.report.model import MIN_SEEDS, Difference

Better = Literal["lower", "higher"]
Array = np.ndarray[Any, np.dtype[Any]]

DRAWS = 10_000
"""Resamplings where not all can be listed."""
_SEED = 20_240_501


def resample_indices(count: int) -> Array:
    """Return resamplings (B, count) of count seeds as indices: every one up to 5 seeds, else ``DRAWS`` random ones.

    They are the same in every process.
    """
    if count**count <= DRAWS:
        return np.indices((count,) * count).reshape(count, -1).T
    return np.random.default_rng(_SEED).integers(count, size=(DRAWS, count))


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % percentile bootstrap interval of the mean over seeds (Efron 1979); None below two seeds."""
    if len(values) < 2:
        return None
    means = np.asarray(values, dtype=np.float64)[resample_indices(len(values))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975), method="inverted_cdf")
    return float(low), float(high)


def difference(values: Mapping[int, float], first: Mapping[int, float], better: Better) -> Difference | None:
    """Return a loss's paired difference to the first one, over the seeds that both have; None below two.

    Args:
        values: seed to the loss's value.
        first: seed to the first one's value.
        better: which way is better.
    """
    seeds = sorted(values.keys() & first.keys())
    gaps = [values[seed] - first[seed] for seed in seeds]
    between = interval(gaps)
    if between is None:
        return None
    shares = best_shares({"other": {s: values[s] for s in seeds}, "first": {s: first[s] for s in seeds}}, better)
    return Difference(mean=float(np.mean(gaps)), interval=between, ahead=shares.get("first"), seeds=tuple(seeds))


def best_shares(losses: Mapping[str, Mapping[int, float]], better: Better) -> dict[str, float]:
    """Return the share of resamplings in which each loss has the best mean; losses that tie share the draw.

    All losses get the same draw of seeds, so only seeds that all of them have are drawn. Empty below two losses or
    ``MIN_SEEDS`` such seeds: fewer would give shares of 100 % to chance.

    Args:
        losses: label to (seed to value).
        better: which way is better.
    """
    seeds = sorted(set.intersection(*(set(values) for values in losses.values()))) if losses else []
    if len(losses) < 2 or len(seeds) < MIN_SEEDS:
        return {}
    sign = 1 if better == "lower" else -1
    table = np.array([[sign * values[seed] for seed in seeds] for values in losses.values()])
    # (losses, resamplings, seeds): one draw of seeds serves all losses.
    means = table[:, resample_indices(len(seeds))].mean(axis=2)
    first = np.isclose(means, means.min(axis=0), rtol=0, atol=1e-12)
    return dict(zip(losses, (first / first.sum(axis=0)).mean(axis=1).tolist(), strict=True))
