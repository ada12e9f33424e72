"""The runs in a report: how each ended, and the values that its loss was trained with."""

from __future__ import annotations

from typing import Any

from gansvc.report import numbers
from gansvc.report.document import Bullets, Paragraph, Section, escape
from gansvc.report.model import Report
from gansvc.report.tables import Row, Table, floor_row, loss_cell, number_columns, plain, text_columns
from gansvc.store.records import RunRecord


def section(report: Report) -> Section | None:
    """Return the table of runs and each loss's values; None where nothing was trained."""
    if not report.runs:
        return None
    values = Paragraph("The values that each loss was trained with:")
    return Section("Runs", (table(report), values, Bullets(_values(report))))


def table(report: Report) -> Table:
    """Return how each run ended, with its validation scores and those of real images."""
    name = numbers.metric_title(report.validation_metric)
    titles = ("generator steps", "best step", f"val {name} untrained", f"val {name} best", "workers", "seconds")
    rows = [_row(report, run) for run in report.runs]
    rows += validation_floor(report, before=4, after=2)
    return Table((*text_columns("run", "state"), *number_columns(*titles)), tuple(rows))


def validation_floor(report: Report, before: int, after: int) -> list[Row]:
    """Return the row of the noise floor for a table of validation scores, with so many empty cells around it."""
    if report.validation_floor is None:
        return []
    value = numbers.format_validation(report.validation_metric, report.validation_floor)
    return [floor_row("noise floor: real train images against val", *[""] * before, value, *[""] * after)]


def _row(report: Report, run: RunRecord) -> Row:
    texts = (
        f"{run.state}: {run.reason}" if run.reason else run.state,
        numbers.format_count(run.step),
        numbers.format_count(run.best_step),
        numbers.format_validation(report.validation_metric, run.initial_objective),
        numbers.format_validation(report.validation_metric, run.best_objective),
        str(run.world_size),
        numbers.format_count(run.seconds),
    )
    return Row((loss_cell(run.label, run.seed), *plain(*texts)))


def _values(report: Report) -> tuple[str, ...]:
    """Return each loss's values in one line, as its first run trained with them."""
    found: dict[str, dict[str, Any]] = {}
    for run in report.runs:
        found.setdefault(
            run.label, {key: v for key, v in run.values.items() if key not in ("name", "label") and v != []}
        )
    return tuple(
        f"{escape(label)}: {escape(', '.join(f'{key} {numbers.format_setting(v)}' for key, v in values.items()))}"
        for label, values in found.items()
    )
