"""Scores to leaderboard: means over seeds, the order, and the sentence that says who is best and how sure we are."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from statistics import fmean, stdev

from gansvc.errors import RunError
from gansvc.records import Contract, Score
from gansvc.report import numbers
from gansvc.report.model import Cell, Column, Row

FLOOR_MAY_DIFFER = frozenset({"samples", "kid_subset_size"})
"""The real split has its own size, and the KID subset, min(1000, images), follows from it; KID's mean doesn't."""


def common_contract(scores: Sequence[Score], floor: Score | None) -> Contract | None:
    """Return the contract that all scores share, None without a score.

    Raises:
        RunError: two scores, or the noise floor and the scores, have unlike contracts; the message names the fields.
    """
    if not scores:
        return None
    first = scores[0]
    for score in scores[1:]:
        _refuse(first, score, first.contract.differences(score.contract))
    if floor is not None:
        unlike = first.contract.differences(floor.contract)
        _refuse(first, floor, [name for name in unlike if name not in FLOOR_MAY_DIFFER])
    return first.contract


def _refuse(one: Score, other: Score, names: Sequence[str]) -> None:
    if names:
        pairs = [f"{name} ({getattr(one.contract, name)} and {getattr(other.contract, name)})" for name in names]
        raise RunError(
            f"the scores of {one.label}, seed {one.seed}, and {other.label}, seed {other.seed}, can't be compared: "
            f"they differ in {', '.join(pairs)}; delete evaluation/ and resume the job to score all of them alike"
        )


def leaderboard(labels: Sequence[str], scores: Sequence[Score], shown: Sequence[Column], by: Column) -> tuple[Row, ...]:
    """Return one row per loss, best first by the mean of one column; losses without it stand last, unranked."""
    rows = [_row(label, [score for score in scores if score.label == label], shown) for label in labels]
    sign = 1 if by.better == "lower" else -1
    ranked = sorted((row for row in rows if by.key in row.metrics), key=lambda row: sign * row.metrics[by.key].mean)
    unranked = [row for row in rows if by.key not in row.metrics]
    return tuple(row.model_copy(update={"rank": rank}) for rank, row in enumerate(ranked, 1)) + tuple(unranked)


def _row(label: str, scores: Sequence[Score], shown: Sequence[Column]) -> Row:
    cells = {column.key: _cell(column.key, scores) for column in shown}
    return Row(
        rank=None,
        label=label,
        seeds=tuple(sorted(score.seed for score in scores)),
        metrics={key: cell for key, cell in cells.items() if cell is not None},
    )


def _cell(key: str, scores: Sequence[Score]) -> Cell | None:
    values = {score.seed: score.metrics[key] for score in scores if key in score.metrics}
    within = [score.metrics[f"{key}_std"] for score in scores if f"{key}_std" in score.metrics]
    if not values:
        return None
    return Cell(
        mean=fmean(values.values()),
        std=stdev(values.values()) if len(values) > 1 else None,
        within=fmean(within) if within else None,
        values=dict(sorted(values.items())),
    )


def headline(rows: Sequence[Row], by: Column, dataset: str, floor: float | None) -> str:
    """Return the job's answer in one sentence: the best loss, its value, the noise floor, and how sure the order is."""
    ranked = [(row.label, row.metrics[by.key]) for row in rows if row.rank is not None]
    if not ranked:
        return f"No loss was scored on {dataset}; the warnings say why."
    label, best = ranked[0]
    verb = "is best on" if len(ranked) > 1 else "on"
    value = f"{by.title} {numbers.metric(by, best.mean, best.std)} ({numbers.times(len(best.values), 'seed')})"
    return f"{label} {verb} {dataset}: {value}{_against(best.mean, by, floor)}{_support(ranked, by)}."


def _against(mean: float, by: Column, floor: float | None) -> str:
    if floor is None:
        return ""
    written = numbers.metric(by, floor)
    # KID's estimate can fall to 0 or below it, and a floor above the scores' direction has no ratio worth saying.
    if by.better == "higher" or round(floor, by.decimals) <= 0 or mean <= 0:
        return f"; the noise floor is {written}"
    return f", {mean / floor:.1f} times the noise floor ({written})"


def _support(ranked: Sequence[tuple[str, Cell]], by: Column) -> str:
    if len(ranked) < 2:
        return ""
    (label, best), (next_label, runner_up) = ranked[:2]
    if len(best.values) == len(runner_up.values) == 1:
        return "; a ranking over one seed is not supported"
    for name, cell in ((label, best), (next_label, runner_up)):
        if len(cell.values) == 1:
            return f"; {name} has one scored seed, so its place is not supported"
    if _overlap(best, runner_up, by):
        return f"; its seeds overlap with those of {next_label}, the next, so the order of these two is not supported"
    chance = comb(len(best.values) + len(runner_up.values), len(best.values)) / 2
    return (
        f"; every seed of it beats every seed of {next_label}, the next "
        f"(between two equally good losses chance does that 1 time in {chance:.0f})"
    )


def _overlap(best: Cell, other: Cell, by: Column) -> bool:
    """Return whether some seed of the other loss is as good as some seed of the best one."""
    if by.better == "lower":
        return max(best.values.values()) >= min(other.values.values())
    return min(best.values.values()) <= max(other.values.values())
