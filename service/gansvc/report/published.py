"""The published numbers in a report, beside ours."""

from __future__ import annotations

from collections.abc import Sequence

from gansvc.catalog.metrics import METRICS
from gansvc.report import numbers
from gansvc.report.document import Paragraph, Section
from gansvc.report.model import PublishedRow, Report, Row
from gansvc.report.tables import Cell, Table, loss_cell, number_columns, plain, text_columns
from gansvc.report.tables import Row as TableRow
from gansvc.spec.job import JobSpec

_CAUTION = (
    "Their contracts differ from ours (extractor, sample count, reference split, network, budget), so these numbers "
    "give an order of magnitude and no ranking."
)


def gather(spec: JobSpec, rows: Sequence[Row]) -> tuple[PublishedRow, ...]:
    """Return the numbers that a job's spec quotes, each with our mean over seeds."""
    ours = {row.label: {key: cell.mean for key, cell in row.metrics.items()} for row in rows}
    found = []
    for entry in spec.published:
        theirs = entry.model_dump(exclude_none=True, exclude={"loss", "source"})
        own = {key: value for key, value in ours.get(entry.loss, {}).items() if key in theirs}
        found.append(PublishedRow(label=entry.loss, published=theirs, ours=own, source=entry.source))
    return tuple(found)


def section(report: Report) -> Section | None:
    """Return the table with a word of caution; None where the spec quotes nothing."""
    rows = _rows(report)
    if not rows:
        return None
    split = f", on {report.contract.reference_split}" if report.contract else ""
    columns = (*text_columns("loss", "metric", "source"), *number_columns("published", f"ours{split}"))
    return Section("Published numbers beside ours", (Table(columns, tuple(rows)), Paragraph(_CAUTION)))


def _rows(report: Report) -> list[TableRow]:
    known = {column.key: column for column in (*numbers.metric_columns(METRICS), *report.columns)}
    rows, quoted = [], set()
    for row in report.published:
        for key in (key for key in row.published if key in known):
            theirs = numbers.format_metric(known[key], row.published[key], row.published.get(f"{key}_std"))
            ours = numbers.format_metric(known[key], row.ours.get(key))
            rows.append(TableRow((loss_cell(row.label), *plain(known[key].title, row.source, theirs, ours))))
            quoted.add(key)
    for column in report.columns:
        if report.noise_floor is not None and column.key in quoted:
            real = numbers.format_metric(column, report.noise_floor.get(column.key))
            rows.append(TableRow((Cell("noise floor: real images", "floor"), *plain(column.title, "", "", real))))
    return rows
