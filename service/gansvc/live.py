"""What a person sees of a job: the live view, the lines where there is no terminal, the tables. It prints nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gansvc.records import FINAL_PHASES, Progress, Status

DIVERSITY = "diversity: how widely its images spread, as a share of real ones; near 0 all are alike"
PAUSE = 5.0
"""Seconds between two plain lines, at least."""
_STYLE = {"SUCCEEDED": "bold green", "FAILED": "bold red", "STOPPED": "bold yellow"}


def view(status: Status) -> RenderableType:
    """Return the picture of where a job stands."""
    head = Text.assemble(
        (status.job, "bold"), "  ", (status.phase, _STYLE.get(status.phase, "bold cyan")), f"  {_elapsed(status)}"
    )
    parts: list[RenderableType] = [head, _bars(status)]
    if status.current:
        parts.append(_current(status))
    if facts := _facts(status):
        parts.append(Text("   ".join(facts)))
    parts += [Text(f"! {warning}", style="yellow") for warning in status.warnings]
    if status.error:
        parts.append(Text(status.error, style="red" if status.phase == "FAILED" else "yellow"))
    return Group(*parts)


def line(status: Status) -> str:
    """Return where a job stands as one plain line."""
    counts = [f"{name} {done}/{planned}" for name, (done, planned) in _counts(status).items() if planned]
    warnings = [f"! {warning}" for warning in status.warnings]
    return "  ".join([status.phase, *counts, *_facts(status), _elapsed(status), *warnings])


def watch(statuses: Iterable[Status], console: Console) -> Status:
    """Show statuses on a console as they come, live on a terminal and as lines elsewhere; return the last one."""
    return _watch_live(statuses, console) if console.is_terminal else _watch_lines(statuses, console)


def job_table(statuses: Iterable[Status]) -> Table:
    """Return the table of jobs."""
    titles = ("job", "phase", "trials", "runs", "scores", "best on val", "elapsed", "age", "error")
    table = Table(*titles, box=None, header_style="bold")
    for status in statuses:
        counts = _counts(status)
        table.add_row(
            escape(status.job),
            Text(status.phase, style=_STYLE.get(status.phase, "cyan")),
            _fraction(counts["trials"]),
            _fraction(counts["runs"]),
            _fraction(counts["scores"]),
            _best(status),
            _elapsed(status),
            duration(time.time() - status.started) if status.started else "-",
            Text(status.error),
        )
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    return table


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


def duration(seconds: float) -> str:
    """Return a time span for people: ``45 s``, ``3 min 20 s``, ``2 h 05 min``, ``3 d 04 h``."""
    if not abs(seconds) < 1e10:
        return "-"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def _watch_live(statuses: Iterable[Status], console: Console) -> Status:
    last: Status | None = None
    with Live(console=console, auto_refresh=False, transient=False) as live:
        for last in statuses:
            live.update(view(last), refresh=True)
    return _there(last)


def _watch_lines(statuses: Iterable[Status], console: Console) -> Status:
    last: Status | None = None
    shown, phase, when = "", "", 0.0
    for last in statuses:
        text = " ".join(f"{name} {count}" for name, count in _counts(last).items()) + _best(last)
        moved = last.phase != phase or (text != shown and time.monotonic() - when >= PAUSE)
        if moved or time.monotonic() - when >= 60:
            console.print(line(last), markup=False, highlight=False, soft_wrap=True)
            shown, phase, when = text, last.phase, time.monotonic()
    return _there(last)


def _there(status: Status | None) -> Status:
    if status is None:
        raise ValueError("there was no status to show")
    return status


def _counts(status: Status) -> dict[str, tuple[int, int]]:
    return {"trials": status.trials, "runs": status.runs, "scores": status.scores}


def _bars(status: Status) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, (done, planned) in _counts(status).items():
        if planned:
            grid.add_row(name, ProgressBar(total=planned, completed=done, width=40), f"{done}/{planned}")
    return grid


def _current(status: Status) -> Table:
    titles = ("at work", "seed", "step", "critic images", "img/s", f"val {_metric(status)}", "diversity")
    table = Table(*titles, box=None, header_style="dim")
    if any(at.diversity is not None for at in status.current):
        table.caption, table.caption_justify = DIVERSITY, "left"
    for at in status.current:
        score = "-" if at.objective is None else f"{at.objective:.4g}"
        table.add_row(
            escape(at.label),
            str(at.seed),
            f"{at.step}/{at.steps}",
            f"{at.critic_images:,}",
            f"{at.images_per_second:.0f}",
            score,
            _diversity(at),
        )
    return table


def _diversity(at: Progress) -> Text:
    if at.diversity is None:
        return Text("-")
    if at.collapsed:
        return Text(f"{at.diversity:.2f} mode collapse", style="yellow")
    return Text(f"{at.diversity:.2f}")


def _facts(status: Status) -> list[str]:
    facts = []
    if status.best_objective is not None:
        facts.append(f"best val {_metric(status)}: {status.best_label} {status.best_objective:.4g}")
    if status.phase == "EVALUATING":
        facts.append(f"scoring {', '.join(status.scoring)}" if status.scoring else "preparing the scores")
    if status.phase not in FINAL_PHASES and status.images_per_second:
        facts.append(f"{status.images_per_second:.0f} img/s")
    if status.phase not in FINAL_PHASES and status.seconds_left is not None:
        facts.append(f"{'at least' if status.at_least else 'about'} {duration(status.seconds_left)} left")
    return facts


def _best(status: Status) -> str:
    """Return the best validation score with its loss and its metric, or nothing."""
    if status.best_objective is None:
        return ""
    return f"{status.best_label} {_metric(status)} {status.best_objective:.4g}"


def _metric(status: Status) -> str:
    """Return the metric of a job's validation scores; files of earlier versions don't name it."""
    return status.objective.upper() or "score"


def _fraction(count: tuple[int, int]) -> str:
    return f"{count[0]}/{count[1]}" if count[1] else "-"


def _elapsed(status: Status) -> str:
    end = status.finished or (status.updated if status.phase in FINAL_PHASES else time.time())
    return duration(end - status.started) if status.started else "-"


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
