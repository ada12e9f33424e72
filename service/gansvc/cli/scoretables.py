"""Rich tables of scores: a report's leaderboard, and a model scored again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich.table
from rich.markup import escape

from gansvc.report import leaderboard as board_tables
from gansvc.report.tables import Column, Row, Table, number_columns, plain

if TYPE_CHECKING:
    from gansvc.gan.scoring.rescoring import Rescored
    from gansvc.report.compare import Comparison
    from gansvc.report.model import Report
    from gansvc.store.scores import Score


def leaderboard(board: Report | Comparison) -> rich.table.Table:
    """Return the leaderboard of a report, or of several jobs."""
    shown = _for_terminal(board_tables.overview(board), board.headline)
    shown.caption, shown.caption_justify = escape(board_tables.caption(board)), "left"
    return shown


def rescored(found: Rescored) -> rich.table.Table:
    """Return the table of a model's score beside the one on its card."""
    card = f"on its card, {_split(found.card)}" if found.card else "on its card"
    columns = (Column("metric", is_text=True), *number_columns(f"now, {_split(found.score)}", card))
    old = found.card.metrics if found.card else {}
    texts = {key: f"{value:.5g}" for key, value in found.score.metrics.items()}
    texts |= {key: f"n/a: {why}" for key, why in found.score.skipped.items()}
    rows = [Row(plain(key, text, f"{old[key]:.5g}" if key in old else "-")) for key, text in texts.items()]
    return _for_terminal(Table(columns, tuple(rows)), f"{found.model} on {found.dataset}")


def _for_terminal(table: Table, title: str) -> rich.table.Table:
    shown = rich.table.Table(title=escape(title), title_justify="left")
    for column in table.columns:
        shown.add_column(escape(column.heading), justify="left" if column.is_text else "right")
    for row in table.rows:
        shown.add_row(*(escape(cell.text) for cell in row.cells))
    return shown


def _split(score: Score) -> str:
    """Return the split that a score is against."""
    return f"{score.contract.reference_split} split"
