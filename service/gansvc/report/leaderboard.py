"""The leaderboard: the scores, narrow enough for a page, how sure their order is, and what a terminal shows of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from gansvc.catalog import metrics
from gansvc.catalog.metrics import MetricColumn
from gansvc.report import floor, numbers
from gansvc.report.document import Notes, Paragraph, Section, escape
from gansvc.report.model import MIN_SEEDS, SIGNIFICANT_SEEDS, Column, Report, Row
from gansvc.report.tables import Cell, Table, loss_cell, number_columns, plain, text_columns
from gansvc.report.tables import Column as TableColumn
from gansvc.report.tables import Row as TableRow

if TYPE_CHECKING:
    from gansvc.report.compare import Comparison

_FLOOR = "noise floor: real images"


def section(report: Report) -> Section:
    """Return the leaderboard with what a reader must know to read it."""
    notes: list[Paragraph | Table] = [Paragraph("\n".join(_how_to_read(report)))]
    if (table := confidence(report)) is not None:
        notes += [Paragraph("How sure the order is:"), table, Paragraph("\n".join(_how_sure(report)))]
    folded = Notes("How to read this table, and how sure its order is", tuple(notes))
    return Section("Leaderboard", (scores(report), folded))


def scores(report: Report) -> Table:
    """Return the table of all losses' metrics.

    A column that no loss has is left out, and so is one that follows from others: report.json has it.
    """
    present = {key for row in report.leaderboard for key in row.metrics}
    shown = [c for c in report.columns if c.key in present and not _follows(c)] or report.columns
    best = {column.key: _best(report, column) for column in shown}
    rows = []
    for row in report.leaderboard:
        cells = []
        for column in shown:
            cell = row.metrics.get(column.key)
            text = numbers.format_cell(column, cell) + _mark(column, report.fid_rank_deficient and cell is not None)
            cells.append(Cell(text, "best" if cell is not None and cell.mean == best[column.key] else ""))
        names = (Cell(str(row.rank or "-")), loss_cell(row.label), Cell(str(len(row.seeds))))
        rows.append(TableRow((*names, *cells), _standing(row)))
    if report.noise_floor is not None:
        floors = plain(*(_floor(report, report.noise_floor, column) for column in shown))
        rows.append(TableRow((Cell(""), Cell(_FLOOR, "floor"), Cell(""), *floors), "floor"))
    return Table((*_RANKED, TableColumn("seeds"), *_metric_columns(shown)), tuple(rows))


def confidence(report: Report) -> Table | None:
    """Return the table of how sure the ranking is; None where no loss has two seeds, and so no interval."""
    by = report.column(report.objective)
    ranked = [row for row in report.leaderboard if by is not None and by.key in row.metrics]
    if by is None or not any(len(row.metrics[by.key].values) > 1 for row in ranked):
        return None
    titles = [f"{by.title}: mean", "95 % interval", "difference to the first row", "first in"]
    titles += ["deviation over subsets"] if any(row.metrics[by.key].within is not None for row in ranked) else []
    columns = (*text_columns("loss", "seeds"), *number_columns(*titles))
    return Table(columns, tuple(TableRow(_confidence(row, by)[: len(columns)]) for row in ranked))


def overview(board: Report | Comparison) -> Table:
    """Return the leaderboard for a terminal: every column, the seeds themselves, and how often each loss is first."""
    has_shares = any(row.best_share is not None for row in board.leaderboard)
    rows = []
    for row in board.leaderboard:
        found = [row.metrics.get(column.key) for column in board.columns]
        texts = [
            "-" if cell is None else numbers.format_metric(column, cell.mean, cell.std)
            for column, cell in zip(board.columns, found, strict=True)
        ]
        texts += ["-" if row.best_share is None else numbers.format_percent(row.best_share)] if has_shares else []
        rows.append(
            TableRow(
                (Cell(str(row.rank or "-")), loss_cell(row.label), Cell(_seeds(row)), *plain(*texts)), _standing(row)
            )
        )
    if board.noise_floor:
        texts = [
            "-" if column.key not in board.noise_floor else _overview_floor(board, column) for column in board.columns
        ]
        rest = [""] if has_shares else []
        rows.append(TableRow((Cell(""), Cell(_FLOOR, "floor"), Cell(""), *plain(*texts, *rest)), "floor"))
    shares = number_columns("first in") if has_shares else ()
    seeds = TableColumn("seeds", is_text=True)
    return Table((*_RANKED, seeds, *_metric_columns(board.columns), *shares), tuple(rows))


def caption(board: Report | Comparison) -> str:
    """Return what stands below the leaderboard in a terminal."""
    parts = [f"all scores against the {board.contract.reference_split} split"] if board.contract else []
    parts.append("↑ higher is better, ↓ lower is better")
    parts += ["‡ not to be trusted: a loss scores better than these real images"] if board.floor_doubts else []
    return "; ".join(parts)


_RANKED = (TableColumn("rank", is_text=True), TableColumn("loss", is_text=True, is_key=True))


def _metric_columns(shown: list[Column] | tuple[Column, ...]) -> tuple[TableColumn, ...]:
    return tuple(TableColumn(column.title, better=column.better) for column in shown)


def _standing(row: Row) -> Literal["", "first"]:
    return "first" if row.rank == 1 else ""


def _seeds(row: Row) -> str:
    return ", ".join(map(str, row.seeds))


def _confidence(row: Row, column: Column) -> tuple[Cell, ...]:
    cell, gap = row.metrics[column.key], row.difference
    between = ""
    if gap is not None:
        between = f"{numbers.format_metric(column, gap.mean)} ({numbers.format_interval(column, gap.interval)})"
    texts = (
        _seeds(row),
        numbers.format_metric(column, cell.mean),
        numbers.format_interval(column, cell.interval),
        between or ("-" if row.rank == 1 else numbers.MISSING),
        numbers.format_percent(row.best_share),
        numbers.format_metric(column, cell.within),
    )
    return (loss_cell(row.label), *plain(*texts))


def _floor(report: Report, real: Mapping[str, float], column: Column) -> str:
    value = real.get(column.key)
    # The deviation of KID is over subsets whose size follows the number of images, so it doesn't compare.
    deviation = None if column.key == "kid" else real.get(f"{column.key}_std")
    text = numbers.format_metric(column, value, deviation)
    text += _mark(column, report.noise_floor_rank_deficient and value is not None)
    return f"{text} ‡" if column.key in report.floor_doubts else text


def _overview_floor(board: Report | Comparison, column: Column) -> str:
    text = numbers.format_metric(column, (board.noise_floor or {}).get(column.key))
    return f"{text} ‡" if column.key in board.floor_doubts else text


def _mark(column: Column, rank_deficient: bool) -> str:
    known = metrics.column(column.key)
    return " †" if rank_deficient and known and known.has_rank else ""


def _follows(column: Column) -> bool:
    """Return whether a column follows from others, as the F-score is by precision and recall."""
    known = metrics.column(column.key)
    return known is not None and known.follows


def _best(report: Report, column: Column) -> float | None:
    """Return the best mean of a column, or None where no loss stands out."""
    means = {row.metrics[column.key].mean for row in report.leaderboard if column.key in row.metrics}
    if len(means) < 2:
        return None
    return min(means) if column.better == "lower" else max(means)


def _most_seeds(report: Report) -> int:
    return max((len(row.seeds) for row in report.leaderboard), default=0)


def _how_to_read(report: Report) -> list[str]:
    """Return what the columns, the ranks and the marks of the scores mean, a line each."""
    by, contract = report.column(report.objective), report.contract
    split = f" All scores of this table are against the {escape(contract.reference_split)} split." if contract else ""
    said = [
        f"Ranked by {escape(by.title if by else report.objective)}, {by.better if by else 'lower'} is better.{split} "
        "Values are means over so many seeds, ± the sample standard deviation over them; with one seed ± is the "
        "metric's own deviation, over the splits of IS and the subsets of KID."
    ]
    if _most_seeds(report) == 1:
        said.append(
            "One seed gives no interval, no difference and no order of the losses: the ranks only sort this table."
        )
    if report.fid_rank_deficient or report.noise_floor_rank_deficient:
        said.append(
            "† rank-deficient: fewer images than the features have dimensions, so FID depends on the number of images "
            "more than on what they show."
        )
    said += [known.note for known in _catalog_columns(report) if known.note]
    if report.noise_floor is not None:
        said.append(_floor_note(report))
    return said


def _floor_note(report: Report) -> str:
    """Return what the noise floor is, and where it is no goal."""
    images, contract = report.noise_floor_images, report.contract
    said = (
        f"The noise floor scores {numbers.format_count(images)} real {escape(report.floor_split)} images in place of "
        f"generated ones{escape(floor.meaning(report))}"
    )
    if contract and images != contract.samples:
        samples = numbers.format_count(contract.samples)
        falling = (one.title for one in _catalog_columns(report) if one.improves_with_samples and one.better == "lower")
        said += "".join(
            f" {title} falls as more images are scored, so its floor would be another at the losses' {samples} images."
            for title in falling
        )
    return said


def _catalog_columns(report: Report) -> list[MetricColumn]:
    """Return what the metrics' table says of a report's columns."""
    return [known for column in report.columns if (known := metrics.column(column.key)) is not None]


def _how_sure(report: Report) -> list[str]:
    """Return what the intervals and shares mean, and where they are too narrow, a line each."""
    few = [escape(row.label) for row in report.leaderboard if row.seeds and len(row.seeds) < MIN_SEEDS]
    unsupported = f", and is not supported for {', '.join(few)}" if few else ""
    said = [
        "The interval is the 95 % bootstrap interval of the mean over seeds; the difference to the first row is "
        'paired, seed by seed, with its interval; "first in" is the share of resamplings of the seeds, the same for '
        f"all losses, in which a loss comes first. It takes {MIN_SEEDS} seeds{unsupported}. A winner is named where "
        "the first loss learned, its mean validation score being below that of its untrained generators, and where "
        f"over {MIN_SEEDS} seeds or more the interval of its difference to every other loss leaves out 0."
    ]
    if (most := _most_seeds(report)) < SIGNIFICANT_SEEDS:
        range_only = ""
        if most < 4:
            chance = "1 time in 2" if most == 2 else "3 times in 4"
            range_only = f": they span the worst seed to the best, and hold the true mean about {chance}"
        said.append(
            f"With {most} seeds these intervals are too narrow{range_only}. Two equal losses differ in the same "
            f"direction in all {most} seeds 1 time in {2 ** (most - 1)}; under 5 % that falls with "
            f"{SIGNIFICANT_SEEDS} seeds."
        )
    return said
