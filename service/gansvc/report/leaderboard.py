"""The leaderboard as Markdown: one table of the scores, narrow enough for a page, and one of how sure the order is."""

from __future__ import annotations

from collections.abc import Mapping

from gansvc.catalog import metrics
from gansvc.report import numbers
from gansvc.report.model import FEWEST, Column, Report, Row
from gansvc.report.tables import escape, table

ARROWS = {"lower": "↓", "higher": "↑"}


def scores(report: Report) -> str:
    """Return the table of all losses' metrics.

    A column that no loss has is left out, and so is one that follows from others: report.json has it.
    """
    held = {key for row in report.leaderboard for key in row.metrics}
    shown = [c for c in report.columns if c.key in held and not _follows(c)] or report.columns
    best = {column.key: _best(report, column) for column in shown}
    rows = []
    for row in report.leaderboard:
        cells = []
        for column in shown:
            cell = row.metrics.get(column.key)
            text = numbers.cell(column, cell) + _mark(column, report.fid_rank_deficient and cell is not None)
            is_best = cell is not None and cell.mean == best[column.key]
            cells.append(f"**{text}**" if is_best else text)
        rows.append([str(row.rank) if row.rank else "-", escape(row.label), str(len(row.seeds)), *cells])
    if report.noise_floor is not None:
        rows.append(["", "*noise floor: real images*", "", *(_floor(report, report.noise_floor, c) for c in shown)])
    return table(["rank", "loss", "seeds", *(f"{c.title} {ARROWS[c.better]}" for c in shown)], rows, left=2)


def sureness(report: Report) -> str:
    """Return the table of how sure the ranking is; nothing where no loss has two seeds, and so no interval."""
    by = report.column(report.objective)
    ranked = [row for row in report.leaderboard if by is not None and by.key in row.metrics]
    if by is None or not any(len(row.metrics[by.key].values) > 1 for row in ranked):
        return ""
    head = [f"{by.title}: mean", "95 % interval", "difference to the first row", "first in"]
    head += ["deviation over subsets"] if any(row.metrics[by.key].within is not None for row in ranked) else []
    return table(["loss", "seeds", *head], [_sure(row, by)[: len(head) + 2] for row in ranked], left=2)


def few_seeds(report: Report) -> list[str]:
    """Return the labels of the losses with too few seeds for a share of the resamplings."""
    return [row.label for row in report.leaderboard if row.seeds and len(row.seeds) < FEWEST]


def _sure(row: Row, column: Column) -> list[str]:
    cell, gap = row.metrics[column.key], row.difference
    between = "" if gap is None else f"{numbers.metric(column, gap.mean)} ({numbers.span(column, gap.interval)})"
    return [
        escape(row.label),
        ", ".join(map(str, row.seeds)),
        numbers.metric(column, cell.mean),
        numbers.span(column, cell.interval),
        between or ("-" if row.rank == 1 else numbers.MISSING),
        numbers.percent(row.best_share),
        numbers.metric(column, cell.within),
    ]


def _floor(report: Report, real: Mapping[str, float], column: Column) -> str:
    value = real.get(column.key)
    text = numbers.metric(column, value, real.get("is_std") if column.key == "is" else None)
    text += _mark(column, report.noise_floor_rank_deficient and value is not None)
    return f"{text} ‡" if column.key in report.floor_doubts else text


def _mark(column: Column, rank_deficient: bool) -> str:
    known = metrics.column(column.key)
    return " †" if rank_deficient and known and known.has_rank else ""


def _follows(column: Column) -> bool:
    """Return whether a column is told by others, as the F-score is by precision and recall."""
    known = metrics.column(column.key)
    return known is not None and known.follows


def _best(report: Report, column: Column) -> float | None:
    """Return the best mean of a column, or None where no loss stands out."""
    means = {row.metrics[column.key].mean for row in report.leaderboard if column.key in row.metrics}
    if len(means) < 2:
        return None
    return min(means) if column.better == "lower" else max(means)
