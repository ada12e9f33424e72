"""FID at infinity: against torch-fidelity, against Gaussians whose distance is known, and where it isn't given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from gansvc.catalog import frechet
from gansvc.catalog.metrics import METRICS, Features
from gansvc.gan.data import Images
from gansvc.gan.scoring.score import make_score
from gansvc.spec.job import JobSpec
from gansvc.store.scores import Score

Make = Callable[..., JobSpec]


def draw(count: int, seed: int) -> torch.Tensor:
    """Return features (count, 16) of a Gaussian with unlike spreads and a mean off nought."""
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)) * torch.linspace(0.2, 3, 16) + 0.3


@pytest.mark.parametrize("reference", [10, 60], ids=["fewer than dimensions", "more than dimensions"])
def test_the_distance_at_one_size_is_torch_fidelitys(reference: int) -> None:
    fake, real = draw(120, 1), draw(reference, 2) * 1.2
    centre, factor = real.double().mean(dim=0), frechet._factor(real.double())
    assert factor.shape == (min(reference, 16), 16)
    expected = METRICS["fid"].compute(Features(fake, fake), Features(real, real))["fid"]
    assert frechet._distance(fake.double(), centre, factor) == pytest.approx(expected, rel=1e-5)


def test_it_comes_nearer_to_the_known_distance_than_fid_does() -> None:
    real = draw(300, 99) * 1.1
    covariance = np.cov(real.double().numpy(), rowvar=False)
    spread = np.diag(np.linspace(0.2, 3, 16) ** 2)
    roots = np.sqrt(np.linalg.eigvals(spread @ covariance).real.clip(0)).sum()
    apart = real.double().numpy().mean(axis=0) - 0.3
    # The distance of the Gaussian itself, which is that of infinitely many samples, to the real images.
    truth = float(apart @ apart + np.trace(spread) + np.trace(covariance) - 2 * roots)
    plain, extrapolated = [], []
    for seed in range(30):
        fake = draw(200, seed)
        plain.append(frechet.distance(fake, real) - truth)
        extrapolated.append(frechet.at_infinity(fake, real) - truth)
    error = float(np.std(extrapolated)) / 30**0.5
    assert abs(np.mean(extrapolated)) < 3 * error, "it has no bias that 30 draws would show"
    assert np.mean(plain) > 5 * abs(np.mean(extrapolated)) and np.mean(plain) > 10 * float(np.std(plain)) / 30**0.5


def test_the_intercept_of_points_on_a_line_is_the_lines() -> None:
    xs = [1 / 100, 1 / 50, 1 / 25]
    assert frechet._intercept(xs, [7 + 30 * x for x in xs]) == pytest.approx(7)


def test_the_order_of_sorted_images_does_not_matter() -> None:
    fake, real = draw(400, 5), draw(200, 6)
    in_order = fake[fake[:, 15].argsort()]
    found, spread = frechet.at_infinity(fake, real), frechet.at_infinity(draw(400, 7), real)
    assert frechet.at_infinity(fake, real) == found
    # Parts cut from sorted images would lie far apart from each other; shuffled, they differ as another draw does.
    assert abs(frechet.at_infinity(in_order, real) - found) < 3 * abs(spread - found) + 0.5


def test_too_few_samples_are_said_and_enough_are_scored(tiny: Make, histology: Images) -> None:
    assert frechet.too_few(1281, 1280) is None
    assert "1280 samples don't span 1280 feature dimensions" in (frechet.too_few(1280, 1280) or "")
    evaluation, real = tiny().evaluation, torch.randn(60, 1280, generator=torch.Generator().manual_seed(1))

    def scored(count: int) -> Score:
        fake = torch.randn(count, 1280, generator=torch.Generator().manual_seed(2))
        return make_score("a", 0, 1, Features(fake, fake), histology.test, Features(real, real), evaluation)

    few, many = scored(60), scored(1300)
    assert "fid_inf" not in few.metrics and list(few.skipped) == ["fid_inf"]
    assert not many.skipped and many.metrics["fid_inf"] < many.metrics["fid"]
    other = tiny(evaluation__metrics=["kid"]).evaluation
    fake = Features(real, real)
    assert make_score("a", 0, 1, fake, histology.test, fake, other).skipped == {}
