"""The memorisation audits in a report: which run represents its loss, the table, and a verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gansvc.report import numbers, ranking
from gansvc.report.document import Block, Bullets, Paragraph, Picture, Section, bullets, escape
from gansvc.report.model import Column, Report, Row
from gansvc.report.tables import Row as TableRow
from gansvc.report.tables import Table, loss_cell, number_columns, plain, text_columns
from gansvc.store.audits import CLOSER_LIMIT, Audit, Estimate, Memorisation


def audits_of_best_seeds(audits: Sequence[Audit], rows: Sequence[Row], by: Column) -> tuple[Audit, ...]:
    """Return, for each loss in the order of the leaderboard, the audit of its best seed, where there is one."""
    best = [(row.label, ranking.best_seed(row, by)) for row in rows]
    known = {(audit.label, audit.seed): audit for audit in audits}
    return tuple(known[label, seed] for label, seed in best if seed is not None and (label, seed) in known)


def reported_audits(report: Report) -> tuple[Audit, ...]:
    """Return the audits of a report's best seeds that were audited for memorisation."""
    by = report.column(report.objective)
    found = audits_of_best_seeds(report.audits, report.leaderboard, by) if by else ()
    return tuple(audit for audit in found if audit.memorisation is not None)


def warnings(found: Sequence[Audit]) -> tuple[str, ...]:
    """Return one warning for each audit that shows signs of copying, or that failed."""
    return tuple(
        verdict(audit) for audit in found if audit.failed or (audit.memorisation and audit.memorisation.flagged)
    )


def verdict(audit: Audit) -> str:
    """Return what an audit says of copying, as one sentence without a full stop."""
    memory = audit.memorisation
    name = f"{audit.label}, seed {audit.seed},"
    if audit.failed:
        return f"{name} was scored, but its audit failed: {audit.failed}"
    if memory is None:
        return f"{name} was not audited"
    if memory.flagged is None:
        few = f"{numbers.pluralise(memory.heldout_images, 'held-out image')} and {memory.fresh_images} fresh ones"
        return "; ".join([f"{name} can't be judged: {few} are too few", *memory.left_out])
    share = f"{_percent(memory.closer)} of its images are as near to training images as 5 % of fresh real images are"
    chance = (
        f"in {_percent(memory.tendency)} of comparisons its image is nearer than a fresh real one, where 50 % is even"
    )
    if not memory.flagged:
        return f"{name} shows no sign of copying: {share}"
    found = share if memory.closer is not None and memory.closer.low > CLOSER_LIMIT else chance
    return f"{name} shows signs of copying its training images: {found}"


def section(report: Report, pictures: Mapping[str, Picture]) -> Section | None:
    """Return what the audits found and how it was measured; None where nothing was audited."""
    found = reported_audits(report)
    if not found or (memory := found[0].memorisation) is None:
        return None
    blocks: list[Block] = [
        bullets([verdict(audit) for audit in found]),
        table(found),
        Paragraph(_how_measured(report, memory)),
        Bullets(_MEASURES),
    ]
    if "pairs.png" in pictures:
        blocks += [Paragraph("The closest pairs, by that ratio:"), pictures["pairs.png"]]
    return Section("Memorisation", tuple(blocks))


def table(found: Sequence[Audit]) -> Table:
    """Return the table of audits: one row a loss, two columns of words."""
    titles = ("relatively near to train", "than fresh images", "near to train", "AuthPct", "AuthPct of held-out images")
    distances = ("median distance to train", "to held-out", "held-out to train")
    columns = (*text_columns("loss, seed", "signs of copying"), *number_columns(*titles, *distances))
    return Table(columns, tuple(_row(audit, audit.memorisation) for audit in found if audit.memorisation is not None))


def _row(audit: Audit, memory: Memorisation) -> TableRow:
    texts = (
        {True: "yes", False: "none", None: "too few images"}[memory.flagged],
        _percent(memory.closer),
        _percent(memory.tendency),
        _percent(memory.near),
        _plain(memory.authenticity),
        _plain(memory.heldout_authenticity),
        *(_distance(length) for length in (memory.to_train, memory.to_heldout, memory.heldout_to_train)),
    )
    return TableRow((loss_cell(audit.label, audit.seed), *plain(*texts)))


def _how_measured(report: Report, memory: Memorisation) -> str:
    """Return what was compared with what."""
    train = report.dataset.images.get("train")
    of_all = f" of {numbers.format_count(train)}" if train is not None and train != memory.train_images else ""
    left_out = f" {escape('; '.join(memory.left_out))}." if memory.left_out else ""
    return (
        f"Each loss is shown by its best seed. {numbers.format_count(memory.images)} generated images were held "
        f"against {numbers.format_count(memory.train_images)}{of_all} training images, "
        f"{numbers.format_count(memory.heldout_images)} held-out ones (test) and "
        f"{numbers.format_count(memory.fresh_images)} fresh ones (val); distances are between features of "
        f"{escape(report.audits[0].extractor)}, in brackets stand 95 % bootstrap intervals.{left_out}"
    )


_MEASURES = (
    "Relatively near to train: the share of images whose distance to the nearest training image, over that to the "
    "nearest held-out image, is below the 5 % quantile of fresh real images. Without copying it is about 5 %. A loss "
    "is named where the interval lies above 10 %.",
    "Than fresh images: the chance that this ratio is smaller for a generated image than for a fresh one. Without "
    "copying it is about 50 %. A loss is named where the interval lies above 60 %, too: so copies are found in sets "
    "whose splits share near-duplicates.",
    "Near to train: the share of images nearer to a training image than 95 % of held-out images are. A generator of "
    "typical images is near to all real images, so a high share alone is no sign of copying.",
    "AuthPct (Alaa et al. 2022): the percentage of images that are farther from their nearest training image than that "
    "one is from its own nearest. It is low for typical images as well as for copies, so it decides nothing here.",
)


def _percent(share: Estimate | None) -> str:
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})" if share else numbers.MISSING


def _plain(estimate: Estimate | None) -> str:
    return f"{estimate.value:.1f} ({estimate.low:.1f} to {estimate.high:.1f})" if estimate else numbers.MISSING


def _distance(length: float | None) -> str:
    return numbers.MISSING if length is None else f"{length:.2f}"
