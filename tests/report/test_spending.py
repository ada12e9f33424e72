"""Best score so far against cost: steps and means against values worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from gansvc.report import drawing, spending
from gansvc.report.dataset import DatasetFacts
from gansvc.report.model import Budget, Curve, CurvePoint, Report, Versions
from gansvc.store.records import RunRecord

POINTS: dict[int, list[float | None]] = {0: [0.8, 0.5, 0.6, 0.2], 1: [0.6, None, 0.4, 0.3]}


def report(**changes: Any) -> Report:
    curves = tuple(
        Curve(
            label="wgan",
            seed=seed,
            points=tuple(
                CurvePoint(step=k, critic_images=100 * k, objective=value, seconds=10.0 * k * (1 + seed))
                for k, value in enumerate(values)
            ),
        )
        for seed, values in POINTS.items()
    )
    budget = Budget(
        label="wgan",
        trials=2,
        search_critic_images=50,
        search_process_seconds=7.0,
        runs=2,
        training_critic_images=600,
        training_process_seconds=90.0,
    )
    facts = {"job": "j", "name": "n", "created": datetime.now(UTC), "versions": Versions(python="3"), "headline": "h"}
    facts |= {"objective": "kid", "columns": (), "leaderboard": (), "noise_floor": None, "noise_floor_images": None}
    facts |= {"contract": None, "published": (), "validation_metric": "kid", "trials": {}, "warnings": (), "spec": {}}
    facts["dataset"] = DatasetFacts(name="d", images={}, channels=3, size=28, licence="l", source="s")
    runs = tuple(RunRecord(label="wgan", seed=s, values={}, state="finished", world_size=2) for s in POINTS)
    return Report.model_validate(facts | {"curves": curves, "budgets": (budget,), "runs": runs} | changes)


def test_a_score_stays_until_a_better_one_and_begins_after_the_search() -> None:
    (xs, ys), (other_xs, other) = spending.best_so_far(report(), "wgan", "images")
    assert xs.tolist() == other_xs.tolist() == [50, 150, 250, 350]
    assert ys.tolist() == [0.8, 0.5, 0.5, 0.2]
    assert other.tolist() == [0.6, 0.6, 0.4, 0.3], "a score that isn't finite changes nothing"


def test_seconds_are_counted_in_processes() -> None:
    (xs, _), (slower, _) = spending.best_so_far(report(), "wgan", "seconds")
    assert xs.tolist() == [7, 27, 47, 67] and slower.tolist() == [7, 47, 87, 127]


def test_the_mean_takes_each_seeds_last_step_and_ends_where_the_first_seed_ends() -> None:
    xs, ys = spending.mean_steps(spending.best_so_far(report(), "wgan", "seconds"))
    assert xs.tolist() == [7, 27, 47, 67]
    assert ys.tolist() == pytest.approx([(0.8 + 0.6) / 2, (0.5 + 0.6) / 2, (0.5 + 0.6) / 2, (0.2 + 0.6) / 2])


def test_seeds_that_never_overlap_have_no_mean() -> None:
    early, late = (np.array([0.0, 1.0]), np.ones(2)), (np.array([2.0, 3.0]), np.ones(2))
    xs, ys = spending.mean_steps([early, late])
    assert len(xs) == len(ys) == 0


def test_old_reports_without_times_have_no_such_figure() -> None:
    data = report().model_dump()
    for curve in data["curves"]:
        for point in curve["points"]:
            del point["seconds"]
    old, colours = Report.model_validate(data), drawing.loss_styles(["wgan"])
    assert spending.draw(old, colours, "seconds") is None
    assert spending.draw(report(curves=()), colours, "images") is None
    picture = spending.draw(old, colours, "images")
    assert picture is not None and imread(BytesIO(picture), format="png").std() > 0.01


def test_the_search_and_the_noise_floor_are_drawn() -> None:
    colours = drawing.loss_styles(["wgan"])
    whole = spending.draw(report(), colours, "images")
    assert whole is not None and whole != spending.draw(report(budgets=()), colours, "images")
