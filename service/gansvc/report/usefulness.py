"""Usefulness in a report: what classifiers learn from each loss's images, as a table and in sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from gansvc.report import classes, numbers
from gansvc.report.document import Block, Bullets, Paragraph, Picture, Section, bullets
from gansvc.report.model import Report
from gansvc.report.tables import Cell, Table, loss_cell, number_columns, plain, text_columns
from gansvc.report.tables import Row as TableRow
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.audits import ClassifierProtocol, MixtureResult, Usefulness


def warnings(found: Sequence[Usefulness]) -> tuple[str, ...]:
    """Return one warning for each run whose measure failed."""
    return tuple(
        f"{layout.run_name(one.label, one.seed)} was scored, but the usefulness of its images wasn't measured: "
        f"{one.failed}"
        for one in found
        if one.failed
    )


def ranked_results(report: Report) -> tuple[Usefulness, ...]:
    """Return what was measured, losses in the order of the leaderboard."""
    order = {row.label: place for place, row in enumerate(report.leaderboard)}
    whole = [one for one in report.usefulness if one.exam is not None and one.rows]
    return tuple(sorted(whole, key=lambda one: (order.get(one.label, len(order)), one.seed)))


def common_protocol(report: Report) -> ClassifierProtocol | None:
    """Return what all classifiers have in common; None where none was trained."""
    return next((one.exam for one in ranked_results(report)), None)


def row(found: Usefulness, what: str, share: float | None = None) -> MixtureResult | None:
    """Return one row of a measure; the first of its kind without a share."""
    return next((one for one in found.rows if one.what == what and share in (None, one.share)), None)


def sentences(report: Report, spec: JobSpec | None) -> list[str]:
    """Return what the measure comes to, one sentence a loss, without full stops.

    Where nothing was measured and the set has classes, that is one sentence: how to get it.
    """
    found = ranked_results(report)
    if found:
        return [_sentence(one) for one in found]
    if spec is None or spec.network.conditional or not classes.classes_by_label(report):
        return []
    return [
        "Not measured: what a classifier learns from generated images needs a generator that can be asked for a class; "
        "set network: {conditional: true}"
    ]


def section(report: Report, spec: JobSpec | None, pictures: Mapping[str, Picture]) -> Section | None:
    """Return what was measured and how; None where nothing was and nothing is to be said of that."""
    if not (said := sentences(report, spec)):
        return None
    blocks: list[Block] = [bullets(said)]
    if (about := common_protocol(report)) is not None:
        blocks.append(table(report, about))
        blocks += [pictures["usefulness.png"]] if "usefulness.png" in pictures else []
        blocks += [Paragraph(_how_measured(report, about)), Bullets(_rules(about))]
    return Section("Usefulness", tuple(blocks))


def table(report: Report, about: ClassifierProtocol) -> Table:
    """Return the table: guessing, real images alone, then each loss."""
    found = ranked_results(report)
    guess = (
        "-",
        "nothing: always the largest class",
        "",
        "",
        numbers.format_share(about.majority),
        numbers.format_share(1 / about.classes),
    )
    rows = [TableRow(plain(*guess, ""))]
    rows += [_row(Cell("-"), one, None) for one in found[0].rows if one.what == "real"]
    for measured in found:
        name = loss_cell(measured.label, measured.seed)
        rows += [_row(name, one, row(measured, "real", one.share)) for one in measured.rows if one.what != "real"]
    titles = ("real images", "generated images", "accuracy on test", "balanced accuracy on test")
    columns = number_columns(*titles, "accuracy, with minus without generated")
    return Table((*text_columns("loss", "trained on"), *columns), tuple(rows))


def _how_measured(report: Report, about: ClassifierProtocol) -> str:
    """Return what the classifiers learn from and are judged by, and what the numbers don't say."""
    count = seeds(report)
    chance = f" {count} seeds agree on a direction by chance 1 time in {2 ** (count - 1)}." if count > 1 else ""
    return (
        "Train on synthetic, test on real: a small convolutional classifier learns the set's classes from real "
        "training images, from generated ones or from both, and is judged on "
        f"{numbers.format_count(about.test_images)} real test images; from their number alone, the standard error of "
        f"an accuracy is about {sampling_error(report):.1f} points. Each loss is shown by one run: its best seed on "
        f"the validation split. Values are means over {count} seeds of the classifier, in brackets from the lowest to "
        f"the highest: they say nothing of how another seed of the GAN would do.{chance} Balanced accuracy is the mean "
        f"over the {about.classes} classes of the share of their images that are told rightly."
    )


def _rules(about: ClassifierProtocol) -> tuple[str, ...]:
    """Return what all classifiers have in common, a sentence or two each."""
    some, every = numbers.format_count(about.train_images), numbers.format_count(about.of)
    part = f", a stratified {some} of {every}" if about.of != about.train_images else ""
    return (
        f"There are as many generated images as all the real training images used{part}, of the same classes. Every "
        f"classifier takes {numbers.format_count(about.steps)} steps on batches of {about.batch_size}; with both, each "
        "image is seen equally often. 10 % is a fixed draw, class by class.",
        f"{numbers.format_count(about.val_images)} real validation images choose the best of ten moments of every "
        "training, with 10 % of the real images and with none as well; the test images choose nothing.",
        'The GAN itself saw 100 % of the training images, so "both" at 10 % is not learning from few images: it shows '
        "what the generated images carry.",
    )


def sampling_error(report: Report) -> float:
    """Return the standard error, in points, of real images' accuracy by the number of test images; 0 without a measure.

    The binomial one: sqrt(p (1 - p) / n).
    """
    found = ranked_results(report)
    real = row(found[0], "real", 1.0) if found else None
    if real is None or found[0].exam is None:
        return 0.0
    return 100 * math.sqrt(real.accuracy * (1 - real.accuracy) / found[0].exam.test_images)


def seeds(report: Report) -> int:
    """Return over how many seeds of the classifier the means are; 0 without a measure."""
    return next((len(one.rows[0].accuracies) for one in ranked_results(report)), 0)


def _sentence(found: Usefulness) -> str:
    """Return the answer in words: each number with its seeds' range, each difference with all of its seeds."""
    alone, real = row(found, "generated"), row(found, "real", 1.0)
    if alone is None or real is None or found.exam is None:
        return f"{found.label}, seed {found.seed}: the record holds no such rows"
    above = sum(value > found.exam.majority for value in alone.accuracies.values())
    said = (
        f"Classifiers trained on the images of {found.label}, seed {found.seed}, alone get {_spread(alone.accuracies)} "
        f"of the real test images right, on the real ones {_spread(real.accuracies)}; always guessing the largest "
        f"class gets {numbers.format_share(found.exam.majority)}, surpassed in {above} of "
        f"{numbers.pluralise(len(alone.accuracies), 'seed')}"
    )
    for share in sorted({one.share for one in found.rows if one.what == "both"}):
        both, without = row(found, "both", share), row(found, "real", share)
        if both is None or without is None:
            continue
        gains = _gains(both.accuracies, without.accuracies)
        mean = both.accuracy - without.accuracy
        alike = len({value > 0 for value in gains.values()}) == 1 and 0 not in gains.values()
        verdict = "" if alike else ": the seeds don't agree on a direction"
        listed = ", ".join(_points(value) for value in gains.values())
        said += f"; added to {numbers.format_percent(share)} of the real ones they change accuracy by "
        said += f"{_points(mean)} points (seeds: {listed}){verdict}"
    return said


def _row(name: Cell, one: MixtureResult, without: MixtureResult | None) -> TableRow:
    gains = _gains(one.accuracies, without.accuracies) if without else {}
    change = f"{_points(sum(gains.values()) / len(gains))} ({_range(gains, _points)})" if gains else ""
    share = f" ({numbers.format_percent(one.share)})" if one.real_images else ""
    texts = (
        one.what,
        f"{numbers.format_count(one.real_images)}{share}",
        numbers.format_count(one.generated_images),
        _spread(one.accuracies),
        _spread(one.balanced_accuracies),
        change,
    )
    return TableRow((name, *plain(*texts)))


def _gains(both: Mapping[int, float], without: Mapping[int, float]) -> dict[int, float]:
    """Return, for each seed that both have, the one's value minus the other's."""
    return {seed: value - without[seed] for seed, value in both.items() if seed in without}


def _spread(values: Mapping[int, float]) -> str:
    mean = sum(values.values()) / len(values)
    return f"{numbers.format_share(mean)} ({_range(values, lambda value: f'{100 * value:.1f}')})"


def _range(values: Mapping[int, float], written: Callable[[float], str]) -> str:
    return f"{written(min(values.values()))} to {written(max(values.values()))}"


def _points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}"
