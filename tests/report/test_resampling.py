"""Bootstrap over seeds: against all resamplings listed by hand, closed forms, and data whose answer is known."""

from __future__ import annotations

import itertools
import subprocess
import sys
from math import comb
from statistics import fmean

import numpy as np
import pytest

from gansvc.report import model, resampling
from gansvc.report.resampling import best_shares, difference, interval

THREE = {"a": {0: 1.0, 1: 5.0, 2: 3.0}, "b": {0: 2.0, 1: 2.0, 2: 4.0}, "c": {0: 3.0, 1: 9.0, 2: 2.5}}


def test_every_resampling_of_few_seeds_is_drawn_once() -> None:
    for count in (2, 3, 4, 5):
        listed = sorted(map(tuple, resampling.resample_indices(count).tolist()))
        assert listed == sorted(itertools.product(range(count), repeat=count))
    assert resampling.resample_indices(8).shape == (resampling.DRAWS, 8)


@pytest.mark.parametrize("count", [2, 3])
def test_an_interval_over_two_or_three_seeds_is_their_range(count: int) -> None:
    # Each end has probability 1/4 or 1/27, more than the 2.5 % that is cut off.
    assert interval([0.3, 0.1, 0.2][:count]) == pytest.approx((0.1, 0.3))


def test_an_interval_over_five_seeds_against_all_resamplings_listed() -> None:
    values = [0.31, 0.27, 0.35, 0.29, 0.50]
    means = sorted(fmean(drawn) for drawn in itertools.product(values, repeat=5))
    # The least mean that at least 2.5 % of the 3,125 lie at or below, and the same for 97.5 %.
    assert interval(values) == pytest.approx((means[79 - 1], means[3047 - 1]))


def test_an_interval_over_many_seeds_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(3).normal(1.0, 0.2, 100).tolist()
    low, high = interval(values) or (0, 0)
    error = float(np.std(values)) / 10
    assert (low, high) == pytest.approx((fmean(values) - 1.96 * error, fmean(values) + 1.96 * error), abs=0.1 * error)


def test_one_seed_gives_nothing() -> None:
    assert interval([0.3]) is None
    assert difference({0: 1.0, 1: 2.0}, {1: 1.0, 2: 2.0}, "lower") is None
    assert best_shares({"a": {0: 1.0}, "b": {0: 2.0}}, "lower") == {}
    assert best_shares({"a": {0: 1.0, 1: 1.0}}, "lower") == {}
    assert best_shares({}, "lower") == {}


def test_two_seeds_give_no_share_and_no_clear_difference() -> None:
    far = {"a": {0: 1.0, 1: 1.1}, "b": {0: 9.0, 1: 9.1, 2: 9.2}}
    assert best_shares(far, "lower") == {}
    gap = difference(far["b"], far["a"], "lower")
    assert gap is not None and gap.ahead is None and not gap.clear and gap.interval == pytest.approx((8.0, 8.0))


def test_shares_against_all_paired_resamplings_listed() -> None:
    wins = dict.fromkeys(THREE, 0.0)
    for drawn in itertools.product((0, 1, 2), repeat=3):
        means = {label: fmean(values[seed] for seed in drawn) for label, values in THREE.items()}
        best = [label for label, mean in means.items() if mean == pytest.approx(min(means.values()), abs=1e-12)]
        for label in best:
            wins[label] += 1 / 27 / len(best)
    assert best_shares(THREE, "lower") == pytest.approx(wins)
    assert 0.1 < wins["a"] < 0.9 and wins["b"] > 0.1


def test_higher_is_better_mirrors_lower_is_better() -> None:
    turned = {label: {seed: -value for seed, value in values.items()} for label, values in THREE.items()}
    assert best_shares(turned, "higher") == pytest.approx(best_shares(THREE, "lower"))
    assert best_shares(THREE, "higher") != pytest.approx(best_shares(THREE, "lower"))


def test_pairing_sees_what_unpaired_ranges_hide() -> None:
    # Seeds differ by far more than the losses do, but on every seed the one is better.
    better = {seed: 10.0 * seed for seed in range(6)}
    worse = {seed: value + 0.1 for seed, value in better.items()}
    assert best_shares({"better": better, "worse": worse}, "lower") == {"better": 1.0, "worse": 0.0}
    gap = difference(worse, better, "lower")
    assert gap is not None and gap.clear and gap.interval == pytest.approx((0.1, 0.1)) and gap.ahead == 1.0
    own, other = interval(list(better.values())), interval(list(worse.values()))
    assert own and other and own[1] > other[0], "the unpaired intervals overlap"


def test_equal_losses_share_every_draw() -> None:
    same = {0: 1.0, 1: 2.0, 2: 3.0}
    assert best_shares({"a": same, "b": dict(same)}, "lower") == {"a": 0.5, "b": 0.5}
    gap = difference(same, same, "lower")
    assert gap is not None and not gap.clear and (gap.mean, gap.ahead) == (0, 0.5)


def test_a_difference_takes_the_seeds_that_both_have() -> None:
    gap = difference({0: 3.0, 1: 5.0, 2: 6.5, 7: 99.0}, {1: 1.0, 0: 2.0, 2: 4.0, 8: -99.0}, "lower")
    assert gap is not None
    assert (gap.seeds, gap.mean, gap.interval, gap.ahead) == ((0, 1, 2), 2.5, (1.0, 4.0), 1.0)
    worse = difference({0: 3.0, 1: 5.0, 2: 6.5}, {1: 1.0, 0: 2.0, 2: 4.0}, "higher")
    assert worse is not None and (worse.mean, worse.ahead) == (2.5, 0.0)


def test_shares_use_the_seeds_that_all_losses_have() -> None:
    more = {label: values | {9: 0.0 if label == "c" else 50.0} for label, values in THREE.items()}
    del more["b"][9]
    assert best_shares(more, "lower") == best_shares(THREE, "lower")


@pytest.mark.parametrize(("count", "covered"), [(2, 0.5), (3, 0.75)])
def test_intervals_over_few_seeds_cover_as_seldom_as_the_module_says(count: int, covered: float) -> None:
    drawn = np.random.default_rng(0).normal(size=(1500, count))
    held = [low <= 0 <= high for low, high in (interval(row) or (1, 0) for row in drawn.tolist())]
    assert float(np.mean(held)) == pytest.approx(covered, abs=0.05)


def test_enough_is_the_first_number_whose_chance_is_under_five_percent() -> None:
    chances = {k: 2 * comb(k, k) / 2**k for k in range(2, 10)}
    assert min(k for k, chance in chances.items() if chance < 0.05) == model.SIGNIFICANT_SEEDS


def test_another_process_draws_the_same() -> None:
    code = "from gansvc.report.resampling import interval; print(interval([1.0, 2.5, 3.25, 7.5, 0.1, 4.0, 4.5]))"
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert said[0].stdout == said[1].stdout == f"{interval([1.0, 2.5, 3.25, 7.5, 0.1, 4.0, 4.5])}\n"
