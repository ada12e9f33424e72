"""Report warnings: restarts, failures, missing seeds, unequal budgets, metrics that too few images make unreliable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import lcm

from gansvc.catalog.extractors import EXTRACTORS
from gansvc.catalog.labels import REAL
from gansvc.catalog.metrics import METRICS
from gansvc.report.numbers import join_words, metric_title, pluralise
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.records import JobStart, RunRecord, TrialRecord
from gansvc.store.scores import Contract, Score

_TOLERANCE = 0.01
"""Share by which budgets may differ without a word: whole batches seldom fill one to the last image."""


def warnings(
    spec: JobSpec,
    runs: Sequence[RunRecord],
    scores: Sequence[Score],
    trials: Mapping[str, Sequence[TrialRecord]],
    floor: Score | None,
) -> tuple[str, ...]:
    """Return the warnings, one sentence each, the gravest first."""
    contract = scores[0].contract if scores else None
    return (
        *_seed_warnings(spec, runs, scores),
        *_run_warnings(runs),
        *_budget_warnings(spec, runs, trials),
        *_metric_warnings(spec, contract, scores),
        *_floor_warnings(scores, floor),
        *_contract_warnings(scores, floor),
        *_trial_warnings(trials),
    )


def resume_warnings(starts: Sequence[JobStart]) -> list[str]:
    """Return how often the job was resumed, as a sentence, or nothing."""
    if len(starts) < 2:
        return []
    last = datetime.fromtimestamp(starts[-1].time, UTC)
    return [f"the job was resumed {pluralise(len(starts) - 1, 'time')}, at last on {last:%Y-%m-%d at %H:%M} UTC"]


def _seed_warnings(spec: JobSpec, runs: Sequence[RunRecord], scores: Sequence[Score]) -> list[str]:
    found = []
    if len(spec.training.seeds) == 1 and len(spec.losses) > 1:
        found.append("one seed only: the ranking isn't supported by seeds; give training.seeds three or more")
    recorded = {(run.label, run.seed): run for run in runs}
    scored = {(score.label, score.seed) for score in scores}
    for loss in spec.losses:
        done = [seed for seed in spec.training.seeds if (loss.label, seed) in scored]
        for seed in spec.training.seeds:
            run = recorded.get((loss.label, seed))
            if run is None:
                found.append(f"{layout.run_name(loss.label, seed)} was not trained")
            elif seed not in done and run.state in ("finished", "stopped early"):
                found.append(f"{layout.run_name(loss.label, seed)} was trained but not scored")
        if done and len(done) < len(spec.training.seeds):
            found.append(
                f"{loss.label} is averaged over {len(done)} of {pluralise(len(spec.training.seeds), 'seed')}; "
                "the seeds left out may be its worst"
            )
    return found


def _run_warnings(runs: Sequence[RunRecord]) -> list[str]:
    found = []
    for run in runs:
        name = layout.run_name(run.label, run.seed)
        if run.state in ("diverged", "failed"):
            found.append(f"{name} {run.state} at step {run.step}: {run.reason or 'no reason was recorded'}")
        if run.starts > 1:
            found.append(f"{name} was restarted {pluralise(run.starts - 1, 'time')}")
        found += [f"{name}: {warning}" for warning in run.warnings]
        start, best = run.initial_objective, run.best_objective
        if start is not None and best is not None and best >= start:
            found.append(f"{name} never beat its untrained generator on the validation split")
    return found


def _budget_warnings(
    spec: JobSpec, runs: Sequence[RunRecord], trials: Mapping[str, Sequence[TrialRecord]]
) -> list[str]:
    """Return where losses, or trials, that came to their end were given unequal budgets, and how to make them equal."""
    ended = [run for run in runs if run.state == "finished"]
    steps = lcm(*(int(run.values.get("n_critic", 1)) for run in ended))
    found = _unequal_budgets("run", "training", {run.label: run.critic_images for run in ended}, spec, steps)
    seeds = spec.search.seeds if spec.search else 1
    tried = {
        f"{trial.trial} of {label}": (
            trial.critic_images // seeds,
            trial.values.get("n_critic", spec.loss(label).n_critic),
        )
        for label, records in trials.items()
        for trial in records
        if trial.state == "finished"
    }
    images = {name: count for name, (count, _) in sorted(tried.items(), key=lambda item: item[1][0])}
    ends = {name: images[name] for name in (*list(images)[:1], *list(images)[-1:])}
    steps = lcm(*(int(n_critic) for _, n_critic in tried.values()))
    return found + _unequal_budgets("trial", "search", ends, spec, steps)


def _unequal_budgets(what: str, section: str, images: Mapping[str, int], spec: JobSpec, n_critic: int) -> list[str]:
    if not images or max(images.values()) <= (1 + _TOLERANCE) * min(images.values()):
        return []
    join_words = ", ".join(f"{name} {count:,}" for name, count in images.items())
    return [
        f"{what} budgets are unequal in critic images ({join_words}), as n_critic doesn't divide the budget's batches; "
        f"set {section}.images to a multiple of {spec.training.batch_size * n_critic:,}"
    ]


def _trial_warnings(trials: Mapping[str, Sequence[TrialRecord]]) -> list[str]:
    return [
        f"trial {trial.trial} of {label} {trial.state}: {trial.reason or 'no reason was recorded'}"
        for label, records in trials.items()
        for trial in records
        if trial.state in ("diverged", "failed")
    ]


def rank_deficient(contract: Contract | None) -> bool:
    """Return whether FID under a contract compares covariances of which one hasn't full rank."""
    return contract is not None and min(contract.samples, contract.reference_images) <= _dimensions(contract)


def _dimensions(contract: Contract) -> int:
    entry = EXTRACTORS.get(contract.extractor)
    return entry.dimensions if entry else 0


def _metric_warnings(spec: JobSpec, contract: Contract | None, scores: Sequence[Score]) -> list[str]:
    if contract is None:
        return []
    found = []
    ranked = [METRICS[name].columns[0].title for name in spec.evaluation.metrics if METRICS[name].columns[0].has_rank]
    if ranked and rank_deficient(contract):
        found.append(
            f"{join_words(ranked)} is rank-deficient: {pluralise(contract.samples, 'sample')} and "
            f"{pluralise(contract.reference_images, 'reference image')} for {_dimensions(contract)} feature "
            "dimensions; read KID instead"
        )
    found += _missing_metrics(scores)
    return found


def _missing_metrics(scores: Sequence[Score]) -> list[str]:
    """Return what scores lack and why, one sentence for each reason; runs are named where others have the metric."""
    runs: dict[tuple[str, str], list[str]] = {}
    for score in scores:
        for key, why in score.skipped.items():
            runs.setdefault((key, why), []).append(layout.run_name(score.label, score.seed))
    columns: dict[tuple[str, str], list[str]] = {}
    for (key, why), names in runs.items():
        of = f" of {', '.join(names)}" if any(key in score.metrics for score in scores) else ""
        columns.setdefault((of, why), []).append(metric_title(key))
    return [
        f"{', '.join(titles)}{of} {'was' if len(titles) == 1 else 'were'} left out: {why}"
        for (of, why), titles in columns.items()
    ]


def _contract_warnings(scores: Sequence[Score], floor: Score | None) -> list[str]:
    """Return what some scores' contracts lack, being of an earlier version, and others' have."""
    lacking = [score.contract.lacking for score in (*scores, *((floor,) if floor else ()))]
    unknown = set[str]().union(*lacking) - set.intersection(*lacking) if lacking else ()
    names = ", ".join(sorted(unknown))
    return [f"whether all scores were made alike isn't known: older ones lack {names}"] if names else []


def _floor_warnings(scores: Sequence[Score], floor: Score | None) -> list[str]:
    if not scores:
        return []
    contract, measured = scores[0].contract, {key for score in scores for key in score.metrics}
    if floor is None:
        lost = f"{layout.EVALUATION}/{layout.score(REAL)}"
        return [f"there is no noise floor: the real images were not scored ({lost} is missing)"]
    found = []
    if floor.contract.kid_subset_size != contract.kid_subset_size:
        found.append(
            f"the noise floor's KID is taken over subsets of {floor.contract.kid_subset_size} images, "
            f"the losses' over {contract.kid_subset_size}; the means compare, the deviations don't"
        )
    found += [
        f"the noise floor has no {metric_title(key)}: {why}" for key, why in floor.skipped.items() if key in measured
    ]
    return found
