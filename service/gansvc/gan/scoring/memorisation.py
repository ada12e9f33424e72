"""Nearest-neighbour memorisation test, in an extractor's feature space, on tensors alone.

Distances are Euclidean, between rows of features (N, D). Three sets of real images serve as a yardstick: the train
split; held-out images (test); and fresh ones (val), which stand in for a generator that has copied nothing. They can
only where no image stands in two of the sets: `gan.scoring.audit` leaves out those that do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from gansvc.gan.streams import Stream, generator
from gansvc.store.audits import CLOSER_LIMIT, QUANTILE, TENDENCY_LIMIT, Estimate, Memorisation, Pair

FEWEST = 20
"""Fresh and held-out images below which there is no such quantile, and so no verdict."""
PAIRS = 8
_DRAWS = 1000
_ROWS = 512


class LeftOut(NamedTuple):
    """How many images of the whole splits are no held-out or fresh ones, because they stand elsewhere as well."""

    heldout_in_train: int = 0
    fresh_in_train: int = 0
    fresh_in_heldout: int = 0
    """Those that stand in train, too, are not counted again."""


@dataclass(frozen=True)
class NeighbourStatistics:
    """Features of real images, (N, D) each, and how near they are to each other; the same for all generators."""

    train: torch.Tensor
    heldout: torch.Tensor
    fresh: torch.Tensor
    heldout_to_train: torch.Tensor
    """Distance of each held-out image to its nearest training image."""
    heldout_authentic: torch.Tensor
    """Whether each held-out image is authentic: see `authentic`."""
    fresh_ratio: torch.Tensor
    """Of each fresh image: the distance to its nearest training image over that to its nearest held-out one.

    Empty where there are no held-out images.
    """
    left_out: LeftOut


def neighbour_statistics(
    train: torch.Tensor, heldout: torch.Tensor, fresh: torch.Tensor, left_out: LeftOut | None = None
) -> NeighbourStatistics:
    """Return the yardstick of a data set from the features of train (at least 2), held-out and fresh images."""
    to_train, index = nearest(heldout, train)
    fresh_to_train, _ = nearest(fresh, train)
    ratio = _ratio(fresh_to_train, nearest(fresh, heldout)[0])
    held_authentic = are_authentic(to_train, index, train)
    return NeighbourStatistics(train, heldout, fresh, to_train, held_authentic, ratio, left_out or LeftOut())


def estimate(generated: torch.Tensor, real: NeighbourStatistics, seed: int) -> Memorisation:
    """Return how near generated images (N, D) come to the training images, against how near real ones do.

    A generator that draws only typical images is nearer to *every* real image than real ones are to each other, so
    the distance alone can't tell copying. What tells it is the ratio r of the distance to the nearest training image
    over that to the nearest held-out image (a three-sample comparison, as in Meehan et al. 2020, arXiv 2004.05675).

    The generator is flagged where significantly more than 10 % of its images have an r below the 5 % quantile of fresh
    real images' r, or where the chance that its r is below a fresh image's is significantly above 0.6. The first finds
    a few copies among many images. The second finds many distant ones, and copies in sets whose splits share
    near-duplicates, which make that quantile tiny. AuthPct (Alaa et al. 2022) flags typical images too, so it is
    reported and decides nothing. The 95 % intervals are percentiles of a bootstrap over generated and real images.

    What needs held-out or fresh images is None where there are none, and the verdict where there are fewer than 20.
    """
    to_train, train_index = nearest(generated, real.train)
    to_heldout, heldout_index = nearest(generated, real.heldout)
    ratio = _ratio(to_train, to_heldout)
    closer = _bootstrap(_share_below_quantile, ratio, real.fresh_ratio, seed)
    tendency = _bootstrap(_chance_below, ratio, real.fresh_ratio, seed)
    is_authentic = are_authentic(to_train, train_index, real.train)
    enough = min(len(real.fresh), len(real.heldout)) >= FEWEST
    copies = _surpasses(closer, CLOSER_LIMIT) or _surpasses(tendency, TENDENCY_LIMIT)
    return Memorisation(
        images=len(generated),
        train_images=len(real.train),
        heldout_images=len(real.heldout),
        fresh_images=len(real.fresh),
        **real.left_out._asdict(),
        to_train=to_train.median().item(),
        to_heldout=_median(to_heldout),
        heldout_to_train=_median(real.heldout_to_train),
        near=_bootstrap(_share_below_quantile, to_train, real.heldout_to_train, seed),
        closer=closer,
        tendency=tendency,
        authenticity=_interval(_percent, is_authentic, is_authentic, seed),
        heldout_authenticity=_bootstrap(_percent, real.heldout_authentic, real.heldout_authentic, seed),
        flagged=copies if enough else None,
        pairs=tuple(
            Pair(
                generated=i,
                train=int(train_index[i]),
                heldout=int(heldout_index[i]),
                to_train=to_train[i].item(),
                to_heldout=to_heldout[i].item(),
            )
            for i in ratio.argsort(stable=True)[:PAIRS].tolist()
        ),
    )


def nearest(
    points: torch.Tensor, among: torch.Tensor, leave_out: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each point's distance (N,) to its nearest row of another set, and that row's index (N,).

    Both are empty where the other set is.

    Args:
        points: features (N, D).
        among: features (M, D).
        leave_out: indices (N,) of a row that is no neighbour of the point: the point itself.
    """
    if not len(points) or not len(among):
        return points.new_empty(0), torch.empty(0, dtype=torch.long)
    found = []
    for first in range(0, len(points), _ROWS):
        distances = torch.cdist(points[first : first + _ROWS], among)
        if leave_out is not None:
            distances.scatter_(1, leave_out[first : first + _ROWS, None], torch.inf)
        found.append(distances.argmin(dim=1))
    index = torch.cat(found)
    # cdist takes a short cut that loses small distances to rounding: the one that counts is computed again.
    return (points - among[index]).norm(dim=1), index


def are_authentic(to_train: torch.Tensor, index: torch.Tensor, train: torch.Tensor) -> torch.Tensor:
    """Return which images are authentic: farther from the nearest training image than that is from its own nearest.

    Alaa et al. 2022, "How Faithful is your Synthetic Data?", arXiv 2102.08921; AuthPct is the percentage of them.

    Args:
        to_train: distance (N,) of each image to its nearest training image.
        index: that training image (N,).
        train: features of the training images (M, D), M at least 2.
    """
    used, position = index.unique(return_inverse=True)
    spacing, _ = nearest(train[used], train, leave_out=used)
    return to_train > spacing[position]


def _ratio(to_train: torch.Tensor, to_heldout: torch.Tensor) -> torch.Tensor:
    """Return a / b, with 1 where both are 0: an image that stands in both sets is a copy of neither.

    Empty where there are no held-out images.
    """
    if not len(to_heldout):
        return to_heldout
    return torch.where(to_train == to_heldout, torch.ones_like(to_train), to_train / to_heldout)


def _share_below_quantile(values: torch.Tensor, real: torch.Tensor) -> float:
    return (values < real.quantile(QUANTILE)).float().mean().item()


def _chance_below(values: torch.Tensor, real: torch.Tensor) -> float:
    """Return the chance that one of the values is below one of the real ones, ties counted half (Mann and Whitney)."""
    order = real.sort().values
    below = torch.searchsorted(order, values, right=False) + torch.searchsorted(order, values, right=True)
    return 1 - below.double().mean().item() / (2 * len(real))


def _percent(values: torch.Tensor, _: torch.Tensor) -> float:
    return 100 * values.float().mean().item()


def _median(values: torch.Tensor) -> float | None:
    return values.median().item() if len(values) else None


def _surpasses(estimate: Estimate | None, limit: float) -> bool:
    return estimate is not None and estimate.low > limit


def _bootstrap(
    statistic: Callable[[torch.Tensor, torch.Tensor], float], values: torch.Tensor, real: torch.Tensor, seed: int
) -> Estimate | None:
    return _interval(statistic, values, real, seed) if len(values) and len(real) else None


def _interval(
    statistic: Callable[[torch.Tensor, torch.Tensor], float], values: torch.Tensor, real: torch.Tensor, seed: int
) -> Estimate:
    rng = generator(seed, Stream.BOOTSTRAP)

    def again(drawn: torch.Tensor) -> torch.Tensor:
        return drawn[torch.randint(len(drawn), (len(drawn),), generator=rng)]

    draws = torch.tensor([statistic(again(values), again(real)) for _ in range(_DRAWS)], dtype=torch.float64)
    low, high = draws.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(value=statistic(values, real), low=low, high=high)
