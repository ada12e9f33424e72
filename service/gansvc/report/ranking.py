"""Scores to leaderboard: means over seeds, the order, and the sentence that says who is best and how sure we are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from gansvc.errors import RunError
from gansvc.records import Contract, RunRecord, Score
from gansvc.report import numbers
from gansvc.report.model import Cell, Column, Report, Row
from gansvc.report.resampling import ENOUGH, best_shares, difference, interval

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
    return ordered([_row(label, [score for score in scores if score.label == label], shown) for label in labels], by)


def ordered(rows: Sequence[Row], by: Column) -> tuple[Row, ...]:
    """Return rows with their ranks, best first by the mean of one column, and how sure these are; others stand last."""
    sign = 1 if by.better == "lower" else -1
    ranked = sorted((row for row in rows if by.key in row.metrics), key=lambda row: sign * row.metrics[by.key].mean)
    unranked = [row for row in rows if by.key not in row.metrics]
    return (*_compared(ranked, by), *unranked)


def best_seed(row: Row, by: Column) -> int | None:
    """Return the seed of a loss that scored best by a column, or None where none has it."""
    values = row.metrics[by.key].values if by.key in row.metrics else {}
    return (min if by.better == "lower" else max)(values, key=values.__getitem__, default=None)


def best_run(report: Report) -> RunRecord | None:
    """Return the run of the first loss's best seed by the column that ranks; None where no loss has a score in it."""
    by = report.column(report.objective)
    if by is None or not report.leaderboard or (seed := best_seed(report.leaderboard[0], by)) is None:
        return None
    return next(run for run in report.runs if (run.label, run.seed) == (report.leaderboard[0].label, seed))


def _compared(ranked: Sequence[Row], by: Column) -> list[Row]:
    """Return the ranked rows with their ranks and how sure these are."""
    values = {row.label: row.metrics[by.key].values for row in ranked}
    # A loss with one seed takes no share from the others; where it comes first, nothing says how sure that is.
    drawn = {label: found for label, found in values.items() if len(found) > 1}
    shares = best_shares(drawn, by.better) if ranked and ranked[0].label in drawn else {}
    found = []
    for rank, row in enumerate(ranked, 1):
        to_winner = None if rank == 1 else difference(values[row.label], values[ranked[0].label], by.better)
        update = {"rank": rank, "difference": to_winner, "best_share": shares.get(row.label)}
        found.append(row.model_copy(update=update))
    return found


def _row(label: str, scores: Sequence[Score], shown: Sequence[Column]) -> Row:
    cells = {column.key: _scored(column.key, scores) for column in shown}
    return Row(
        rank=None,
        label=label,
        seeds=tuple(sorted(score.seed for score in scores)),
        metrics={key: cell for key, cell in cells.items() if cell is not None},
    )


def _scored(key: str, scores: Sequence[Score]) -> Cell | None:
    values = {score.seed: score.metrics[key] for score in scores if key in score.metrics}
    within = [score.metrics[f"{key}_std"] for score in scores if f"{key}_std" in score.metrics]
    return cell(values, fmean(within) if within else None) if values else None


def cell(values: Mapping[int, float], within: float | None) -> Cell:
    """Return the cell of a loss's values, seed to value, and of the mean deviation inside one score."""
    return Cell(
        mean=fmean(values.values()),
        std=stdev(values.values()) if len(values) > 1 else None,
        interval=interval(list(values.values())),
        within=within,
        values=dict(sorted(values.items())),
    )


def headline(rows: Sequence[Row], by: Column, dataset: str, floor: float | None) -> str:
    """Return the job's answer in one sentence: the best loss, its value, the noise floor, and how sure the order is."""
    ranked = [row for row in rows if row.rank is not None]
    if not ranked:
        return f"No loss was scored on {dataset}; the warnings say why."
    best = ranked[0].metrics[by.key]
    verb = "is best on" if len(ranked) > 1 else "on"
    value = f"{by.title} {numbers.metric(by, best.mean, best.std)} over {numbers.times(len(best.values), 'seed')}"
    return f"{ranked[0].label} {verb} {dataset}: {value}{_against(best.mean, by, floor)}{_support(ranked, by)}."


def _against(mean: float, by: Column, floor: float | None) -> str:
    if floor is None:
        return ""
    written = numbers.metric(by, floor)
    # KID's estimate can fall to 0 or below it, and a floor above the scores' direction has no ratio worth saying.
    if by.better == "higher" or round(floor, by.decimals) <= 0 or mean <= 0:
        return f"; the noise floor is {written}"
    return f", {mean / floor:.1f} times the noise floor ({written})"


def _support(ranked: Sequence[Row], by: Column) -> str:
    if len(ranked) < 2:
        return ""
    best, runner_up = ranked[:2]
    if all(len(row.metrics[by.key].values) == 1 for row in ranked):
        return "; a ranking over one seed is not supported"
    for row in (best, runner_up):
        if len(row.metrics[by.key].values) == 1:
            return f"; {row.label} has one scored seed, so its place is not supported"
    gap = runner_up.difference
    if gap is None:
        return f"; it shares too few seeds with {runner_up.label}, the next, for their order to be supported"
    ahead = f"; ahead of {runner_up.label} in {numbers.percent(gap.ahead)} of resamplings"
    if not gap.clear:
        return f"{ahead}, so the order of these two is not supported"
    seeds = len(gap.seeds)
    if seeds < ENOUGH:
        # Two equal losses differ in the same direction in all k seeds with probability 2^(1-k).
        return f"{ahead} (with {seeds} seeds chance alone does that at least 1 time in {2 ** (seeds - 1)})"
    return ahead
