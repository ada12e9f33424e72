"""Measuring: as few images as a metric says are enough, and what can't be computed is left out with a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch

from gansvc.catalog.extractors import Extractor
from gansvc.catalog.metrics import METRICS, Features, Metric, MetricColumn
from gansvc.errors import RunError
from gansvc.gan.data import Images
from gansvc.gan.sampling import chunks
from gansvc.gan.scoring.features import extract
from gansvc.gan.scoring.metrics import Measurement, measure

LITE = Extractor(name="efficientnet-lite0", size=32)
NO_NUMBERS = "features aren't finite numbers, as where the generator's images are none"


def drawn(count: int, seed: int = 0) -> Features:
    rows = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return Features(rows, rows)


def measured(fake: Features, real: Features, *names: str) -> Measurement:
    return measure(fake, real, [METRICS[name] for name in names or METRICS])


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_says_how_few_images_give_a_number(name: str) -> None:
    metric = METRICS[name]
    found = metric.compute(drawn(metric.generated), drawn(metric.real, 1))
    assert all(math.isfinite(float(found[key])) for key in metric.shown)
    fewer = [(metric.generated - 1, metric.real)] + [(metric.generated, metric.real - 1)] * (metric.real > 1)
    for generated, real in fewer:
        assert set(measured(drawn(generated), drawn(real, 1), name).skipped) == {*metric.shown}
        try:
            broken = metric.compute(drawn(generated), drawn(real, 1))
        except (RuntimeError, ArithmeticError):
            continue
        assert not all(math.isfinite(float(broken[key])) for key in metric.shown), (generated, real)


def test_what_so_few_images_do_not_give_is_left_out_with_the_reason() -> None:
    found = measured(drawn(9), drawn(3, 1), "is", "kid", "precision-recall")
    assert set(found.metrics) == {"kid", "kid_std"} and all(map(math.isfinite, found.metrics.values()))
    assert found.skipped == {
        "is": "9 images are too few for a mean over 10 splits, which takes 10",
        **dict.fromkeys(
            ("precision", "recall", "f_score"),
            "3 images are too few for the distance to the third neighbour, which takes 4",
        ),
    }
    alone = measured(drawn(1), drawn(20, 1), "kid")
    assert alone.metrics == {} and alone.skipped["kid"].startswith("1 image is too few")
    assert measured(drawn(10), drawn(4, 1), "is", "fid", "kid", "precision-recall").skipped == {}


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_features_that_are_no_numbers_give_no_number(number: float) -> None:
    # Precision and recall would be 0, and FID's eigenvalues fail.
    broken = drawn(20)
    broken.pool[7, 3] = number
    found = measured(broken, drawn(20, 1))
    assert found.metrics == {} and set(found.skipped) == {key for metric in METRICS.values() for key in metric.shown}
    assert set(found.skipped.values()) == {NO_NUMBERS}
    logits = Features(drawn(20, 2).pool, broken.logits)
    assert list(measured(logits, drawn(20, 1), "is", "kid").skipped) == ["is"]


def test_an_extractor_without_classes_has_no_metric_of_them() -> None:
    bare = Features(drawn(20).pool, torch.empty(20, 0))
    assert measured(bare, bare, "is", "kid").skipped == {"is": "the extractor gives no class logits"}


def test_images_that_are_all_alike_are_measured() -> None:
    alike = Features(torch.ones(12, 8), torch.ones(12, 8))
    found = measured(alike, alike, "is", "fid", "kid")
    assert found.skipped == {} and (found.metrics["is"], found.metrics["fid"], found.metrics["kid"]) == (1, 0, 0)
    assert all(map(math.isfinite, measured(drawn(12), alike).metrics.values()))


def test_a_validation_score_is_over_all_images_at_once() -> None:
    fake, real = drawn(30), drawn(20, 1)
    whole = METRICS["kid"].for_validation().compute(fake, real)
    assert whole["kid_std"] == 0 and set(METRICS["fid"].for_validation().compute(fake, real)) == {"fid"}


@pytest.mark.parametrize("found", [{}, {"mean": "why"}, {"mean": 1.0, "median": 2.0}, {"mean_std": 1.0}])
def test_a_metric_that_brings_other_columns_than_it_names_is_refused(found: dict[str, float | str]) -> None:
    class Wrong(Metric):
        name = "wrong"
        columns = (MetricColumn("mean", "mean", "lower"),)

        def compute(self, fake: Features, real: Features) -> Mapping[str, float | str]:
            return found

    with pytest.raises(RunError, match="the metric wrong"):
        measure(drawn(2), drawn(2), [Wrong()])


def test_precision_and_recall_are_not_swapped() -> None:
    torch.manual_seed(0)
    real = torch.randn(200, 8) * 3
    # All of the fakes lie in the middle of the real ones: each is believable, few real ones are covered.
    fake = torch.randn(200, 8) * 0.5
    found = METRICS["precision-recall"].compute(Features(fake, fake), Features(real, real))
    assert float(found["precision"]) > 0.9 and float(found["recall"]) < 0.2


def test_metrics_move_the_right_way(histology: Images) -> None:
    features = {
        name: extract(chunks(images), LITE)
        for name, images in {
            "real": histology.test,
            "near": histology.val,
            "noise": torch.randint(0, 256, (60, 3, 28, 28), dtype=torch.uint8),
        }.items()
    }
    near, noise = (measured(features[name], features["real"], "kid", "fid").metrics for name in ("near", "noise"))
    assert near["kid"] < noise["kid"] and near["fid"] < noise["fid"]
    # The KID between a set and itself, unbiased, is at most nought.
    assert measured(features["real"], features["real"], "kid").metrics["kid"] <= 0


def test_kid_against_the_formula() -> None:
    torch.manual_seed(1)
    x, y = torch.randn(6, 4).double(), torch.randn(6, 4).double() + 1

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.pow(a @ b.T / 4 + 1, 3)

    off = ~torch.eye(6, dtype=torch.bool)
    expected = (kernel(x, x)[off].sum() + kernel(y, y)[off].sum()) / 30 - 2 * kernel(x, y).mean()
    found = METRICS["kid"].for_validation().compute(Features(x, x), Features(y, y))["kid"]
    assert found == pytest.approx(float(expected), rel=1e-9)
