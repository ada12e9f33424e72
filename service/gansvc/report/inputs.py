"""Read what a report is built from: the records in a job folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from gansvc.catalog.labels import REAL
from gansvc.report import dataset
from gansvc.report.model import Curve, CurvePoint
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.audits import Audit, Usefulness
from gansvc.store.folder import Folder
from gansvc.store.parallel import ask_all
from gansvc.store.records import JobStart, RunRecord, TrialRecord, TrialRecords
from gansvc.store.scores import Score


@dataclass(frozen=True)
class Inputs:
    """What a job left; runs, scores and trials may be missing."""

    dataset: dataset.DatasetFacts
    runs: tuple[RunRecord, ...]
    curves: tuple[Curve, ...]
    """The validation scores of these runs."""
    trials: dict[str, tuple[TrialRecord, ...]]
    """Label to the trials of its search; empty without a search."""
    scores: tuple[Score, ...]
    real: Score | None
    """The noise floor."""
    audits: tuple[Audit, ...]
    """Of runs and of fresh real images; none in jobs of earlier versions."""
    usefulness: tuple[Usefulness, ...]
    """None in unconditional jobs and in those of earlier versions."""
    starts: tuple[JobStart, ...]


def read_inputs(folder: Folder, spec: JobSpec) -> Inputs:
    """Return the records of a job folder.

    Raises:
        ClusterError: the storage fails, or a file isn't the record it should be.
    """
    names = [layout.run_name(loss.label, seed) for loss in spec.losses for seed in spec.training.seeds]
    train, evaluation = folder / layout.TRAIN, folder / layout.EVALUATION
    runs = ask_all(folder, lambda name: (train / name).read_record(layout.RUN, RunRecord), names)
    scores = ask_all(folder, lambda name: evaluation.read_record(layout.score(name), Score), names)
    audits = ask_all(folder, lambda name: evaluation.read_record(layout.audit(name), Audit), (*names, REAL))
    useful = ask_all(folder, lambda name: evaluation.read_record(layout.usefulness(name), Usefulness), names)
    ended = tuple(run for run in runs if run is not None)
    return Inputs(
        dataset=dataset.facts(folder, spec),
        runs=ended,
        curves=tuple(ask_all(folder, partial(_curve, folder), ended)),
        trials={loss.label: _trials(folder, loss.label) for loss in spec.losses} if spec.search else {},
        scores=tuple(score for score in scores if score is not None),
        real=evaluation.read_record(layout.score(REAL), Score),
        audits=tuple(audit for audit in audits if audit is not None),
        usefulness=tuple(one for one in useful if one is not None),
        starts=tuple(folder.read_lines(layout.STARTS, JobStart)),
    )


def _trials(folder: Folder, label: str) -> tuple[TrialRecord, ...]:
    kept = (folder / layout.SEARCH / label).read_record(layout.TRIALS, TrialRecords)
    return kept.root if kept else ()


def _curve(folder: Folder, run: RunRecord) -> Curve:
    points = (folder / layout.TRAIN / layout.run_name(run.label, run.seed)).read_lines(layout.EVALUATIONS, CurvePoint)
    # A run that was restarted writes the steps after its checkpoint twice: the later line counts.
    latest = {point.step: point for point in points}
    return Curve(label=run.label, seed=run.seed, points=tuple(latest[step] for step in sorted(latest)))
