"""The tables of scores that a terminal shows: a report's leaderboard, and a model scored again. It prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table


def leaderboard(report: Mapping[str, Any]) -> Table:
    """Return the leaderboard of a report's data; what a newer report calls otherwise is left out."""
    rows: list[Mapping[str, Any]] = list(report.get("leaderboard") or ())
    columns = [column for column in report.get("columns") or () if "key" in column]
    if not columns:
        columns = [{"key": key} for key in dict.fromkeys(key for row in rows for key in row.get("metrics") or {})]
    arrows = {"lower": " ↓", "higher": " ↑"}
    titles = [f"{column.get('title', column['key'])}{arrows.get(column.get('better', ''), '')}" for column in columns]
    table = Table("rank", "loss", "seeds", title=escape(str(report.get("headline", ""))), title_justify="left")
    doubts: Mapping[str, Any] = report.get("floor_doubts") or {}
    table.caption, table.caption_justify = _caption(report, doubts), "left"
    shares = any(row.get("best_share") is not None for row in rows)
    for title in (*titles, *(["first in"] if shares else [])):
        table.add_column(escape(title), justify="right")
    for row in rows:
        cells = [_cell((row.get("metrics") or {}).get(column["key"]), column) for column in columns]
        share, rank = row.get("best_share"), row.get("rank")
        cells += ["-" if share is None else f"{share:.0%}"] if shares else []
        table.add_row("-" if rank is None else str(rank), escape(str(row.get("label", ""))), _seeds(row), *cells)
    if floor := report.get("noise_floor"):
        cells = [_floor(floor, column, doubts) for column in columns]
        table.add_row("", "noise floor: real images", "", *cells)
    return table


def rescored(found: Mapping[str, Any]) -> Table:
    """Return the table of a model's score beside the one on its card."""
    now, card = found["score"], found.get("card") or {"metrics": {}}
    table = Table("metric", title=f"{escape(found['model'])} on {escape(found['dataset'])}", title_justify="left")
    table.add_column(f"now, {_split(now)}", justify="right")
    table.add_column(f"on its card, {_split(card)}" if found.get("card") else "on its card", justify="right")
    for key, value in (now["metrics"] | now.get("skipped", {})).items():
        old = card["metrics"].get(key)
        text = f"{value:.5g}" if isinstance(value, float) else f"n/a: {escape(value)}"
        table.add_row(key, text, "-" if old is None else f"{old:.5g}")
    return table


def _seeds(row: Mapping[str, Any]) -> str:
    seeds = row.get("seeds")
    return ", ".join(map(str, seeds)) if isinstance(seeds, (list, tuple)) else str(seeds or "")


def _caption(report: Mapping[str, Any], doubts: Mapping[str, Any]) -> str:
    split = (report.get("contract") or {}).get("reference_split")
    parts = [f"all scores against the {split} split"] if split else []
    parts.append("↑ higher is better, ↓ lower is better")
    parts += ["‡ not to be trusted: a loss scores better than these real images"] if doubts else []
    return escape("; ".join(parts))


def _floor(floor: Mapping[str, Any], column: Mapping[str, Any], doubts: Mapping[str, Any]) -> str:
    return _cell({"mean": floor.get(column["key"])}, column) + (" ‡" if column["key"] in doubts else "")


def _split(score: Mapping[str, Any]) -> str:
    """Return the split that a score is against."""
    return f"{score['contract']['reference_split']} split"


def _cell(cell: Mapping[str, Any] | None, column: Mapping[str, Any]) -> str:
    if not cell or cell.get("mean") is None:
        return "-"
    decimals = column.get("decimals", 4)
    deviation = "" if cell.get("std") is None else f" ± {cell['std']:.{decimals}f}"
    return f"{cell['mean']:.{decimals}f}{deviation}"
