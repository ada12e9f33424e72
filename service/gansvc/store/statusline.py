"""A job's status in plain words: one line, and its parts."""

from __future__ import annotations

import time

from gansvc.store.records import FINAL_PHASES, Status


def line(status: Status) -> str:
    """Return where a job stands as one plain line."""
    parts = [f"{name} {done}/{planned}" for name, (done, planned) in counts(status).items() if planned]
    warnings = [f"! {warning}" for warning in status.warnings]
    return "  ".join([status.phase, *parts, *facts(status), elapsed(status), *warnings])


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


def counts(status: Status) -> dict[str, tuple[int, int]]:
    """Return what is done and planned of each kind of work."""
    return {"trials": status.trials, "runs": status.runs, "scores": status.scores}


def facts(status: Status) -> list[str]:
    """Return what else is known of a job's work: best score, what is scored, speed, time left."""
    found = []
    if status.best_objective is not None:
        found.append(f"best val {metric(status)}: {status.best_label} {status.best_objective:.4g}")
    if status.phase == "EVALUATING":
        found.append(f"scoring {', '.join(status.scoring)}" if status.scoring else "preparing the scores")
    if status.phase not in FINAL_PHASES and status.images_per_second:
        found.append(f"{status.images_per_second:.0f} img/s")
    if status.phase not in FINAL_PHASES and status.seconds_left is not None:
        found.append(f"{'at least' if status.at_least else 'about'} {duration(status.seconds_left)} left")
    return found


def best(status: Status) -> str:
    """Return the best validation score with its loss and its metric, or nothing."""
    if status.best_objective is None:
        return ""
    return f"{status.best_label} {metric(status)} {status.best_objective:.4g}"


def metric(status: Status) -> str:
    """Return the metric of a job's validation scores; files of earlier versions don't name it."""
    return status.objective.upper() or "score"


def elapsed(status: Status) -> str:
    """Return how long a job has been at work, or was."""
    end = status.finished or (status.updated if status.phase in FINAL_PHASES else time.time())
    return duration(end - status.started) if status.started else "-"
