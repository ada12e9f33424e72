"""The audits in a report: which run stands for its loss, the table, and what it comes to in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from gansvc.catalog.labels import REAL
from gansvc.report import numbers, ranking
from gansvc.report.model import Column, Report, Row
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.audits import CLOSER_LIMIT, Audit, Estimate, Memorisation
from gansvc.store.folder import Folder
from gansvc.store.parallel import ask_all


def gather(folder: Folder, spec: JobSpec) -> tuple[Audit, ...]:
    """Return the audits of a job folder's runs and of fresh real images; jobs of earlier versions have none.

    Raises:
        ClusterError: a file isn't an audit.
    """
    names = [layout.run_name(loss.label, seed) for loss in spec.losses for seed in spec.training.seeds]
    there = folder / layout.EVALUATION
    found = ask_all(folder, lambda name: there.read_record(layout.audit(name), Audit), (*names, REAL))
    return tuple(audit for audit in found if audit is not None)


def of_best_seeds(audits: Sequence[Audit], rows: Sequence[Row], by: Column) -> tuple[Audit, ...]:
    """Return, for each loss in the order of the leaderboard, the audit of its best seed, where there is one."""
    best = [(row.label, ranking.best_seed(row, by)) for row in rows]
    table = {(audit.label, audit.seed): audit for audit in audits}
    return tuple(table[label, seed] for label, seed in best if seed is not None and (label, seed) in table)


def of_report(report: Report) -> tuple[Audit, ...]:
    """Return the audits of a report's best seeds that were audited for memorisation."""
    by = report.column(report.objective)
    found = of_best_seeds(report.audits, report.leaderboard, by) if by else ()
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
        few = f"{numbers.times(memory.heldout_images, 'held-out image')} and {memory.fresh_images} fresh ones"
        return "; ".join([f"{name} can't be judged: {few} are too few", *memory.left_out])
    share = f"{_percent(memory.closer)} of its images are as near to training images as 5 % of fresh real images are"
    chance = (
        f"in {_percent(memory.tendency)} of comparisons its image is nearer than a fresh real one, where 50 % is even"
    )
    if not memory.flagged:
        return f"{name} shows no sign of copying: {share}"
    found = share if memory.closer is not None and memory.closer.low > CLOSER_LIMIT else chance
    return f"{name} shows signs of copying its training images: {found}"


def memorisation_table(found: Sequence[Audit]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the memorisation table: one row a loss, two columns of words."""
    head = ["loss, seed", "signs of copying", "relatively near to train", "than fresh images", "near to train"]
    head += ["AuthPct", "AuthPct of held-out images", "median distance to train", "to held-out", "held-out to train"]
    return head, [_row(audit, audit.memorisation) for audit in found if audit.memorisation is not None]


def _row(audit: Audit, memory: Memorisation) -> list[str]:
    return [
        f"{audit.label}, seed {audit.seed}",
        {True: "yes", False: "none", None: "too few images"}[memory.flagged],
        _percent(memory.closer),
        _percent(memory.tendency),
        _percent(memory.near),
        _plain(memory.authenticity),
        _plain(memory.heldout_authenticity),
        *(_distance(length) for length in (memory.to_train, memory.to_heldout, memory.heldout_to_train)),
    ]


def _percent(share: Estimate | None) -> str:
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})" if share else numbers.MISSING


def _plain(estimate: Estimate | None) -> str:
    return f"{estimate.value:.1f} ({estimate.low:.1f} to {estimate.high:.1f})" if estimate else numbers.MISSING


def _distance(length: float | None) -> str:
    return numbers.MISSING if length is None else f"{length:.2f}"
