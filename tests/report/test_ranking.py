"""Who won: what the headline says of losses that learned nothing, of close ones, of few seeds, and of a clear order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from gansvc.report import ranking
from gansvc.report.model import Column, Row
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score

from ..builders.jobs import CONTRACT

LEARNED = (2.4, 0.5)
"""Validation scores at step 0 and at best."""


def column(key: str = "kid", better: Literal["lower", "higher"] = "lower") -> Column:
    return Column(key=key, title=key.upper(), better=better, decimals=4)


def run(label: str, seed: int, start: float | None, best: float | None) -> RunRecord:
    found: dict[str, Any] = {"initial_objective": start, "best_objective": best}
    return RunRecord(label=label, seed=seed, values={}, state="finished", **found)


def board(
    by: Column,
    scores: Mapping[str, list[float]],
    validation: Mapping[str, tuple[float | None, float | None]] | None = None,
) -> tuple[Row, ...]:
    """Return the leaderboard of losses with one value a seed; step 0's and the best validation score are per loss."""
    made = [
        Score(label=label, seed=seed, step=9, metrics={by.key: value}, contract=CONTRACT, seconds=1)
        for label, values in scores.items()
        for seed, value in enumerate(values)
    ]
    runs = [run(one.label, one.seed, *(validation or {}).get(one.label, LEARNED)) for one in made]
    return ranking.leaderboard(list(scores), made, [by], by, runs)


def headline(rows: tuple[Row, ...], by: Column) -> str:
    return ranking.headline(rows, by, "histology", "test", "")


def test_a_clear_order_over_three_seeds_has_a_winner() -> None:
    rows = board(column(), {"lsgan": [0.30, 0.34, 0.32], "wgan": [0.40, 0.42, 0.47]})
    assert ranking.winner(rows, column()) == "lsgan"
    assert headline(rows, column()) == (
        "lsgan is best on histology: KID 0.3200 ± 0.0200 on the test split over 3 seeds; ahead of wgan in 100 % of "
        "resamplings (with 3 seeds chance alone does that between two equal losses at least 1 time in 4)."
    )


def test_nothing_that_learned_nothing_wins_however_clear_the_order() -> None:
    kid = {"wgan-gp": [2.357, 2.351, 2.362], "lsgan": [2.369, 2.371, 2.366]}
    rows = board(column(), kid, dict.fromkeys(kid, (2.30, 2.31)))
    assert ranking.winner(rows, column()) is None
    assert headline(rows, column()) == (
        "lowest KID: wgan-gp, 2.3567 ± 0.0055 on the test split of histology over 3 seeds; no winner, because wgan-gp "
        "learned nothing: its mean validation score isn't better than its untrained generators'."
    )


def test_only_the_first_loss_has_to_have_learned() -> None:
    kid = {"wgan": [0.3, 0.31, 0.32], "lsgan": [2.3, 2.31, 2.32]}
    rows = board(column(), kid, {"lsgan": (2.3, 2.4)})
    assert [(row.label, row.learned) for row in rows] == [("wgan", True), ("lsgan", False)]
    assert ranking.winner(rows, column()) == "wgan"


def test_a_difference_that_may_be_nought_has_no_winner() -> None:
    rows = board(column(), {"lsgan": [0.30, 0.34, 0.32], "wgan": [0.31, 0.33, 0.35]})
    assert headline(rows, column()) == (
        "lowest KID: lsgan, 0.3200 ± 0.0200 on the test split of histology over 3 seeds; no winner, because the 95 % "
        "interval of its difference to wgan, -0.0100 to 0.0300, includes 0."
    )


def test_a_third_loss_that_varies_much_keeps_the_first_from_winning() -> None:
    kid = {"lsgan": [0.30, 0.31, 0.32], "wgan": [0.40, 0.41, 0.42], "hinge": [0.10, 0.90, 0.80]}
    rows = board(column(), kid)
    assert [row.label for row in rows] == ["lsgan", "wgan", "hinge"]
    assert ranking.winner(rows, column()) is None
    assert "no winner, because the 95 % interval of its difference to hinge, -0.2000 to 0.5900, includes 0" in (
        headline(rows, column())
    )
    both = board(column(), kid | {"wgan": [0.29, 0.41, 0.42]})
    assert "the 95 % intervals of its differences to wgan and hinge include 0" in headline(both, column())


@pytest.mark.parametrize(("seeds", "said"), [(1, "1 seed"), (2, "2 seeds")])
def test_fewer_than_three_seeds_support_no_order_and_give_no_share(seeds: int, said: str) -> None:
    rows = board(column(), {"lsgan": [0.30, 0.31][:seeds], "wgan": [0.90, 0.91][:seeds]})
    assert [row.best_share for row in rows] == [None, None]
    gap = rows[1].difference
    assert gap is None if seeds == 1 else (gap is not None and gap.ahead is None and not gap.clear)
    text = headline(rows, column())
    assert text.startswith("lowest KID: lsgan, 0.30") and f"over {said}; no winner" in text
    assert text.endswith(f"because a ranking over {said} is not supported.")
    assert not any(word in text for word in ("best", "ahead", "100 %"))


def test_both_failings_are_said() -> None:
    rows = board(column(), {"lsgan": [2.3], "wgan": [2.4]}, {"lsgan": (2.2, 2.3)})
    assert headline(rows, column()).endswith(
        "no winner, because lsgan learned nothing: its mean validation score isn't better than its untrained "
        "generators', and a ranking over 1 seed is not supported."
    )


def test_losses_with_few_seeds_in_common_are_named() -> None:
    rows = board(column(), {"lsgan": [0.30, 0.31, 0.32], "wgan": [0.40, 0.41], "hinge": [0.9, 0.8, 0.95]})
    assert "because lsgan has fewer than 3 scored seeds in common with wgan." in headline(rows, column())


def test_where_higher_is_better_the_highest_leads() -> None:
    by = column("is", "higher")
    close = board(by, {"lsgan": [3.0, 3.2, 3.1], "wgan": [3.1, 2.9, 3.0]})
    assert headline(close, by).startswith("highest IS: lsgan, 3.1000 ± 0.1000 on the test split of histology")
    assert ranking.winner(close, by) is None
    clear = board(by, {"lsgan": [3.0, 3.2, 3.1], "wgan": [2.1, 1.9, 2.0]})
    assert ranking.winner(clear, by) == "lsgan" and "lsgan is best on histology: IS 3.1000" in headline(clear, by)


def test_a_score_of_step_0_that_is_not_known_costs_no_place_and_is_said() -> None:
    kid = {"lsgan": [0.30, 0.34, 0.32], "wgan": [0.40, 0.42, 0.47]}
    rows = board(column(), kid, dict.fromkeys(kid, (None, 0.5)))
    assert ranking.winner(rows, column()) == "lsgan" and rows[0].learned is None
    assert "whether it learned isn't known" in headline(rows, column())
    assert "isn't known" not in headline(board(column(), kid), column())


def test_learning_is_judged_by_the_means_over_the_scored_seeds() -> None:
    up, down = run("a", 0, 1.0, 1.3), run("a", 1, 1.0, 0.6)
    assert ranking.has_learned([up, down]) is True and ranking.has_learned([up]) is False
    assert ranking.has_learned([run("a", 0, 1.0, 1.0)]) is False, "as good as step 0 is no better"
    assert ranking.has_learned([up, run("a", 1, None, 0.6)]) is None and ranking.has_learned([]) is None


def test_six_seeds_that_agree_need_no_reservation() -> None:
    rows = board(column(), {"lsgan": [0.3 + s / 100 for s in range(6)], "wgan": [0.5 + s / 100 for s in range(6)]})
    assert headline(rows, column()).endswith("; ahead of wgan in 100 % of resamplings.")


def test_one_loss_alone_is_called_neither_best_nor_lowest_and_says_where_it_learned_nothing() -> None:
    alone = board(column(), {"lsgan": [0.3, 0.4, 0.35]})
    assert headline(alone, column()) == "lsgan on histology: KID 0.3500 ± 0.0500 on the test split over 3 seeds."
    idle = board(column(), {"lsgan": [2.3]}, {"lsgan": (2.2, 2.3)})
    assert headline(idle, column()).endswith("over 1 seed; lsgan learned nothing: its mean validation score isn't "
                                             "better than its untrained generators'.")  # fmt: skip
    assert ranking.winner(alone, column()) is None


def test_a_loss_whose_rivals_have_no_score_has_not_won() -> None:
    rows = board(column(), {"lsgan": [0.3, 0.4, 0.35], "wgan": []})
    assert headline(rows, column()).endswith("over 3 seeds; no winner, because no other loss was scored.")
