"""From a job folder's records to its report: gather, rank, judge; then write report.json, report.md and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from gansvc.audits import Audit
from gansvc.errors import ClusterError, SpecError
from gansvc.records import STARTS, History, JobStart, RunRecord, Score, TrialRecord
from gansvc.report import (
    audit,
    drawing,
    figures,
    findings,
    html,
    markdown,
    numbers,
    ranking,
    spending,
    usefulness,
    versions,
)
from gansvc.report.model import (
    REPORT_HTML,
    REPORT_JSON,
    REPORT_MARKDOWN,
    Curve,
    CurvePoint,
    DatasetFacts,
    PublishedRow,
    Report,
    Row,
)
from gansvc.spec import JobSpec
from gansvc.store import Folder, run_name


def build(folder: Folder, spec: JobSpec) -> Report:
    """Return the report of a job folder, from what is there; runs, scores and trials may be missing.

    Raises:
        RunError: two scores have unlike contracts; the message names the fields.
        ClusterError: the storage fails, or a file isn't the record it should be.
    """
    runs = _runs(folder, spec)
    scores = _scores(folder, spec)
    floor = folder.read_record("evaluation/real.json", Score)
    trials = {loss.label: _trials(folder, loss.label) for loss in spec.losses} if spec.search else {}
    contract = ranking.common_contract(scores, floor)
    dataset = _dataset(spec)
    measured = {key for score in scores for key in score.metrics}
    columns = numbers.columns(spec.evaluation.metrics, measured, sum(dataset.images.values()) or None)
    validation_metric = spec.search.objective if spec.search else "kid"
    by = next((column for column in columns if column.key == validation_metric), columns[0])
    rows = ranking.leaderboard([loss.label for loss in spec.losses], scores, columns, by)
    audits, starts = audit.gather(folder, spec), folder.read_lines(STARTS, JobStart)
    copies = audit.warnings(audit.winners(audits, rows, by))
    useful = usefulness.gather(folder, spec)
    floor_value = floor.metrics.get(by.key) if floor else None
    return Report(
        job=folder.uri.rstrip("/").rpartition("/")[2],
        name=spec.name,
        created=datetime.now(UTC),
        versions=versions.current(),
        headline=ranking.headline(rows, by, spec.dataset.name, floor_value),
        objective=by.key,
        columns=columns,
        leaderboard=rows,
        noise_floor=floor.metrics if floor else None,
        noise_floor_images=floor.contract.samples if floor else None,
        fid_rank_deficient=findings.rank_deficient(contract),
        noise_floor_rank_deficient=findings.rank_deficient(floor.contract if floor else None),
        contract=contract,
        published=_published(spec, rows),
        dataset=dataset,
        runs=tuple(runs),
        curves=tuple(_curve(folder, run) for run in runs),
        validation_metric=validation_metric,
        trials=trials,
        budgets=spending.budgets(spec, runs, trials),
        audits=audits,
        usefulness=useful,
        starts=tuple(starts),
        warnings=(
            *copies,
            *findings.of_starts(starts),
            *usefulness.warnings(useful),
            *findings.warnings(spec, runs, scores, trials, floor),
        ),
        spec=spec.model_dump(mode="json", exclude_none=True),
    )


def write(folder: Folder, report: Report) -> None:
    """Write report/report.json, report.md, report.html and figures/*.png, each file whole.

    The histories and the image grids are read from the job folder; a figure that has nothing to show is left out.

    Raises:
        ClusterError: the storage fails.
        SpecError: the report's spec isn't valid.
    """
    drawn = {name: data for name, data in _figures(folder, report).items() if data is not None}
    for name, data in drawn.items():
        folder.write(f"report/figures/{name}", data)
    text = markdown.render(report, tuple(drawn))
    folder.write(REPORT_MARKDOWN, text)
    pictures = {f"figures/{name}": data for name, data in drawn.items()}
    folder.write(REPORT_HTML, html.render(report, text, pictures, _gallery(folder, report)))
    # report.json comes last: where it is, the whole report is.
    folder.write_record(REPORT_JSON, report)


def _runs(folder: Folder, spec: JobSpec) -> list[RunRecord]:
    found = [
        folder.read_record(f"train/{run_name(loss.label, seed)}/run.json", RunRecord)
        for loss in spec.losses
        for seed in spec.training.seeds
    ]
    return [run for run in found if run is not None]


def _scores(folder: Folder, spec: JobSpec) -> list[Score]:
    found = [
        folder.read_record(f"evaluation/{run_name(loss.label, seed)}.json", Score)
        for loss in spec.losses
        for seed in spec.training.seeds
    ]
    return [score for score in found if score is not None]


def _trials(folder: Folder, label: str) -> tuple[TrialRecord, ...]:
    name = f"search/{label}/trials.json"
    data = folder.read(name)
    try:
        return TypeAdapter(tuple[TrialRecord, ...]).validate_json(data) if data else ()
    except ValidationError as error:
        raise ClusterError(f"{folder.path(name)} is not a list of trials ({error.error_count()} faults)") from None


def _curve(folder: Folder, run: RunRecord) -> Curve:
    points = folder.read_lines(f"train/{run_name(run.label, run.seed)}/evaluations.jsonl", CurvePoint)
    # A run that was restarted writes the steps after its checkpoint twice: the later line counts.
    latest = {point.step: point for point in points}
    return Curve(label=run.label, seed=run.seed, points=tuple(latest[step] for step in sorted(latest)))


def _dataset(spec: JobSpec) -> DatasetFacts:
    try:
        images = spec.dataset.sizes()
    except SpecError:
        # The user's own file may lie on the workers only.
        images = {}
    return DatasetFacts(
        name=spec.dataset.name,
        images=images,
        channels=spec.dataset.out_channels(),
        size=spec.dataset.size,
        licence=spec.dataset.entry.licence,
        source=spec.dataset.entry.source,
    )


def _published(spec: JobSpec, rows: Sequence[Row]) -> tuple[PublishedRow, ...]:
    ours = {row.label: {key: cell.mean for key, cell in row.metrics.items()} for row in rows}
    found = []
    for entry in spec.published:
        numbers_of = entry.model_dump(exclude_none=True, exclude={"loss", "source"})
        own = {key: value for key, value in ours.get(entry.loss, {}).items() if key in numbers_of}
        found.append(PublishedRow(label=entry.loss, published=numbers_of, ours=own, source=entry.source))
    return tuple(found)


def _figures(folder: Folder, report: Report) -> dict[str, bytes | None]:
    labels = [loss["label"] for loss in report.spec["losses"]]
    histories = {label: [_history(folder, run) for run in report.runs if run.label == label] for label in labels}
    palette = drawing.palette(labels)
    return {
        "samples.png": figures.samples(_real_grid(folder, report), _grids(folder, report)),
        f"{report.validation_metric}.png": figures.validation(report, palette),
        "losses.png": figures.losses(histories, palette),
        "wasserstein.png": figures.wasserstein(histories, palette),
        "search.png": figures.search(report, palette),
        "best-by-images.png": spending.draw(report, palette, "images"),
        "best-by-seconds.png": spending.draw(report, palette, "seconds"),
        "pairs.png": figures.pairs(_pairs(folder, report)),
        "usefulness.png": figures.usefulness(report, palette),
    }


def _history(folder: Folder, run: RunRecord) -> list[History]:
    lines = folder.read_lines(f"train/{run_name(run.label, run.seed)}/history.jsonl", History)
    latest = {line.step: line for line in lines}
    return [latest[step] for step in sorted(latest)]


def _gallery(folder: Folder, report: Report) -> list[tuple[str, bytes]]:
    title, real = _real_grid(folder, report)
    return ([(title, real)] if real is not None else []) + _grids(folder, report)


def _real_grid(folder: Folder, report: Report) -> tuple[str, bytes | None]:
    """Return the title and the grid of the real images, which made the noise floor."""
    by, floor = report.column(report.objective), report.noise_floor or {}
    value = f": {by.title} {numbers.metric(by, floor[by.key])}" if by and by.key in floor else ""
    return f"real images{value}", folder.read("evaluation/real.png")


def _grids(folder: Folder, report: Report) -> list[tuple[str, bytes]]:
    """Return the title and the grid of each scored loss, from its seed nearest to its mean: no picking."""
    by = report.column(report.objective)
    found = []
    for row in report.leaderboard:
        cell = row.metrics.get(report.objective)
        if by is None or cell is None:
            continue
        seed = min(cell.values, key=lambda seed: abs(cell.values[seed] - cell.mean))
        grid = folder.read(f"evaluation/{run_name(row.label, seed)}.png")
        if grid is not None:
            found.append((f"{row.label}, seed {seed}: {by.title} {numbers.metric(by, cell.values[seed])}", grid))
    return found


def _pairs(folder: Folder, report: Report) -> list[tuple[Audit, bytes]]:
    found = [
        (one, folder.read(f"evaluation/{run_name(one.label, one.seed)}.pairs.png")) for one in audit.of_report(report)
    ]
    return [(one, grid) for one, grid in found if grid is not None]
