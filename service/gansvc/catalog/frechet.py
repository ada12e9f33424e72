"""The Frechet distance of features, by singular values, and extrapolated to infinitely many samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

RECIPE = "1"
"""Part of every score's contract: change it with the numbers that this module gives."""
LEVELS = 3
"""The samples are cut into 1, 2 and 3 equal parts: 6 distances, at 3 sizes."""


def distance(fake: torch.Tensor, real: torch.Tensor) -> float:
    """Return the Frechet distance of two sets of features, (N, D) and (M, D), N and M at least 2 (arXiv 1706.08500).

    The same number as torch-fidelity's, which takes the eigenvalues of a (D, D) product; these matrices have only as
    many rows as the smaller set. For N and M above D the two cost the same.
    """
    real = real.double()
    return _distance(fake.double(), real.mean(dim=0), _factor(real))


def too_few(samples: int, dimensions: int) -> str | None:
    """Return why FID can't be extrapolated from so many samples, as half a sentence, or None where it can."""
    if samples > dimensions:
        return None
    return (
        f"{samples} samples don't span {dimensions} feature dimensions, so every FID that it would be drawn from is "
        f"rank-deficient; it wants more than {dimensions}"
    )


def at_infinity(fake: torch.Tensor, real: torch.Tensor) -> float:
    """Return the FID that infinitely many samples would have against the same real images.

    FID's bias falls as 1/N to first order, so a straight line through FID over 1/N is followed to 0 (Chong and Forsyth
    2020, arXiv 1911.07023). At size N/m the mean over all m parts is taken, not one random subset, so that no
    sample is left out and the smaller sizes vary less. The bias that the real images' number brings stays.

    Args:
        fake: features (N, D) of the samples, N at least 6; shuffled by a fixed draw, as they may be sorted.
        real: features (M, D) of the real images.
    """
    import torch

    # The real covariance enters through its factor: eigenvalues of (min(M, D), min(M, D)) instead of (D, D).
    real = real.double()
    centre, factor = real.mean(dim=0), _factor(real)
    fake = fake[torch.randperm(len(fake), generator=torch.Generator().manual_seed(0))]
    sizes, distances = [], []
    for level in range(1, LEVELS + 1):
        parts = fake.double().tensor_split(level)
        sizes.append(len(fake) / level)
        distances.append(sum(_distance(part, centre, factor) for part in parts) / level)
    return _intercept([1 / size for size in sizes], distances)


def _factor(features: torch.Tensor) -> torch.Tensor:
    """Return F (r, D), r at most D, so that F'F is the covariance of features."""
    import torch

    scaled: torch.Tensor = (features - features.mean(dim=0)) / math.sqrt(len(features) - 1)
    if len(scaled) > scaled.shape[1]:
        scaled = torch.linalg.qr(scaled, mode="r").R
    return scaled


def _distance(part: torch.Tensor, centre: torch.Tensor, factor: torch.Tensor) -> float:
    """Return the Frechet distance of features to a mean and a covariance F'F.

    The trace of the root of the product of both covariances is the sum of the singular values of X F', for X'X the
    features' covariance.
    """
    import torch

    mean = part.mean(dim=0)
    scaled = (part - mean) / math.sqrt(len(part) - 1)
    cross = scaled @ factor.T
    roots = torch.linalg.eigvalsh(cross.T @ cross).clamp(min=0).sqrt()
    spreads = scaled.square().sum() + factor.square().sum()
    return float((mean - centre).square().sum() + spreads - 2 * roots.sum())


def _intercept(xs: list[float], ys: list[float]) -> float:
    """Return where the line of least squares meets x = 0."""
    import torch

    x, y = torch.tensor(xs, dtype=torch.float64), torch.tensor(ys, dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return float(y.mean() - slope * x.mean())
