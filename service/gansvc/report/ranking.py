"""Rank losses by their scores: means over seeds, the order, the winner if there is one, and the headline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev

from gansvc.errors import RunError
from gansvc.report import numbers
from gansvc.report.model import MIN_SEEDS, SIGNIFICANT_SEEDS, Cell, Column, Report, Row
from gansvc.report.resampling import best_shares, difference, interval
from gansvc.store.records import RunRecord
from gansvc.store.scores import Contract, Score

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
        _refuse(first, score, first.contract.unlike(score.contract))
    if floor is not None:
        _refuse(first, floor, first.contract.unlike(floor.contract, but=FLOOR_MAY_DIFFER))
    return first.contract


def _refuse(one: Score, other: Score, unlike: Sequence[str]) -> None:
    if unlike:
        raise RunError(
            f"the scores of {one.label}, seed {one.seed}, and {other.label}, seed {other.seed}, can't be compared: "
            f"they differ in {', '.join(unlike)}; delete evaluation/ and resume the job to score all of them alike"
        )


def leaderboard(
    labels: Sequence[str], scores: Sequence[Score], shown: Sequence[Column], by: Column, runs: Sequence[RunRecord] = ()
) -> tuple[Row, ...]:
    """Return one row per loss, best first by the mean of one column; losses without it stand last, unranked."""
    rows = []
    for label in labels:
        row = _row(label, [score for score in scores if score.label == label], shown)
        own = [run for run in runs if run.label == label and run.seed in row.seeds]
        rows.append(row.model_copy(update={"learned": has_learned(own) if len(own) == len(row.seeds) else None}))
    return rank_rows(rows, by)


def has_learned(runs: Iterable[RunRecord]) -> bool | None:
    """Return whether the mean of the runs' best validation scores is below that of their untrained generators.

    None without a run, and where a record doesn't hold both scores.
    """
    pairs = [(run.best_objective, run.initial_objective) for run in runs]
    known = [(best, start) for best, start in pairs if best is not None and start is not None]
    if not known or len(known) < len(pairs):
        return None
    return fmean(best for best, _ in known) < fmean(start for _, start in known)


def rank_rows(rows: Sequence[Row], by: Column) -> tuple[Row, ...]:
    """Return rows with their ranks, best first by the mean of one column, and how sure these are; others stand last."""
    sign = 1 if by.better == "lower" else -1
    ranked = sorted((row for row in rows if by.key in row.metrics), key=lambda row: sign * row.metrics[by.key].mean)
    unranked = [row for row in rows if by.key not in row.metrics]
    return (*_add_differences(ranked, by), *unranked)


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


def _add_differences(ranked: Sequence[Row], by: Column) -> list[Row]:
    """Return the ranked rows with their ranks and how sure these are."""
    values = {row.label: row.metrics[by.key].values for row in ranked}
    # A loss with few seeds takes no share from the others; where it comes first, nothing says how sure that is.
    drawn = {label: found for label, found in values.items() if len(found) >= MIN_SEEDS}
    shares = best_shares(drawn, by.better) if ranked and ranked[0].label in drawn else {}
    found = []
    for rank, row in enumerate(ranked, 1):
        to_first = None if rank == 1 else difference(values[row.label], values[ranked[0].label], by.better)
        update = {"rank": rank, "difference": to_first, "best_share": shares.get(row.label)}
        found.append(row.model_copy(update=update))
    return found


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


def winner(rows: Sequence[Row], by: Column) -> str | None:
    """Return the label of the first loss if it learned and is better than every other ranked loss beyond chance.

    Where it isn't known whether it learned, as in old records, that alone doesn't cost it the place.
    """
    ranked = [row for row in rows if row.rank is not None]
    return ranked[0].label if len(ranked) > 1 and not _missing_for_winner(ranked, by) else None


def headline(rows: Sequence[Row], by: Column, dataset: str, split: str, floor: str) -> str:
    """Return the job's answer in one sentence: a winner, or the first loss and why it is none.

    Args:
        rows: the leaderboard.
        by: the column that ranks.
        dataset: name of the data set.
        split: the split that the scores are against.
        floor: what is to be said of the noise floor, with its comma; see ``floor.headline_clause``.
    """
    ranked = [row for row in rows if row.rank is not None]
    if not ranked:
        return f"No loss was scored on {dataset}; the warnings say why."
    first, cell = ranked[0], ranked[0].metrics[by.key]
    value, seeds = numbers.format_metric(by, cell.mean, cell.std), numbers.pluralise(len(cell.values), "seed")
    won = winner(rows, by)
    if won is None and len(rows) > 1:
        extreme = "lowest" if by.better == "lower" else "highest"
        why = ", and ".join(_missing_for_winner(ranked, by)) or "no other loss was scored"
        said = f"{extreme} {by.title}: {first.label}, {value} on the {split} split of {dataset} over {seeds}{floor}"
        return f"{said}; no winner, because {why}."
    verb = "on" if won is None else "is best on"
    said = f"{first.label} {verb} {dataset}: {by.title} {value} on the {split} split over {seeds}{floor}"
    return f"{said}{_describe_confidence(ranked) if won else _learned_nothing(first, '; ')}."


def _missing_for_winner(ranked: Sequence[Row], by: Column) -> list[str]:
    """Return what the first of ranked losses lacks to be a winner, as clauses."""
    first, others = ranked[0], ranked[1:]
    found = [clause] if (clause := _learned_nothing(first)) else []
    seeds = {row.label: set(row.metrics[by.key].values) for row in ranked}
    few = [row.label for row in others if len(seeds[first.label] & seeds[row.label]) < MIN_SEEDS]
    if few and len({frozenset(own) for own in seeds.values()}) == 1:
        found.append(f"a ranking over {numbers.pluralise(len(seeds[first.label]), 'seed')} is not supported")
    elif few:
        found.append(f"{first.label} has fewer than {MIN_SEEDS} scored seeds in common with {numbers.join_words(few)}")
    close = [row for row in others if row.label not in few and row.difference and not row.difference.clear]
    if len(close) == 1 and (gap := close[0].difference):
        span = numbers.format_interval(by, gap.interval)
        found.append(f"the 95 % interval of its difference to {close[0].label}, {span}, includes 0")
    elif close:
        names = numbers.join_words([row.label for row in close])
        found.append(f"the 95 % intervals of its differences to {names} include 0")
    return found


def _learned_nothing(row: Row, before: str = "") -> str:
    """Return that a loss learned nothing, as a clause, or nothing where it did or that isn't known."""
    said = f"{before}{row.label} learned nothing: its mean validation score isn't better than its untrained generators'"
    return said if row.learned is False else ""


def _describe_confidence(ranked: Sequence[Row]) -> str:
    """Return how sure a winner is, with its semicolon."""
    gaps = [row.difference for row in ranked[1:] if row.difference]
    ahead, seeds = min(gap.ahead or 0.0 for gap in gaps), min(len(gap.seeds) for gap in gaps)
    names = ranked[1].label if len(gaps) == 1 else "every other loss"
    said = f"; ahead of {names} in {numbers.format_percent(ahead)} of resamplings"
    if seeds < SIGNIFICANT_SEEDS:
        # Two equal losses differ in the same direction in all k seeds with probability 2^(1-k).
        chance = f"at least 1 time in {2 ** (seeds - 1)}"
        said += f" (with {seeds} seeds chance alone does that between two equal losses {chance})"
    if ranked[0].learned is None:
        said += "; whether it learned isn't known, as the records don't hold its untrained generators' score"
    return said
