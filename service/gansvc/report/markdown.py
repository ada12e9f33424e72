"""A report as Markdown: the tables are made here, the prose stands in report.md.j2."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2

from gansvc.escapes import printable
from gansvc.report import alternatives, classes, dataset, floor, leaderboard, memorisation, numbers, usefulness
from gansvc.report.model import FEWEST, Report
from gansvc.report.resampling import ENOUGH
from gansvc.report.tables import escape, table
from gansvc.spec import jobfile


def render(report: Report, figures: Sequence[str] = ()) -> str:
    """Return the report as Markdown that shows the named files of report/figures/.

    Raises:
        SpecError: the report's spec isn't valid.
    """
    # Markdown has its own escapes (below); HTML's would show up in the text.
    environment = jinja2.Environment(
        autoescape=False,  # noqa: S701
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string(files("gansvc.report").joinpath("report.md.j2").read_text(encoding="utf-8"))
    spec_yaml = jobfile.dump(jobfile.validated(report.spec))
    text = template.render(
        report=report,
        spec=report.spec,
        figures=figures,
        pictures=alternatives.pictures(report, figures),
        headline=escape(report.headline),
        ranked_by=report.column(report.objective),
        validation=report.validation_metric.upper(),
        leaderboard=leaderboard.scores(report),
        sureness=leaderboard.sureness(report),
        few_seeds=[escape(label) for label in leaderboard.few_seeds(report)],
        most_seeds=max((len(row.seeds) for row in report.leaderboard), default=0),
        enough=ENOUGH,
        fewest=FEWEST,
        floor_worth=escape(floor.worth(report)),
        searches={label: _trials(report, label) for label in report.trials},
        published=_published(report),
        contract=_contract(report),
        budgets=_budgets(report),
        runs=_runs(report),
        values=_values(report),
        memorisation=_escaped(*memorisation.memorisation_table(memorisation.of_report(report)), left=2),
        verdicts=[escape(memorisation.verdict(found)) for found in memorisation.of_report(report)],
        class_sentences=[escape(sentence) for sentence in classes.sentences(report)],
        class_scores=_escaped(*classes.scores_table(report)),
        class_histogram=_escaped(*classes.histogram_table(report)),
        learned=_escaped(*usefulness.table(report), left=2),
        learned_sentences=[escape(sentence) for sentence in usefulness.sentences(report)],
        exam=usefulness.exam(report),
        sampling_error=usefulness.sampling_error(report),
        learned_seeds=usefulness.seeds(report),
        audited=next((found.memorisation for found in memorisation.of_report(report)), None),
        warnings=[escape(warning) for warning in report.warnings],
        spec_yaml=spec_yaml,
        fence=_fence(spec_yaml),
        data_notes=[escape(note) for note in dataset.notes(report.dataset)],
        count=numbers.count,
        setting=numbers.setting,
    )
    return printable(text, keep="\n")


def _trials(report: Report, label: str) -> str:
    trials = report.trials[label]
    fields = list(dict.fromkeys(field for trial in trials for field in trial.values))
    best = next((trial.trial for trial in trials if trial.objective is not None), None)
    seeds = report.spec.get("search", {}).get("seeds", 1)
    rows = []
    for trial in trials:
        score = numbers.objective(report.validation_metric, trial.objective)
        score += f" ({numbers.times(len(trial.objectives), 'seed')})" if seeds > 1 and trial.objectives else ""
        state = f"{trial.state}: {trial.reason}" if trial.reason else trial.state
        rows.append(
            [
                escape(trial.trial) + (" (the spec's own values)" if trial.defaults else ""),
                escape(state),
                *(escape(numbers.setting(trial.values.get(field))) for field in fields),
                f"**{score}**" if trial.trial == best else score,
                numbers.count(trial.critic_images),
                numbers.count(trial.seconds),
            ]
        )
    rows += _validation_floor(report, len(fields) + 1, 2)
    head = ["trial", "state", *map(escape, fields), f"val {report.validation_metric.upper()} ↓"]
    return table([*head, "critic images", "seconds"], rows, left=2)


def _validation_floor(report: Report, before: int, after: int) -> list[list[str]]:
    """Return the row of the noise floor for a table of validation scores, with so many empty cells around it."""
    if report.validation_floor is None:
        return []
    value = numbers.objective(report.validation_metric, report.validation_floor)
    return [["*noise floor: real train images against val*", *[""] * before, value, *[""] * after]]


def _published(report: Report) -> str:
    known = {column.key: column for column in (*report.columns, *numbers.columns(("is", "fid", "kid")))}
    lines = []
    for row in report.published:
        for key, value in row.published.items():
            if key not in known:
                continue
            theirs = numbers.metric(known[key], value, row.published.get(f"{key}_std"))
            ours = numbers.metric(known[key], row.ours.get(key))
            lines.append([escape(row.label), known[key].title, escape(row.source), theirs, ours])
    shown = [column for column in report.columns if any(line[1] == column.title for line in lines)]
    for column in shown if report.noise_floor is not None else ():
        real = numbers.metric(column, (report.noise_floor or {}).get(column.key))
        lines.append(["*noise floor: real images*", column.title, "", "", real])
    ours = f"ours, on {report.contract.reference_split}" if report.contract else "ours"
    return table(["loss", "metric", "source", "published", ours], lines, left=3) if lines else ""


def _escaped(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    return table([*map(escape, head)], [[*map(escape, row)] for row in rows], left) if rows else ""


def _contract(report: Report) -> str:
    if report.contract is None:
        return ""
    return table(["contract", "value"], [[k, escape(v)] for k, v in report.contract.fields().items()], left=2)


def _budgets(report: Report) -> str:
    rows = [
        [
            escape(budget.label),
            str(budget.trials),
            numbers.count(budget.search_critic_images),
            numbers.count(budget.search_process_seconds),
            str(budget.runs),
            numbers.count(budget.training_critic_images),
            numbers.count(budget.training_process_seconds),
        ]
        for budget in report.budgets
    ]
    head = ["loss", "trials", "critic images in search", "process-seconds in search"]
    return table([*head, "runs", "critic images in training", "process-seconds in training"], rows)


def _runs(report: Report) -> str:
    rows = [
        [
            f"{escape(run.label)}, seed {run.seed}",
            escape(f"{run.state}: {run.reason}" if run.reason else run.state),
            numbers.count(run.step),
            numbers.count(run.best_step),
            numbers.objective(report.validation_metric, run.initial_objective),
            numbers.objective(report.validation_metric, run.best_objective),
            str(run.world_size),
            numbers.count(run.seconds),
        ]
        for run in report.runs
    ]
    rows += _validation_floor(report, 4, 2) if rows else []
    name = report.validation_metric.upper()
    head = ["run", "state", "generator steps", "best step", f"val {name} untrained", f"val {name} best"]
    return table([*head, "workers", "seconds"], rows, left=2) if rows else ""


def _values(report: Report) -> dict[str, str]:
    """Return each loss's values in one line, as its first run trained with them."""
    found: dict[str, dict[str, Any]] = {}
    for run in report.runs:
        found.setdefault(run.label, {key: v for key, v in run.values.items() if key not in ("name", "label")})
    return {
        escape(label): escape(", ".join(f"{key} {numbers.setting(value)}" for key, value in values.items()))
        for label, values in found.items()
    }


def _fence(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return fence
