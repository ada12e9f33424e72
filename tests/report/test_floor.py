"""The noise floor in a report: where a loss scores better than real images, that is said with what the numbers tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gansvc.report import floor, numbers, ranking
from gansvc.report.build import build
from gansvc.report.markdown import render
from gansvc.store.folder import Folder
from gansvc.store.scores import Contract, Score

from ..builders.jobs import CONTRACT, make_job, make_score, make_spec

COLUMNS = numbers.metric_columns(("kid", "is", "fid", "precision-recall"))
REAL = {"kid": 0.005, "kid_std": 0.002, "is": 3.4, "is_std": 0.1, "fid": 20.0, "precision": 0.9, "recall": 0.8}
SMALL = CONTRACT.model_copy(update={"samples": 500, "reference_images": 156})
LARGE = CONTRACT.model_copy(update={"samples": 2000, "reference_images": 4000})


def doubts(
    real: Mapping[str, float], contract: Contract = SMALL, images: int = 351, **metrics: float
) -> dict[str, str]:
    """Return the doubts where one loss scored as given and another one far worse."""
    worse = {column.key: 1e3 if column.better == "lower" else 0.0 for column in COLUMNS}
    scores = [
        Score(label=label, seed=0, step=1, metrics=found, contract=contract, seconds=1)
        for label, found in (("wgan", worse), ("lsgan", worse | metrics))
    ]
    rows = ranking.leaderboard(["wgan", "lsgan"], scores, COLUMNS, COLUMNS[0])
    return floor.doubts(real, images, COLUMNS, rows, contract)


def test_real_images_that_score_worse_than_a_loss_are_doubted_in_that_column_alone() -> None:
    found = doubts(REAL | {"precision": 0.092}, precision=0.184)
    assert list(found) == ["precision"]
    assert found["precision"] == (
        "real train images 0.092, lsgan 0.184: few images (351 of train against 156 of test), "
        "precision favours typical images over varied ones"
    )


@pytest.mark.parametrize(("key", "value"), [("kid", 0.004), ("fid", 19.0), ("is", 3.9), ("recall", 0.81)])
def test_better_is_lower_for_distances_and_higher_for_the_others(key: str, value: float) -> None:
    def surpassing(mean: float) -> list[str]:
        return list(doubts(REAL, SMALL, 351, **{key: mean}))

    assert surpassing(value) == [key]
    assert surpassing(REAL[key]) == [], "as good as real images is no better"
    assert surpassing(2 * REAL[key] - value) == []


def test_the_reasons_are_those_that_the_numbers_tell() -> None:
    assert "few images" not in doubts(REAL, LARGE, images=3000, fid=10.0)["fid"]
    assert "fewer images than the losses' 2000" in doubts(REAL, LARGE, images=1500, fid=10.0)["fid"]
    assert "fewer images" not in doubts(REAL, LARGE, images=1500, kid=0.001)["kid"], "KID has no bias"
    assert "fewer images" not in doubts(REAL, LARGE, images=3000, fid=10.0)["fid"]
    far = REAL | {"kid": 0.0719}
    told = "unlike splits (KID between train and test is 0.0719, of like ones about 0)"
    assert told in doubts(far, fid=10.0)["fid"] and "unlike" not in doubts(REAL, fid=10.0)["fid"]
    assert "within the floor's own deviation (0.002)" in doubts(REAL, kid=0.0035)["kid"]
    assert "deviation" not in doubts(REAL, kid=0.0025)["kid"]
    train = SMALL.model_copy(update={"reference_split": "train"})
    told = "real test images 20.00, lsgan 10.00: few images (351 of test against 156 of train)"
    on_train = doubts(REAL, train, fid=10.0)["fid"]
    assert on_train.startswith(told) and "trained on the reference, the real test images aren't in it" in on_train
    assert "trained on" not in doubts(REAL, fid=10.0)["fid"]
    assert doubts(REAL, LARGE, images=3000, fid=10.0) == {"fid": "real train images 20.00, lsgan 10.00"}


def test_without_a_floor_or_scores_there_is_nothing_to_doubt() -> None:
    assert floor.doubts(None, None, COLUMNS, (), None) == {}
    assert floor.doubts(REAL, 9, COLUMNS, (), SMALL) == {}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A job in which wgan-gp's KID, and every loss's precision, are better than the noise floor's."""
    made = make_job(tmp_path)
    real = make_score("real", 0, CONTRACT.model_copy(update={"samples": 1080}), kid=0.04, inception_score=3.4)
    made.write_record("evaluation/real.json", real.model_copy(update={"metrics": real.metrics | {"precision": 0.092}}))
    return made


def test_a_doubted_floor_is_no_goal_in_headline_table_and_text(folder: Folder) -> None:
    report = build(folder, make_spec())
    assert list(report.floor_doubts) == ["kid", "precision"]
    assert ", where the noise floor (0.0400) can't be trusted; no winner" in report.headline
    assert "times the noise floor" not in report.headline
    told = [warning for warning in report.warnings if warning.startswith("the noise floor can't be trusted for ")]
    assert [warning.split(": ")[0].split()[-1] for warning in told] == ["KID", "precision"]
    assert "real train images 0.0400, wgan-gp 0.0310: few images (1080 of train against 400 of test)" in told[0]
    text = render(report)
    (row,) = [line for line in text.splitlines() if line.startswith("|  | *noise floor: real images* |  |")]
    assert "0.0400 ‡" in row and "0.092 ‡" in row and row.count("‡") == 2
    assert "what a perfect generator could hope for in IS, FID, recall and F-score. ‡ It can't be trusted" in text
    assert "‡ It can't be trusted for precision (real train images 0.092, wgan-gp 0.610" in text


def test_a_floor_that_holds_everywhere_is_a_goal_without_a_mark(tmp_path: Path) -> None:
    text = render(build(make_job(tmp_path), make_spec()))
    assert "in place of generated ones: what a perfect generator could hope for." in text and "‡" not in text


def test_a_floor_that_no_column_can_trust_is_no_goal_at_all(folder: Folder) -> None:
    bad = {"kid": 9.0, "kid_std": 0.1, "is": 1.0, "is_std": 0.1, "fid": 900.0}
    bad |= {"precision": 0.0, "recall": 0.0, "f_score": 0.0}
    real = make_score("real", 0, CONTRACT.model_copy(update={"samples": 1080}))
    folder.write_record("evaluation/real.json", real.model_copy(update={"metrics": bad}))
    report = build(folder, make_spec())
    assert len(report.floor_doubts) == len(report.columns) == 6
    assert "could hope for" not in render(report)
