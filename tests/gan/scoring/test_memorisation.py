"""The memorisation audit: its definitions against sums by hand, and controls on real pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gansvc.catalog.datasets import Dataset
from gansvc.catalog.extractors import Extractor
from gansvc.gan import data
from gansvc.gan.sampling import chunks
from gansvc.gan.scoring import memorisation
from gansvc.gan.scoring.features import extract
from gansvc.gan.scoring.memorisation import NeighbourStatistics, are_authentic, nearest, neighbour_statistics
from gansvc.store.audits import Estimate, Memorisation

OFFICIAL = Path(__file__).parents[4] / "shared" / "data" / "medmnist"
SIDE = 32
"""Side that pictures are resized to here: quicker than the usual 96 pixels."""
HELDOUT = torch.arange(351) // 9 % 2 == 0
"""Every second block of test's tiles: tiles of one block, nine of them, overlap."""


def points(seed: int, count: int, dimensions: int = 6) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, dimensions))).float()


def known(estimate: Estimate | None) -> Estimate:
    assert estimate is not None
    return estimate


# --- definitions ----------------------------------------------------------------------------------------------------


def test_nearest_is_the_least_of_all_distances() -> None:
    some, others = points(0, 600), points(1, 37)
    every = np.linalg.norm(some.numpy()[:, None] - others.numpy()[None], axis=2)
    distances, index = nearest(some, others)
    assert distances.numpy() == pytest.approx(every.min(axis=1), rel=1e-5)
    assert index.tolist() == every.argmin(axis=1).tolist()


def test_nearest_of_a_copy_is_at_distance_zero_even_far_from_the_origin() -> None:
    others = points(1, 50, 300) + 1000
    assert nearest(others[[7, 3]], others)[0].tolist() == [0, 0]


def test_nearest_leaves_the_point_itself_out() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    distances, index = nearest(line, line, leave_out=torch.arange(4))
    assert (distances.tolist(), index.tolist()) == ([1, 1, 2, 4], [1, 0, 1, 2])


def test_authentic_images_are_farther_from_their_neighbour_than_its_own_is() -> None:
    # The neighbours of 0 and of 10 are 1 and 4 away; an image as far as that is no more authentic than a copy.
    train = torch.tensor([[0.0], [1.0], [6.0], [10.0]])
    images = torch.tensor([[0.0], [-0.9], [-1.0], [-1.1], [13.9], [14.1]])
    distances, index = nearest(images, train)
    assert are_authentic(distances, index, train).tolist() == [False, False, False, True, False, True]


def test_an_image_of_both_sets_is_a_copy_of_neither() -> None:
    train, heldout = points(0, 30), points(1, 30)
    both = torch.zeros(1, 6)
    real = neighbour_statistics(torch.cat([train, both]), torch.cat([heldout, both]), both)
    assert real.fresh_ratio.tolist() == [1]


def test_numbers_are_those_of_the_definitions() -> None:
    train, heldout, fresh, generated = points(0, 90), points(1, 40), points(2, 30), points(3, 50)
    found = memorisation.estimate(generated, neighbour_statistics(train, heldout, fresh), seed=0)

    def least(a: torch.Tensor, b: torch.Tensor) -> Any:
        return np.linalg.norm(a.numpy()[:, None] - b.numpy()[None], axis=2).min(axis=1)

    to_train, to_heldout = least(generated, train), least(generated, heldout)
    ratio, fresh_ratio = to_train / to_heldout, least(fresh, train) / least(fresh, heldout)
    assert known(found.near).value == pytest.approx((to_train < np.quantile(least(heldout, train), 0.05)).mean())
    assert known(found.closer).value == pytest.approx((ratio < np.quantile(fresh_ratio, 0.05)).mean())
    assert known(found.tendency).value == pytest.approx((ratio[:, None] < fresh_ratio[None]).mean())
    assert found.to_train == pytest.approx(np.sort(to_train)[24], rel=1e-5)
    assert [pair.generated for pair in found.pairs] == ratio.argsort()[:8].tolist()
    first = found.pairs[0]
    assert (generated[first.generated] - train[first.train]).norm().item() == pytest.approx(first.to_train)
    assert (generated[first.generated] - heldout[first.heldout]).norm().item() == pytest.approx(first.to_heldout)
    assert (found.images, found.train_images, found.heldout_images, found.fresh_images) == (50, 90, 40, 30)


def test_interval_of_a_share_is_that_of_a_binomial() -> None:
    # AuthPct of 400 images of which a quarter are copies: 25 +- 1.96 * sqrt(0.25 * 0.75 / 400).
    train = torch.arange(0.0, 800, 2).reshape(-1, 1)
    generated = train + torch.where(torch.arange(400) % 4 == 0, 0.0, 1e6).reshape(-1, 1)
    found = memorisation.estimate(generated, neighbour_statistics(train, points(1, 30, 1), points(2, 30, 1)), seed=1)
    assert found.authenticity.value == pytest.approx(75)
    assert found.authenticity.low == pytest.approx(75 - 4.24, abs=0.6)
    assert found.authenticity.high == pytest.approx(75 + 4.24, abs=0.6)
    assert found.flagged


def test_same_seed_gives_the_same_interval() -> None:
    real, generated = neighbour_statistics(points(0, 90), points(1, 40), points(2, 30)), points(3, 50)
    assert memorisation.estimate(generated, real, 5) == memorisation.estimate(generated, real, 5)


def test_too_few_real_images_give_no_verdict() -> None:
    train = points(0, 60)
    for heldout, fresh in ((19, 40), (40, 19)):
        real = neighbour_statistics(train, points(1, heldout), points(2, fresh))
        assert memorisation.estimate(train, real, 0).flagged is None
    assert memorisation.estimate(train, neighbour_statistics(train, points(1, 20), points(2, 20)), 0).flagged is True


@pytest.mark.parametrize("seed", range(3))
def test_points_of_the_same_law_are_not_flagged_and_some_copies_are(seed: int) -> None:
    real = neighbour_statistics(points(seed, 500), points(seed + 100, 300), points(seed + 200, 300))
    honest = points(seed + 300, 400)
    assert memorisation.estimate(honest, real, 0).flagged is False
    copied = torch.cat([honest[:320], real.train[:80] + 0.01 * honest[320:]])
    assert memorisation.estimate(copied, real, 0).flagged is True


def test_a_generator_of_typical_points_is_near_to_all_and_flagged_for_none() -> None:
    real = neighbour_statistics(points(0, 500), points(1, 300), points(2, 300))
    found = memorisation.estimate(0.3 * points(3, 400), real, 0)
    assert known(found.near).low > 0.2, "the distance alone would call this copying"
    assert found.authenticity.high < known(found.heldout_authenticity).low, "and so would AuthPct"
    assert found.flagged is False


def test_copies_are_flagged_where_the_splits_share_images() -> None:
    # A tenth of the fresh and of the held-out images stand in train as well: no ratio can be below their quantile.
    train, heldout, fresh = points(0, 500), points(1, 300), points(2, 300)
    real = neighbour_statistics(train, torch.cat([heldout, train[:30]]), torch.cat([fresh, train[30:60]]))
    copied = train[100:400] + 0.2 * points(3, 300)
    found = memorisation.estimate(copied, real, 0)
    assert known(found.closer).high < 0.05
    assert found.flagged is True


# --- controls on real pictures --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures() -> data.Images:
    return data.load(Dataset(name="histology"))


def features(images: torch.Tensor) -> torch.Tensor:
    return extract(chunks(images), Extractor(name="efficientnet-lite0", size=SIDE)).pool


@pytest.fixture(scope="module")
def tissue(pictures: data.Images) -> NeighbourStatistics:
    """Features of colon tissue: every sixth training tile, half of test as held-out images, val as fresh ones."""
    return neighbour_statistics(features(pictures.train[::6]), features(pictures.test[HELDOUT]), features(pictures.val))


def audited(images: torch.Tensor, tissue: NeighbourStatistics) -> Memorisation:
    return memorisation.estimate(features(images), tissue, seed=0)


@pytest.mark.parametrize("noise", [0.0, 2.0, 4.0])
def test_noised_training_images_are_flagged(noise: float, pictures: data.Images, tissue: NeighbourStatistics) -> None:
    images = pictures.train[::6][::5].float()
    noised = images + noise * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    found = audited(noised.round().clamp(0, 255).to(torch.uint8), tissue)
    assert found.flagged is True
    assert known(found.closer).low > 0.1 and known(found.tendency).low > 0.6
    assert found.authenticity.high < known(found.heldout_authenticity).low
    # The nearest training image is the very one that the noise was laid over, or a neighbour that overlaps with it.
    assert sum(pair.train == 5 * pair.generated for pair in found.pairs) >= 6


def test_fresh_real_images_are_not_flagged(pictures: data.Images, tissue: NeighbourStatistics) -> None:
    found = audited(pictures.test[~HELDOUT], tissue)
    assert found.flagged is False
    assert known(found.closer).low <= 0.05 <= known(found.closer).high
    assert found.authenticity.high >= known(found.heldout_authenticity).low


def test_some_training_images_among_fresh_ones_are_flagged(pictures: data.Images, tissue: NeighbourStatistics) -> None:
    copies, honest = pictures.train[::6][::7], pictures.test[~HELDOUT]
    found = audited(torch.cat([honest, copies]), tissue)
    assert found.flagged is True
    assert known(found.closer).value == pytest.approx(len(copies) / (len(copies) + len(honest)), abs=0.06)


@pytest.mark.skipif(not (OFFICIAL / "breastmnist.npz").is_file(), reason=f"{OFFICIAL} doesn't hold breastmnist.npz")
def test_copies_are_flagged_in_a_set_whose_official_splits_share_near_duplicates() -> None:
    images, lite = data.load(Dataset(name="breastmnist", root=str(OFFICIAL))), Extractor(name="efficientnet-lite0")
    train, val, test = (extract(chunks(images.split(name)), lite).pool for name in ("train", "val", "test"))
    noise = 2 * torch.randn(200, *images.train.shape[1:], generator=torch.Generator().manual_seed(0))
    noised = extract(chunks((images.train[:200] + noise).round().clamp(0, 255).to(torch.uint8)), lite).pool
    found = memorisation.estimate(noised, neighbour_statistics(train, test, val), seed=0)
    assert found.flagged is True and known(found.closer).value < 0.05, (
        "the quantile of near-duplicates hides the copies"
    )
    fresh = memorisation.estimate(test[::2], neighbour_statistics(train, test[1::2], val), seed=0)
    assert fresh.flagged is False
