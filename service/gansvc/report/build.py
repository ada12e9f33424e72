"""Build a job's report from its records, and write report.json, report.md, report.html and the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

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
from gansvc.report.inputs import Inputs, read_inputs
from gansvc.report.model import Report
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.audits import Audit
from gansvc.store.folder import Folder
from gansvc.store.parallel import ask_all


def build(folder: Folder, spec: JobSpec) -> Report:
    """Return the report of a job folder, from what is there; runs, scores and trials may be missing.

    Raises:
        RunError: two scores have unlike contracts; the message names the fields.
        ClusterError: the storage fails, or a file isn't the record it should be.
    """
    found = read_inputs(folder, spec)
    scores, real = found.scores, found.real
    contract = ranking.common_contract(scores, real)
    measured = {key for score in scores for key in score.metrics}
    images = sum(found.dataset.images.values()) or None
    columns = numbers.metric_columns(spec.evaluation.metrics, measured, images)
    by = next((column for column in columns if column.key == spec.objective), columns[0])
    rows = ranking.leaderboard([loss.label for loss in spec.losses], scores, columns, by, found.runs)
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
        dataset=found.dataset,
        runs=found.runs,
        curves=found.curves,
        validation_metric=spec.objective,
        trials=found.trials,
        budgets=spending.budgets(spec, found.runs, found.trials),
        audits=found.audits,
        usefulness=found.usefulness,
        starts=found.starts,
        warnings=_warnings(spec, found, memorisation.audits_of_best_seeds(found.audits, rows, by), doubts),
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


def _warnings(spec: JobSpec, found: Inputs, audits: Sequence[Audit], doubts: Mapping[str, str]) -> tuple[str, ...]:
    """Return all warnings, the gravest first."""
    return (
        *memorisation.warnings(audits),
        *dataset.warnings(found.dataset),
        *findings.resume_warnings(found.starts),
        *usefulness.warnings(found.usefulness),
        *floor.warnings(doubts),
        *findings.warnings(spec, found.runs, found.scores, found.trials, found.real),
    )


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
        "terms.png": lambda: figures.terms(by_label, styles),
        "search.png": lambda: searching.draw(report, styles),
        "best-by-images.png": lambda: spending.draw(report, styles, "images"),
        "best-by-seconds.png": lambda: spending.draw(report, styles, "seconds"),
        "pairs.png": lambda: figures.pairs(pictures.read_pairs(folder, report)),
        "usefulness.png": lambda: figures.usefulness(report, styles),
    }
