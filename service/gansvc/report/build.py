"""From a job folder's records to its report: gather, rank, judge; then write report.json, report.md and the figures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from gansvc.catalog.labels import REAL
from gansvc.errors import GansvcError, reason_of
from gansvc.report import (
    dataset,
    drawing,
    figures,
    findings,
    floor,
    histories,
    html,
    markdown,
    memorisation,
    numbers,
    pictures,
    provenance,
    published,
    ranking,
    searching,
    spending,
    usefulness,
)
from gansvc.report.model import Curve, CurvePoint, Report
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.parallel import ask_all
from gansvc.store.records import JobStart, RunRecord, TrialRecord, TrialRecords
from gansvc.store.scores import Score


def build(folder: Folder, spec: JobSpec) -> Report:
    """Return the report of a job folder, from what is there; runs, scores and trials may be missing.

    Raises:
        RunError: two scores have unlike contracts; the message names the fields.
        ClusterError: the storage fails, or a file isn't the record it should be.
    """
    runs = _runs(folder, spec)
    scores = _scores(folder, spec)
    real = (folder / layout.EVALUATION).read_record(layout.score(REAL), Score)
    trials = {loss.label: _trials(folder, loss.label) for loss in spec.losses} if spec.search else {}
    contract = ranking.common_contract(scores, real)
    data = dataset.facts(folder, spec)
    measured = {key for score in scores for key in score.metrics}
    columns = numbers.metric_columns(spec.evaluation.metrics, measured, sum(data.images.values()) or None)
    validation_metric = spec.objective
    by = next((column for column in columns if column.key == validation_metric), columns[0])
    rows = ranking.leaderboard([loss.label for loss in spec.losses], scores, columns, by, runs)
    audits, starts = memorisation.gather(folder, spec), folder.read_lines(layout.STARTS, JobStart)
    copies = [*memorisation.warnings(memorisation.audits_of_best_seeds(audits, rows, by)), *dataset.warnings(data)]
    useful = usefulness.gather(folder, spec)
    reals, metrics = (real.contract.samples, real.metrics) if real else (None, None)
    doubts = floor.doubts(metrics, reals, columns, rows, contract)
    split, clause = contract.reference_split if contract else "", floor.headline_clause(rows, by, metrics, doubts)
    return Report(
        job=folder.uri.rstrip("/").rpartition("/")[2],
        name=spec.name,
        created=datetime.now(UTC),
        versions=provenance.current(),
        headline=ranking.headline(rows, by, spec.dataset.title, split, clause),
        winner=ranking.winner(rows, by),
        objective=by.key,
        columns=columns,
        leaderboard=rows,
        noise_floor=metrics,
        noise_floor_images=reals,
        floor_doubts=doubts,
        validation_floor=real.validation if real else None,
        fid_rank_deficient=findings.rank_deficient(contract),
        noise_floor_rank_deficient=findings.rank_deficient(real.contract if real else None),
        contract=contract,
        published=published.gather(spec, rows),
        dataset=data,
        runs=tuple(runs),
        curves=tuple(ask_all(folder, partial(_curve, folder), runs)),
        validation_metric=validation_metric,
        trials=trials,
        budgets=spending.budgets(spec, runs, trials),
        audits=audits,
        usefulness=useful,
        starts=tuple(starts),
        warnings=(
            *copies,
            *findings.resume_warnings(starts),
            *usefulness.warnings(useful),
            *floor.warnings(doubts),
            *findings.warnings(spec, runs, scores, trials, real),
        ),
        spec=spec.model_dump(mode="json", exclude_none=True),
    )


def write(folder: Folder, report: Report) -> dict[str, str]:
    """Write report/report.json, report.md, report.html and figures/*.png, each file whole.

    The histories and the image grids are read from the job folder; a figure that has nothing to show is left out.

    Returns:
        The reason by the name of each figure that can't be drawn: the report goes without it.

    Raises:
        ClusterError: the storage fails.
    """
    drawn, failed = {}, {}
    for name, draw in _figures(folder, report).items():
        try:
            data = draw()
        except GansvcError:
            raise
        except Exception as error:  # a picture must not cost the report
            failed[name] = reason_of(error)
            continue
        if data is not None:
            drawn[name] = data
    for name, data in drawn.items():
        folder.write(f"{layout.REPORT}/{layout.figure(name)}", data)
    folder.write(layout.REPORT_MARKDOWN, markdown.render(report, tuple(drawn)))
    folder.write(layout.REPORT_HTML, html.render(report, drawn, pictures.read_gallery(folder, report)))
    # report.json comes last: where it is, the whole report is.
    folder.write_record(layout.REPORT_JSON, report)
    return failed


def _runs(folder: Folder, spec: JobSpec) -> list[RunRecord]:
    there = folder / layout.TRAIN
    found = ask_all(folder, lambda name: (there / name).read_record(layout.RUN, RunRecord), _names(spec))
    return [run for run in found if run is not None]


def _scores(folder: Folder, spec: JobSpec) -> list[Score]:
    there = folder / layout.EVALUATION
    found = ask_all(folder, lambda name: there.read_record(layout.score(name), Score), _names(spec))
    return [score for score in found if score is not None]


def _names(spec: JobSpec) -> list[str]:
    return [layout.run_name(loss.label, seed) for loss in spec.losses for seed in spec.training.seeds]


def _trials(folder: Folder, label: str) -> tuple[TrialRecord, ...]:
    kept = (folder / layout.SEARCH / label).read_record(layout.TRIALS, TrialRecords)
    return kept.root if kept else ()


def _curve(folder: Folder, run: RunRecord) -> Curve:
    points = (folder / layout.TRAIN / layout.run_name(run.label, run.seed)).read_lines(layout.EVALUATIONS, CurvePoint)
    # A run that was restarted writes the steps after its checkpoint twice: the later line counts.
    latest = {point.step: point for point in points}
    return Curve(label=run.label, seed=run.seed, points=tuple(latest[step] for step in sorted(latest)))


def _figures(folder: Folder, report: Report) -> dict[str, Callable[[], bytes | None]]:
    """Return how each figure is drawn, by its name."""
    found = zip(report.runs, ask_all(folder, partial(histories.read_history, folder), report.runs), strict=True)
    by_label: dict[str, list[histories.RunHistory]] = {label: [] for label in report.labels}
    for run, history in found:
        by_label[run.label].append(history)
    styles = drawing.loss_styles(report.labels)
    return {
        "samples.png": lambda: figures.samples(
            pictures.read_real_grid(folder, report), pictures.read_grids(folder, report)
        ),
        f"{report.validation_metric}.png": lambda: figures.validation(report, styles),
        "losses.png": lambda: figures.losses(by_label, styles),
        "wasserstein.png": lambda: figures.wasserstein(by_label, styles),
        "search.png": lambda: searching.draw(report, styles),
        "best-by-images.png": lambda: spending.draw(report, styles, "images"),
        "best-by-seconds.png": lambda: spending.draw(report, styles, "seconds"),
        "pairs.png": lambda: figures.pairs(pictures.read_pairs(folder, report)),
        "usefulness.png": lambda: figures.usefulness(report, styles),
    }
