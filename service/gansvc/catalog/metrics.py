"""The metrics a job may ask for: one class each, with the columns that it brings and what it needs.

A metric computes on an extractor's features. torch and torch-fidelity are imported where it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from gansvc.catalog import frechet
from gansvc.errors import RunError

if TYPE_CHECKING:
    import torch

FIDELITY_KEYS = {
    "is": "inception_score_mean",
    "is_std": "inception_score_std",
    "fid": "frechet_inception_distance",
    "kid": "kernel_inception_distance_mean",
    "kid_std": "kernel_inception_distance_std",
    "precision": "precision",
    "recall": "recall",
    "f_score": "f_score",
}
"""torch-fidelity's name of what it computes as well."""


@dataclass(frozen=True)
class Features:
    """What an extractor gives of N images, float32 on the CPU."""

    pool: torch.Tensor
    """Features (N, D)."""
    logits: torch.Tensor
    """Class logits (N, K); K is 0 where the extractor gives none."""

    def __len__(self) -> int:
        return len(self.pool)

    @property
    def probabilities(self) -> torch.Tensor:
        """Class probabilities (N, K)."""
        return self.logits.softmax(dim=1)


@dataclass(frozen=True)
class MetricColumn:
    """One number of a metric, and how tables and the terminal show it."""

    key: str
    """Name in scores and in report.json; ``KEY_std`` beside it is its deviation within a score."""
    title: str
    better: Literal["lower", "higher"]
    decimals: int = 4
    optional: bool = False
    """Whether the metric may give a reason in its place; it stands in a table only where some score has it."""
    follows: bool = False
    """Whether it follows from the metric's other columns, so that report.md does without it."""
    has_rank: bool = False
    """Whether it compares covariances, which have no full rank where images are fewer than dimensions."""
    improves_with_samples: bool = False
    """Whether it gets better as more images are scored."""
    note: str = ""
    """What a reader must know of it, as a sentence below the leaderboard."""
    floor_note: str = ""
    """Why generated images may surpass real ones in it, as half a sentence."""


@dataclass(frozen=True)
class Metric:
    """A family of numbers that are computed together; the fields of a subclass are its settings."""

    name: ClassVar[str]
    """Name in the spec."""
    source: ClassVar[str]
    """What it is called in full, and where it was published."""
    columns: ClassVar[tuple[MetricColumn, ...]]
    """What it brings, the column that ranks first."""
    generated: ClassVar[int] = 1
    """Images that it needs at least of those that are scored."""
    real: ClassVar[int] = 1
    """Images that it needs at least of those that it compares them with."""
    needs: ClassVar[str] = ""
    """What takes so many, as a part of a sentence."""
    unbiased: ClassVar[bool] = False
    """Whether its mean is the same at any number of images, so that it comes first in a small data set."""

    def compute(self, fake: Features, real: Features) -> Mapping[str, float | str]:
        """Return the value of each column, and of deviations; of an optional column the reason why it can't be had."""
        raise NotImplementedError

    def inputs(self, fake: Features, real: Features) -> tuple[torch.Tensor, ...]:
        """Return what it reads, (N, D) each: where this holds no columns or no finite numbers, it isn't computed."""
        return fake.pool, real.pool

    def for_validation(self) -> Self:
        """Return the metric with the settings of a validation score, of which only the first column is read."""
        return self

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns that every score has where the metric can be computed; their deviations stand beside them."""
        return tuple(column.key for column in self.columns if not column.optional)

    @property
    def may_rank(self) -> bool:
        """Whether trials and checkpoints may be ranked by it: the lower its first column, the better."""
        return self.columns[0].better == "lower"

    @property
    def settings(self) -> str:
        """Its settings as text, for the contract of a score."""
        return ", ".join(f"{field.name} {getattr(self, field.name)}" for field in fields(self))

    def too_few(self, generated: int, real: int) -> str | None:
        """Return why so many scored images and so many to compare them with don't do, as half a sentence; else None."""
        for count, least in ((generated, self.generated), (real, self.real)):
            if count < least:
                images = "1 image is" if count == 1 else f"{count} images are"
                return f"{images} too few for {self.needs}, which takes {least}"
        return None


class InceptionScore(Metric):
    """IS: whether single images are told apart by their classes, and all of them together have many."""

    name = "is"
    source = "Inception Score (Salimans et al. 2016)"
    columns = (
        MetricColumn(
            "is",
            "IS",
            "higher",
            decimals=2,
            improves_with_samples=True,
            floor_note="IS looks at no real image, so that generated ones can surpass them",
        ),
    )
    generated, needs = 10, "a mean over 10 splits"

    def inputs(self, fake: Features, real: Features) -> tuple[torch.Tensor, ...]:
        """Return the logits of the scored images alone."""
        return (fake.logits,)

    def compute(self, fake: Features, real: Features) -> Mapping[str, float | str]:
        """Return the mean and the deviation over 10 splits."""
        from torch_fidelity.metric_isc import isc_features_to_metric

        return _renamed(isc_features_to_metric(fake.logits), "is", "is_std")


_FID_INF = (
    "FID∞ is FID extrapolated to infinitely many samples (Chong and Forsyth 2020); the reference images stay as many "
    "as they are."
)


@dataclass(frozen=True)
class FrechetDistance(Metric):
    """FID, and its extrapolation to infinitely many samples."""

    name = "fid"
    source = "Frechet Inception Distance (Heusel et al. 2017); extrapolated as by Chong and Forsyth (2020)"
    columns = (
        MetricColumn("fid", "FID", "lower", decimals=2, has_rank=True, improves_with_samples=True),
        MetricColumn("fid_inf", "FID∞", "lower", decimals=2, has_rank=True, optional=True, note=_FID_INF),
    )
    generated, real, needs = 2, 2, "a covariance"

    extrapolate: bool = True

    def compute(self, fake: Features, real: Features) -> Mapping[str, float | str]:
        """Return FID and, from more samples than dimensions, its extrapolation."""
        found: dict[str, float | str] = {"fid": frechet.distance(fake.pool, real.pool)}
        if self.extrapolate:
            lacking = frechet.too_few(len(fake), fake.pool.shape[1])
            found["fid_inf"] = lacking or frechet.at_infinity(fake.pool, real.pool)
        return found

    def for_validation(self) -> Self:
        """Return it without the extrapolation."""
        return replace(self, extrapolate=False)


@dataclass(frozen=True)
class KernelDistance(Metric):
    """KID: the squared distance of the features' means under a cubic kernel, unbiased."""

    name = "kid"
    source = "Kernel Inception Distance (Binkowski et al. 2018)"
    columns = (MetricColumn("kid", "KID", "lower"),)
    generated, real, needs = 2, 2, "an estimate without bias"
    unbiased = True

    subsets: int = 100
    subset_size: int | None = 1000
    """Images of a subset; all, if None or where there are fewer. Both are torch-fidelity's defaults."""

    def compute(self, fake: Features, real: Features) -> Mapping[str, float | str]:
        """Return the mean and the deviation over the subsets."""
        from torch_fidelity.metric_kid import kid_features_to_metric

        size = self.size(len(fake), len(real))
        settings = {"kid_subsets": self.subsets, "kid_subset_size": size}
        found = kid_features_to_metric(fake.pool, real.pool, verbose=False, **settings)
        return _renamed(found, "kid", "kid_std")

    def size(self, generated: int, real: int) -> int:
        """Return the images of a subset where there are so many of both kinds."""
        return min(generated, real, self.subset_size or generated)

    def for_validation(self) -> Self:
        """Return it over all images at once."""
        return replace(self, subsets=1, subset_size=None)


class PrecisionRecall(Metric):
    """Precision: the share of generated images among the real ones. Recall: the share of real ones among these."""

    name = "precision-recall"
    source = "Improved precision and recall (Kynkaanniemi et al. 2019)"
    columns = (
        MetricColumn(
            "precision",
            "precision",
            "higher",
            decimals=3,
            floor_note="precision favours typical images over varied ones",
        ),
        MetricColumn("recall", "recall", "higher", decimals=3, improves_with_samples=True),
        # The harmonic mean of both.
        MetricColumn("f_score", "F-score", "higher", decimals=3, improves_with_samples=True, follows=True),
    )
    generated, real, needs = 4, 4, "the distance to the third neighbour"

    def compute(self, fake: Features, real: Features) -> Mapping[str, float | str]:
        """Return both, and their harmonic mean."""
        from torch_fidelity.metric_prc import prc_features_to_metric

        # torch-fidelity takes the generated features first; swapped, precision would be recall.
        found = prc_features_to_metric(fake.pool, real.pool, verbose=False)
        return _renamed(found, *self.shown)


KID = KernelDistance()
METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (InceptionScore(), FrechetDistance(), KID, PrecisionRecall())
}


def column(key: str) -> MetricColumn | None:
    """Return a column of the table by its key, None where no metric brings it."""
    return next((one for metric in METRICS.values() for one in metric.columns if one.key == key), None)


def _renamed(found: Mapping[str, float], *columns: str) -> dict[str, float | str]:
    """Return torch-fidelity's numbers by our columns.

    Raises:
        RunError: one of them isn't there.
    """
    if absent := [FIDELITY_KEYS[ours] for ours in columns if FIDELITY_KEYS[ours] not in found]:
        raise RunError(f"torch-fidelity gave no {', '.join(absent)}; its version may have renamed them")
    return {ours: float(found[FIDELITY_KEYS[ours]]) for ours in columns}
