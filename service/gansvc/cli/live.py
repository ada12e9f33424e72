"""Live view, progress lines and job list, from status records."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gansvc.store.records import FINAL_PHASES, Progress, Status
from gansvc.store.statusline import best, counts, duration, elapsed, facts, line, metric

DIVERSITY = "diversity: how widely its images spread, as a share of real ones; near 0 all are alike"
PAUSE = 5.0
"""Seconds between two plain lines, at least."""
_STYLE = {"SUCCEEDED": "bold green", "FAILED": "bold red", "STOPPED": "bold yellow"}


def view(status: Status) -> RenderableType:
    """Return the picture of where a job stands."""
    head = Text.assemble(
        (status.job, "bold"), "  ", (status.phase, _STYLE.get(status.phase, "bold cyan")), f"  {elapsed(status)}"
    )
    parts: list[RenderableType] = [head, _bars(status)]
    if status.current:
        parts.append(_current(status))
    if known := facts(status):
        parts.append(Text("   ".join(known)))
    parts += [Text(f"! {warning}", style="yellow") for warning in status.warnings]
    if status.error:
        parts.append(Text(status.error, style="red" if status.phase == "FAILED" else "yellow"))
    return Group(*parts)


def watch(statuses: Iterable[Status], console: Console) -> Status:
    """Show statuses on a console as they come, live on a terminal and as lines elsewhere; return the last one."""
    return _watch_live(statuses, console) if console.is_terminal else _watch_lines(statuses, console)


def job_table(statuses: Iterable[Status], width: int = 200) -> Table:
    """Return the table of jobs, one line each; where there is less room the spans go, and errors are cut.

    Args:
        statuses: of the jobs.
        width: columns of the terminal.
    """
    spans = width >= 110
    titles = ("job", "phase", "progress", *(("elapsed", "age") if spans else ()), "best on val, or what is wrong")
    table = Table(box=None, header_style="bold")
    for title in titles:
        # One column gives way.
        table.add_column(title, no_wrap=True, overflow="ellipsis", ratio=1 if title == titles[-1] else None)
    table.expand = True
    for status in statuses:
        age = duration(time.time() - status.started) if status.started else "-"
        table.add_row(
            escape(status.job),
            Text(status.phase, style=_STYLE.get(status.phase, "cyan")),
            _progress(status),
            *((elapsed(status), age) if spans else ()),
            Text(" ".join(_trouble(status).split()) or best(status)),
        )
    return table


def _watch_live(statuses: Iterable[Status], console: Console) -> Status:
    last: Status | None = None
    with Live(console=console, auto_refresh=False, transient=False) as live:
        for last in statuses:
            live.update(view(last), refresh=True)
    return _require_status(last)


def _watch_lines(statuses: Iterable[Status], console: Console) -> Status:
    last: Status | None = None
    shown, phase, when = "", "", 0.0
    for last in statuses:
        text = " ".join(f"{name} {count}" for name, count in counts(last).items()) + best(last)
        moved = last.phase != phase or (text != shown and time.monotonic() - when >= PAUSE)
        if moved or time.monotonic() - when >= 60:
            console.print(line(last), markup=False, highlight=False, soft_wrap=True)
            shown, phase, when = text, last.phase, time.monotonic()
    return _require_status(last)


def _require_status(status: Status | None) -> Status:
    if status is None:
        raise ValueError("there was no status to show")
    return status


def _bars(status: Status) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, (done, planned) in counts(status).items():
        if planned:
            grid.add_row(name, ProgressBar(total=planned, completed=done, width=40), f"{done}/{planned}")
    return grid


def _current(status: Status) -> Table:
    titles = ("at work", "seed", "step", "critic images", "img/s", f"val {metric(status)}", "diversity")
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


def _progress(status: Status) -> str:
    """Return how far a job is, by what it does now or did last."""
    begun = [f"{name} {done}/{planned}" for name, (done, planned) in counts(status).items() if planned and done]
    planned = [f"{name} 0/{planned}" for name, (_, planned) in counts(status).items() if planned]
    return (begun[-1:] or planned[:1] or ["-"])[0]


def _trouble(status: Status) -> str:
    """Return what is wrong with a job, or what a reader must know of it while it is at work."""
    return status.error or ("" if status.phase in FINAL_PHASES else "; ".join(status.warnings))
