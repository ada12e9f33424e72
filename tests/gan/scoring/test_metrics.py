"""The metrics: as few images as the table says are enough, and what can't be made is left out with a reason."""

from __future__ import annotations

import math

import pytest
import torch

from gansvc.catalog.metrics import METRICS
from gansvc.gan.scoring.metrics import measure, measures
from gansvc.gan.scoring.score import Features


def drawn(count: int, seed: int = 0) -> Features:
    rows = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return Features(rows, rows)


@pytest.mark.parametrize("name", METRICS)
def test_the_table_holds_the_fewest_images_that_give_a_number(name: str) -> None:
    metric = METRICS[name]
    size = max(2, min(metric.generated, metric.real))
    found = measure(drawn(metric.generated), drawn(metric.real, 1), (name,), 3, size)
    assert all(map(math.isfinite, found.values())) and len(found) == len(metric.columns)
    fewer = [(metric.generated - 1, metric.real)] + [(metric.generated, metric.real - 1)] * (metric.real > 1)
    for generated, real in fewer:
        try:
            broken = measure(drawn(generated), drawn(real, 1), (name,), 3, min(generated, real))
        except RuntimeError:
            continue
        assert not all(map(math.isfinite, broken.values())), (generated, real)


def test_what_so_few_images_do_not_give_is_left_out_with_the_reason() -> None:
    found = measures(drawn(9), drawn(3, 1), tuple(METRICS), 3, 3)
    assert set(found.metrics) == {"fid", "kid", "kid_std"} and all(map(math.isfinite, found.metrics.values()))
    assert found.skipped == {
        "is": "9 images are too few for a mean over 10 splits, which takes 10",
        **dict.fromkeys(
            ("precision", "recall", "f_score"),
            "3 images are too few for the distance to the third neighbour, which takes 4",
        ),
    }
    alone = measures(drawn(1), drawn(20, 1), ("kid",), 3, 1)
    assert alone.metrics == {} and alone.skipped["kid"].startswith("1 image is too few")
    assert measures(drawn(10), drawn(4, 1), tuple(METRICS), 3, 4).skipped == {}


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_features_that_are_no_numbers_give_no_number(number: float) -> None:
    # Precision and recall would be 0, and FID's eigenvalues fail.
    broken = drawn(20)
    broken.pool[7, 3] = number
    found = measures(broken, drawn(20, 1), tuple(METRICS), 3, 20)
    assert found.metrics == {} and set(found.skipped) == {"is", "fid", "kid", "precision", "recall", "f_score"}
    assert set(found.skipped.values()) == {"features aren't finite numbers, as where the generator's images are none"}
    logits = Features(drawn(20, 2).pool, broken.logits)
    assert list(measures(logits, drawn(20, 1), ("is", "kid"), 3, 20).skipped) == ["is"]


def test_images_that_are_all_alike_are_measured() -> None:
    alike = Features(torch.ones(12, 8), torch.ones(12, 8))
    found = measures(alike, alike, tuple(METRICS), 3, 12)
    assert found.skipped == {} and (found.metrics["is"], found.metrics["fid"], found.metrics["kid"]) == (1, 0, 0)
    assert all(map(math.isfinite, measures(drawn(12), alike, tuple(METRICS), 3, 12).metrics.values()))
