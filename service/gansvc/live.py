"""What a person sees of a job: the live view, the lines where there is no terminal, the list. It prints nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable

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
            *((_elapsed(status), age) if spans else ()),
            Text(" ".join(_trouble(status).split()) or _best(status)),
        )
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
    if status.phase not in FINAL_PHASES and status.images_per_second:
        facts.append(f"{status.images_per_second:.0f} img/s")
    if status.phase not in FINAL_PHASES and status.seconds_left is not None:
        facts.append(f"about {duration(status.seconds_left)} left")
    return facts


def _best(status: Status) -> str:
    """Return the best validation score with its loss and its metric, or nothing."""
    if status.best_objective is None:
        return ""
    return f"{status.best_label} {_metric(status)} {status.best_objective:.4g}"


def _metric(status: Status) -> str:
    """Return the metric of a job's validation scores; files of earlier versions don't name it."""
    return status.objective.upper() or "score"


def _progress(status: Status) -> str:
    """Return how far a job is, by what it does now or did last."""
    begun = [f"{name} {done}/{planned}" for name, (done, planned) in _counts(status).items() if planned and done]
    planned = [f"{name} 0/{planned}" for name, (_, planned) in _counts(status).items() if planned]
    return (begun[-1:] or planned[:1] or ["-"])[0]


def _trouble(status: Status) -> str:
    """Return what is wrong with a job, or what a reader must know of it while it is at work."""
    return status.error or ("" if status.phase in FINAL_PHASES else "; ".join(status.warnings))


def _elapsed(status: Status) -> str:
    end = status.finished or (status.updated if status.phase in FINAL_PHASES else time.time())
    return duration(end - status.started) if status.started else "-"
