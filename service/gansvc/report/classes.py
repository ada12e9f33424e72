"""The data set's classes in a report: histograms, domain scores, and how far the two rankings agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from gansvc.catalog.labels import REAL
from gansvc.report import numbers
from gansvc.report.document import Paragraph, Section, bullets
from gansvc.report.model import Column as MetricColumn
from gansvc.report.model import Report
from gansvc.report.tables import Cell, Column, Table, loss_cell, number_columns, plain, text_columns
from gansvc.report.tables import Row as TableRow
from gansvc.store.audits import Audit, Classes

_FRESH = "fresh real images (val)"
_DOMAIN = (("kid", "domain KID"), ("is", "domain IS"))


@dataclass(frozen=True)
class Ranking:
    """Two orders of the same losses, best first: by the extractor's features and by the classifier's."""

    metric: str
    """KID or IS."""
    by_extractor: tuple[str, ...]
    by_classifier: tuple[str, ...]
    tau: float | None
    """Kendall's tau-b: 1 where they agree, -1 where one is the other backwards; None where all values are alike."""


def classes_by_label(report: Report) -> dict[str, tuple[Classes, ...]]:
    """Return what the classifier saw in each loss's runs, losses in the order of the leaderboard; empty without labels.

    Under ``real`` stands what it saw in fresh real images, if that is known.
    """
    labels = [row.label for row in report.leaderboard]
    return {label: seen for label in (*labels, REAL) if (seen := _of(report.audits, label))}


def sentences(report: Report) -> list[str]:
    """Return what the classes come to, one sentence each, without full stops; none where the set has no classes."""
    found = classes_by_label(report)
    if not found:
        return []
    first = next(iter(found.values()))[0]
    said = [
        f"The classifier gets {numbers.format_share(first.accuracy)} of the held-out (test) images right; "
        f"always guessing the largest class, {numbers.format_share(first.majority)}"
        + ("" if first.accuracy > first.majority + 0.05 else ": too little to trust what it sees")
    ]
    for ranking in rankings(report):
        usual, domain = ", ".join(ranking.by_extractor), ", ".join(ranking.by_classifier)
        verb = f"disagree: {usual} by the extractor's features, {domain} by the classifier's"
        if usual == domain:
            verb = f"agree ({usual})"
        count = len(ranking.by_extractor)
        tau = "n/a" if ranking.tau is None else f"{ranking.tau:.2f}"
        said.append(f"The two rankings by {ranking.metric} {verb}; Kendall's tau is {tau} over {count} losses")
    return [*said, *_missing_scores(found)]


def rankings(report: Report) -> tuple[Ranking, ...]:
    """Return the rankings by KID and by IS, over the losses that have both scores; by the means over seeds."""
    from scipy.stats import kendalltau

    found = []
    for key, _ in _DOMAIN:
        column = report.column(key) or numbers.metric_columns((key,))[0]
        usual = {row.label: row.metrics[key].mean for row in report.leaderboard if key in row.metrics}
        means = {label: _mean(seen, key) for label, seen in classes_by_label(report).items() if label in usual}
        domain = {label: mean for label, mean in means.items() if mean is not None}
        if len(domain) < 2:
            continue
        tau = float(kendalltau([usual[label] for label in domain], list(domain.values())).statistic)
        orders = _order({label: usual[label] for label in domain}, column), _order(domain, column)
        found.append(Ranking(column.title, *orders, tau if tau == tau else None))
    return tuple(found)


def section(report: Report) -> Section | None:
    """Return what the classes come to, with both tables; None where the set has no classes."""
    said = sentences(report)
    if not said:
        return None
    return Section("Classes", (bullets(said), scores_table(report), histogram_table(report), Paragraph(_HOW)))


def scores_table(report: Report) -> Table:
    """Return the domain scores beside the extractor's; the last row is fresh real images, if known."""
    columns = [report.column(key) or numbers.metric_columns((key,))[0] for key, _ in _DOMAIN]
    board = {row.label: row for row in report.leaderboard}
    reference = report.contract.reference_split if report.contract else "test"
    rows = []
    for label, seen in classes_by_label(report).items():
        texts = []
        for column in columns:
            cell = board[label].metrics.get(column.key) if label in board else None
            texts += [numbers.format_cell(column, cell), numbers.format_metric(column, _mean(seen, column.key))]
        name = Cell(_FRESH) if label == REAL else loss_cell(label)
        rows.append(TableRow((name, *plain(*texts, f"{fmean(one.distance for one in seen):.3f}"))))
    titles = [
        f"{name} on {split}"
        for column, (_, domain) in zip(columns, _DOMAIN, strict=True)
        for name, split in ((column.title, reference), (domain, "test"))
    ]
    return Table((*text_columns("loss"), *number_columns(*titles, "distance of class histograms")), tuple(rows))


def histogram_table(report: Report) -> Table:
    """Return the class histograms, a row per class, in percent; means over seeds."""
    found = classes_by_label(report)
    first = next(iter(found.values()))[0]
    losses = {label: seen for label, seen in found.items() if label != REAL}
    titles = ("labels of train", "seen in held-out images", *(f"seen in {label}" for label in losses))
    rows = [
        TableRow(
            plain(
                _class_name(report.dataset.classes, index),
                numbers.format_share(first.train[index]),
                numbers.format_share(first.heldout[index]),
                *(numbers.format_share(fmean(one.seen[index] for one in seen)) for seen in losses.values()),
            )
        )
        for index in range(len(first.train))
    ]
    return Table((Column("class", is_text=True), *number_columns(*titles)), tuple(rows))


def _class_name(names: Sequence[str], index: int) -> str:
    """Return the number of a class and, where that is known, what the data set calls it."""
    return f"{index} {names[index]}" if index < len(names) else str(index)


_HOW = (
    "A small convolutional network, trained once on the labelled train split, says which class it sees in each image; "
    "its own mistakes are in the histograms of held-out (test) and generated images alike. Domain IS and domain KID "
    "are computed from its logits and features, against all held-out images; they compare with nothing but each other. "
    "The distance of class histograms is the total variation between what it sees in generated and in held-out images, "
    "0 to 1. Values are means over seeds; classes are numbered in the order of their labels."
)


def _of(audits: Sequence[Audit], label: str) -> tuple[Classes, ...]:
    return tuple(audit.classes for audit in audits if audit.label == label and audit.classes is not None)


def _mean(seen: Sequence[Classes], key: str) -> float | None:
    """Return the mean over the seeds that have the metric, None where none has it."""
    values = [one.metrics[key] for one in seen if key in one.metrics]
    return fmean(values) if values else None


def _missing_scores(found: Mapping[str, Sequence[Classes]]) -> list[str]:
    """Return which domain scores aren't there and why, one sentence for each reason."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for label, seen in found.items():
        for key, name in _DOMAIN:
            for why in dict.fromkeys(one.skipped[key] for one in seen if key in one.skipped):
                lacking.setdefault((name, why), []).append(_FRESH if label == REAL else label)
    return [f"The {name} of {', '.join(labels)} is n/a: {why}" for (name, why), labels in lacking.items()]


def _order(values: Mapping[str, float], column: MetricColumn) -> tuple[str, ...]:
    return tuple(sorted(values, key=values.__getitem__, reverse=column.better == "higher"))
