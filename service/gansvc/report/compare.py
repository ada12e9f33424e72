"""Merge the reports of several jobs into one leaderboard, where their contracts allow it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from gansvc.errors import SpecError
from gansvc.report import floor, ranking
from gansvc.report.model import Column, Report, Row
from gansvc.schema.bounded import MAX_ITEMS
from gansvc.spec.identity import BEFORE_THE_FIELD
from gansvc.store.records import Record, RunRecord
from gansvc.store.scores import Contract

# What changes neither the networks nor what a run of one seed is given, or is named by the contract.
_NOT_COMPARED = {"name", "losses", "published", "resources", "evaluation", "cluster"}
_NOT_TRAINED = {"training.seeds", "training.workers", "training.max_restarts", "dataset.root", "dataset.path"}
# What a report of an earlier version means where it lacks a field.
_LOSS_BEFORE = {
    path.removeprefix("loss."): value for path, value in BEFORE_THE_FIELD.items() if path.startswith("loss.")
}
_SPEC_BEFORE = {path: value for path, value in BEFORE_THE_FIELD.items() if "*" not in path}


class Comparison(Record):
    """The leaderboard of several jobs."""

    jobs: tuple[str, ...]
    headline: str
    winner: str | None
    """Label of the loss that won, as in a report."""
    objective: str
    """Column that ranks."""
    columns: tuple[Column, ...]
    """Those that all jobs have."""
    leaderboard: tuple[Row, ...]
    noise_floor: dict[str, float] | None
    """That of the first job that has one."""
    floor_doubts: dict[str, str]
    """Column to the reason why the noise floor can't be trusted there, as in a report."""
    contract: Contract
    differences: tuple[str, ...]
    """What the jobs were not given alike, one line a field: the scores compare, the losses may not."""
    unknown: tuple[str, ...] = ()
    """Fields of the contract that an older report lacks: whether the scores were made alike there can't be told."""


def merge(reports: Sequence[Report]) -> Comparison:
    """Return one leaderboard of all jobs' losses, ranked by the first job's objective.

    A loss that several jobs trained alike, on other seeds, is one row; one that they trained otherwise has a row for
    each, labelled ``wgan (job)``.

    Raises:
        SpecError: a job has no scores, there is only one job, or the contracts differ; the message names the fields.
    """
    contract = _common_contract(reports)
    if (seeds := sum(len(row.seeds) for report in reports for row in report.leaderboard)) > 5 * MAX_ITEMS:
        raise SpecError(
            f"JOB: the jobs have {seeds:,} scored runs, and {5 * MAX_ITEMS:,} can be compared; name fewer jobs"
        )
    shared = [column for column in reports[0].columns if all(other.column(column.key) for other in reports)]
    if not shared:
        raise SpecError("JOB: the jobs share no metric; score them with the same evaluation.metrics")
    by = next((column for column in shared if column.key == reports[0].objective), shared[0])
    rows = ranking.rank_rows(_rows(reports, shared), by)
    having = next((report for report in reports if report.noise_floor is not None), reports[0])
    real = having.noise_floor
    doubts = floor.doubts(real, having.noise_floor_images, shared, rows, contract)
    clause = floor.headline_clause(rows, by, real, doubts)
    return Comparison(
        jobs=tuple(report.job for report in reports),
        headline=ranking.headline(rows, by, reports[0].dataset.name, contract.reference_split, clause),
        winner=ranking.winner(rows, by),
        objective=by.key,
        columns=tuple(shared),
        leaderboard=rows,
        noise_floor=real,
        floor_doubts=doubts,
        contract=contract,
        differences=tuple(_differences(reports)),
        unknown=tuple(sorted({name for report in reports if report.contract for name in report.contract.lacking})),
    )


def _common_contract(reports: Sequence[Report]) -> Contract:
    jobs = [report.job for report in reports]
    if len(set(jobs)) < 2 or len(set(jobs)) < len(jobs):
        raise SpecError(f"JOB: {', '.join(jobs) or 'nothing'} can't be compared; name two or more jobs, each once")
    contracts = [report.contract for report in reports]
    for job, contract in zip(jobs, contracts, strict=True):
        if contract is None or contracts[0] is None:
            raise SpecError(f"JOB: {job if contract is None else jobs[0]} has no scores to compare; leave it out")
        if unlike := contracts[0].unlike(contract):
            raise SpecError(
                f"JOB: the scores of {jobs[0]} and {job} can't be compared: they differ in {', '.join(unlike)}; "
                "run one of the jobs again with the evaluation of the other"
            )
    assert contracts[0] is not None
    return contracts[0]


def _rows(reports: Sequence[Report], shown: Sequence[Column]) -> list[Row]:
    groups: dict[tuple[str, str], list[tuple[Report, Row]]] = {}
    for report in reports:
        for row in report.leaderboard:
            alike = groups.setdefault((row.label, _training_key(report, row.label)), [])
            if any(set(row.seeds) & set(other.seeds) for _, other in alike):
                # The same seeds again: two rows, not twice the evidence.
                alike = groups.setdefault((row.label, report.job), [])
            alike.append((report, row))
    labels = [label for label, _ in groups]
    return [
        _join_rows(
            label if labels.count(label) == 1 else f"{label} ({', '.join(report.job for report, _ in members)})",
            [row for _, row in members],
            shown,
            _has_learned(members),
        )
        for (label, _), members in groups.items()
    ]


def _has_learned(members: Sequence[tuple[Report, Row]]) -> bool | None:
    """Return whether a loss that several jobs trained learned; validation scores of unlike metrics aren't averaged."""
    runs: dict[str, list[RunRecord]] = defaultdict(list)
    for report, row in members:
        runs[report.validation_metric] += [
            run for run in report.runs if run.label == row.label and run.seed in row.seeds
        ]
    found = {ranking.has_learned(alike) for alike in runs.values()}
    return next((said for said in (False, None) if said in found), True)


def _join_rows(label: str, rows: Sequence[Row], shown: Sequence[Column], learned: bool | None) -> Row:
    cells = {}
    for column in shown:
        found = [row.metrics[column.key] for row in rows if column.key in row.metrics]
        values = {seed: value for cell in found for seed, value in cell.values.items()}
        within = [cell.within for cell in found if cell.within is not None]
        if values:
            cells[column.key] = ranking.cell(values, fmean(within) if within else None)
    seeds = tuple(sorted(seed for row in rows for seed in row.seeds))
    if len(seeds) > MAX_ITEMS:
        raise SpecError(
            f"JOB: {label} has {len(seeds)} seeds in these jobs, and {MAX_ITEMS} can be compared; name fewer jobs"
        )
    return Row(rank=None, label=label, seeds=seeds, metrics=cells, learned=learned)


def _training_key(report: Report, label: str) -> str:
    """Return all that decides the runs of a loss but their seeds, as text."""
    values = next((_LOSS_BEFORE | run.values for run in report.runs if run.label == label), None)
    fields = {path: value for path, value in _compared_fields(report).items() if not path.startswith("search.")}
    return json.dumps([values, fields], sort_keys=True)


def _differences(reports: Sequence[Report]) -> Iterator[str]:
    every = [_compared_fields(report) for report in reports]
    for path in dict.fromkeys(path for fields in every for path in fields):
        values = [json.dumps(fields.get(path)) for fields in every]
        if len(set(values)) > 1:
            yield f"{path}: {', '.join(value if len(value) <= 60 else f'{value[:57]}...' for value in values)}"


def _compared_fields(report: Report) -> dict[str, Any]:
    """Return what a spec gives to every loss, by dotted path; a report of an earlier version may lack later fields."""
    before = {path: value for path, value in _SPEC_BEFORE.items() if path.partition(".")[0] in report.spec}
    return before | dict(_fields(report.spec))


def _fields(spec: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted paths and values of what a spec gives to every loss."""
    for name, value in spec.items():
        path = f"{above}{name}"
        if path in _NOT_COMPARED | _NOT_TRAINED:
            continue
        if isinstance(value, Mapping) and path != "search.space":
            yield from _fields(value, f"{path}.")
        else:
            yield path, value
