"""Text alternatives of a report's pictures, with their key numbers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from gansvc.report import memorisation, numbers, spending
from gansvc.report import usefulness as learned
from gansvc.report.document import Picture
from gansvc.report.model import Curve, Report, Row


def describe_figures(report: Report, names: Sequence[str]) -> dict[str, Picture]:
    """Return the named pictures of a report."""
    return {name: Picture(name, *_describe(report, name)) for name in names}


def representative_seed(row: Row, key: str) -> int | None:
    """Return the seed whose images stand for a loss: the one nearest to its mean, so that nobody picks."""
    cell = row.metrics.get(key)
    return None if cell is None else min(cell.values, key=lambda seed: abs(cell.values[seed] - cell.mean))


def _describe(report: Report, name: str) -> tuple[str, tuple[str, ...]]:
    """Return the caption of a picture and what its parts show; one that this module doesn't know has its name alone."""
    validation = numbers.metric_title(report.validation_metric)
    last = max((run.critic_images for run in report.runs), default=0)
    labels = list(dict.fromkeys(run.label for run in report.runs))
    span = f"over {numbers.format_count(last)} critic images"
    match name:
        case "samples.png":
            return "Real images beside each loss's generated images", _samples(report)
        case "losses.png":
            return "Critic and generator losses", tuple(f"{label} {span}" for label in labels)
        case "wasserstein.png":
            return "Mean D(real) minus mean D(fake)", tuple(f"{label} {span}" for label in labels)
        case "terms.png":
            return "Terms of the losses' regularizers", (f"every term {span}",)
        case "search.png":
            return f"val {validation} of every trial against each searched field", _search(report)
        case "best-by-images.png":
            costs = _best_so_far(report, "images", "critic images")
            return f"Best val {validation} so far against critic images", costs
        case "best-by-seconds.png":
            costs = _best_so_far(report, "seconds", "process-seconds")
            return f"Best val {validation} so far against process-seconds", costs
        case "pairs.png":
            return "Generated images above their nearest training and held-out images", _pairs(report)
        case "usefulness.png":
            return "Accuracy on real test images after learning from real, generated or both", _usefulness(report)
        case _ if name == f"{report.validation_metric}.png":
            return f"{validation} on the validation split", _validation(report, labels)
        case _:
            return name, (name,)


def _samples(report: Report) -> tuple[str, ...]:
    by = report.column(report.objective)
    split = f" on {report.contract.reference_split}" if report.contract else ""
    found = [f"real {report.floor_split} images"]
    for row in report.leaderboard:
        seed = representative_seed(row, report.objective)
        if by is not None and seed is not None:
            value = numbers.format_metric(by, row.metrics[by.key].values[seed])
            found.append(f"{row.label} seed {seed}, {by.title}{split} {value}")
    return tuple(found)


def _validation(report: Report, labels: Sequence[str]) -> tuple[str, ...]:
    found = []
    for label in labels:
        curves = [curve for curve in report.curves if curve.label == label]
        first, least = _mean(curves, 0), _mean(curves, None)
        if least is not None:
            begins = "" if first is None else f"from {_score(report, first)} untrained "
            found.append(f"{label} {begins}to {_score(report, least)} at best")
    if report.validation_floor is not None:
        found.append(f"real images {_score(report, report.validation_floor)}")
    return tuple(found)


def _mean(curves: Sequence[Curve], step: int | None) -> float | None:
    """Return the mean over seeds of the score at a step, or of the lowest score for None; None where one is missing."""
    values = []
    for curve in curves:
        known = [p.objective for p in curve.points if p.objective is not None and step in (None, p.step)]
        if not known:
            return None
        values.append(min(known))
    return fmean(values) if values else None


def _search(report: Report) -> tuple[str, ...]:
    trials = [trial for records in report.trials.values() for trial in records]
    found = []
    for field in dict.fromkeys(field for trial in trials for field in trial.values):
        having = [trial for trial in trials if field in trial.values]
        scored = [(trial.objective, trial) for trial in having if trial.objective is not None]
        text = f"{field} in {numbers.pluralise(len(having), 'trial')}"
        if scored:
            score, best = min(scored, key=lambda pair: pair[0])
            text += f", best {best.label} {_score(report, score)} at {numbers.format_setting(best.values[field])}"
        failed = len(having) - len(scored)
        found.append(text + (f", {failed} without a score" if failed else ""))
    return tuple(found)


def _best_so_far(report: Report, cost: spending.Cost, unit: str) -> tuple[str, ...]:
    found = []
    for label in dict.fromkeys(curve.label for curve in report.curves):
        if seeds := spending.best_so_far(report, label, cost):
            xs, ys = spending.mean_steps(seeds)
            if len(xs):
                found.append(
                    f"{label} {_score(report, float(ys[-1]))} after {numbers.format_count(float(xs[-1]))} {unit}"
                )
    return tuple(found)


def _pairs(report: Report) -> tuple[str, ...]:
    found = []
    for one in memorisation.reported_audits(report):
        pair = next(iter(one.memorisation.pairs), None) if one.memorisation else None
        if pair is not None:
            near = f"the closest pair {pair.to_train:.1f} from train and {pair.to_heldout:.1f} from held-out"
            found.append(f"{one.label}, seed {one.seed} {near}")
    return tuple(found)


def _usefulness(report: Report) -> tuple[str, ...]:
    found = []
    for one in learned.ranked_results(report):
        rows = [f"{row.what} {numbers.format_percent(row.share)} {100 * row.accuracy:.1f} %" for row in one.rows]
        found.append(f"{one.label}, seed {one.seed}: {', '.join(rows)}")
    return tuple(found)


def _score(report: Report, value: float) -> str:
    return numbers.format_validation(report.validation_metric, value)
