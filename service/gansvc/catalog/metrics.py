"""The metrics a job may ask for: how each is named, which way is better, and what torch-fidelity calls it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One family of numbers that torch-fidelity computes together."""

    name: str
    """Name in the spec."""
    columns: tuple[tuple[str, str], ...]
    """(our column, torch-fidelity's key), the first column being the one that ranks."""
    better: Literal["lower", "higher"]
    title: str
    generated: int
    """Images that it needs at least of those that are scored."""
    real: int
    """Images that it needs at least of those that it compares them with."""
    needs: str
    """What takes so many, as a part of a sentence."""
    own: tuple[str, ...] = ()
    """Columns that we compute beside torch-fidelity's, where there are samples enough for them."""

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns of a table: all but the deviations, which stand beside their values."""
        return tuple(column for column, _ in self.columns if not column.endswith("_std"))

    def too_few(self, generated: int, real: int) -> str | None:
        """Return why so many scored images and so many to compare them with don't do, as half a sentence; else None."""
        for count, least in ((generated, self.generated), (real, self.real)):
            if count < least:
                images = "1 image is" if count == 1 else f"{count} images are"
                return f"{images} too few for {self.needs}, which takes {least}"
        return None


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "is",
            (("is", "inception_score_mean"), ("is_std", "inception_score_std")),
            "higher",
            "Inception Score (Salimans et al. 2016)",
            generated=10,
            real=1,
            needs="a mean over 10 splits",
        ),
        Metric(
            "fid",
            (("fid", "frechet_inception_distance"),),
            "lower",
            "Frechet Inception Distance (Heusel et al. 2017); extrapolated as by Chong and Forsyth (2020)",
            generated=2,
            real=2,
            needs="a covariance",
            own=("fid_inf",),
        ),
        Metric(
            "kid",
            (("kid", "kernel_inception_distance_mean"), ("kid_std", "kernel_inception_distance_std")),
            "lower",
            "Kernel Inception Distance (Binkowski et al. 2018)",
            generated=2,
            real=2,
            needs="an estimate without bias",
        ),
        Metric(
            "precision-recall",
            (("precision", "precision"), ("recall", "recall"), ("f_score", "f_score")),
            "higher",
            "Improved precision and recall (Kynkaanniemi et al. 2019)",
            generated=4,
            real=4,
            needs="the distance to the third neighbour",
        ),
    )
}
