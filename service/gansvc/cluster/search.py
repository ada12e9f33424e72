"""The search of the losses' hyper-parameters: one Ray Tune experiment for all of them."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.search import ConcurrencyLimiter

from gansvc.catalog.spaces import Value
from gansvc.cluster import earlier
from gansvc.cluster.distributed import train_distributed
from gansvc.cluster.earlier import WORST
from gansvc.cluster.proposals import Proposal, Proposals, default_values
from gansvc.cluster.schedule import scheduler
from gansvc.cluster.training import Assets, PlannedRun, train_here, trial_report
from gansvc.errors import RunError
from gansvc.files import filesystems
from gansvc.gan import checkpoint
from gansvc.gan.run import RunPlan
from gansvc.spec.capacity import WorkerResources
from gansvc.spec.job import JobSpec, Search
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.parallel import ask_all
from gansvc.store.records import RunRecord, TrialRecord, ValidationScore

LEFTOVER = ".tune"
"""Folder that earlier versions kept Tune's own files in, in a search's folder."""
_RETRIES = 2


def search(
    spec: JobSpec, labels: Sequence[str], assets: Assets, folder: Folder, resources: WorkerResources, at_once: int
) -> dict[str, list[TrialRecord]]:
    """Search losses and return each one's trials, best first; also written to ``label``/trials.json.

    One experiment serves all losses: its processes start once, and none is idle while another loss has trials left.
    Where an earlier start of the job was cut off, its trials that are over aren't repeated, the others go on from their
    checkpoints, and ASHA's rungs and Optuna's studies know the scores of all.

    Args:
        spec: a spec with a search section.
        labels: labels of the losses, at least one.
        assets: images and validator.
        folder: the job's search folder.
        resources: what a trial's worker asks of the cluster.
        at_once: trials that run at the same time.

    Raises:
        RunError: the spec has no search section.
    """
    settings = spec.search
    if settings is None:
        raise RunError("the spec has no search section")
    begun = earlier.read_trials(spec, labels, folder)
    proposals = Proposals(spec, labels, begun)
    if any(begun.values()):
        folder.delete(LEFTOVER)
    if proposals.left():
        tune_config = tune.TuneConfig(
            metric="objective",
            mode="min",
            num_samples=proposals.left(),
            search_alg=ConcurrencyLimiter(proposals, max_concurrent=at_once),
            scheduler=scheduler(spec, labels, begun, assets.train_images),
            reuse_actors=settings.workers == 1,
        )
        trainable = partial(_train_trial, spec=spec, assets=assets, folder=folder, resources=resources)
        _run_experiment(tune.with_resources(trainable, trial_resources(settings, resources)), tune_config, folder)
    return {label: _write_trials(spec, label, folder / label) for label in labels}


def _run_experiment(trainable: Any, tune_config: Any, folder: Folder) -> None:
    """Run the experiment; Tune's own files stay in a folder of this process alone.

    Nobody reads them: what a trial leaves is in its own folder, and a resumed search is told by those. In the job's
    storage Tune would put every trial, ended ones too, again every ten seconds.
    """
    keep_keys_at_home()
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "1e9"}
    # It would complain of each trial that its loggers have left nothing.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="gansvc-tune-") as scratch:
        run_config = tune.RunConfig(
            name="search",
            storage_path=scratch,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=_RETRIES),
            callbacks=[TrialEndMarker(folder)],
        )
        tune.Tuner(trainable, tune_config=tune_config, run_config=run_config).fit()


def keep_keys_at_home() -> None:
    """Keep Tune from sending S3's keys to its workers in their runtime environment, which Ray logs.

    The workers have them from their node's own environment.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(filesystems.credential_variables("s3://"))


class TrialEndMarker(tune.Callback):  # type: ignore[misc]
    """Marks the folder of each trial that is over: one that was stopped early leaves no record of its own."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._mark(trial, "")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._mark(trial, str(trial.get_error() or "unknown"))

    def _mark(self, trial: Any, reason: str) -> None:
        proposal = Proposal(**trial.config)
        (self._folder / proposal.label / proposal.trial).write(layout.TRIAL_ENDED, reason)


def _train_trial(
    config: dict[str, Any], spec: JobSpec, assets: Assets, folder: Folder, resources: WorkerResources
) -> None:
    """Train one trial: in the Tune actor's own process, or by a group of workers that it starts."""
    settings, (label, name, values) = spec.search, Proposal(**config)
    assert settings is not None
    trial = folder / label / name
    for stale in (layout.TRIAL_ENDED, layout.RAY_SCRATCH):
        trial.delete(stale)
    trial.write(layout.VALUES, json.dumps(values))
    todo = _planned_runs(spec, label, values, trial, assets.content)
    before = trial_report(todo)

    def report(scored: ValidationScore) -> None:
        tune.report(trial_report(todo))

    if settings.workers > 1:
        train_distributed(todo, assets, resources, settings.workers, (TuneReportCallback(),))
        trial.delete(layout.RAY_SCRATCH)
    else:
        for plan, here in todo:
            record = checkpoint.run_record(here, plan.identity()) or train_here(plan, assets, here, resources, report)
            if record.state == "diverged":
                break
    diverged = any((ran := here.read_record(layout.RUN, RunRecord)) and ran.state == "diverged" for _, here in todo)
    # A trial that was cut off after its last score has told nothing in this start.
    if diverged or trial_report(todo) == before:
        tune.report(trial_report(todo) | ({"objective": WORST} if diverged else {}))


def _planned_runs(
    spec: JobSpec, label: str, values: dict[str, Value], trial: Folder, content: Mapping[str, str]
) -> list[PlannedRun]:
    """Return the trainings of a trial: one for each seed of the search, in a folder of its own."""
    settings, how = spec.search, spec.trial_training()
    assert settings is not None
    sampled = spec.with_values({f"losses.{label}.{field}": value for field, value in values.items()})
    return [
        (
            RunPlan(sampled, label, seed, how.epochs, settings.evaluations, how.images, is_trial=True, content=content),
            trial / layout.seed_name(seed),
        )
        for seed in range(settings.seed, settings.seed + settings.seeds)
    ]


def trial_resources(settings: Search, resources: WorkerResources) -> dict[str, float]:
    """Return a trial's own request: next to nothing where it starts workers, or the two would wait for each other."""
    if settings.workers > 1:
        return {"memory": 1}
    return {name.lower(): amount for name, amount in resources.bundle().items()}


def _write_trials(spec: JobSpec, label: str, folder: Folder) -> list[TrialRecord]:
    """Write down one loss's trials, best first, and clear away what nobody needs after the search."""
    trials = ask_all(folder, partial(_read_trial, spec, label), earlier.list_trials(folder))
    # A trial that was stopped after fewer seeds was not the best of those that had them all.
    trials.sort(key=lambda t: (t.objective is None, t.state == "diverged", -len(t.objectives), t.objective or 0.0))
    folder.write(layout.TRIALS, json.dumps([trial.model_dump(mode="json") for trial in trials], indent=2) + "\n")
    # A trial's weights served the search alone; its history and scores stay.
    weights = {name.rpartition("/")[0] for name in folder.tree() if name.split("/")[2:3] == [layout.CHECKPOINTS]}
    ask_all(folder, folder.delete, (path for path in weights if path.partition("/")[0] in {t.trial for t in trials}))
    return trials


def _read_trial(spec: JobSpec, label: str, trial: Folder) -> TrialRecord:
    """Return what a trial left in its folder."""
    settings = spec.search
    assert settings is not None
    values, failed = earlier.read_values(trial), (trial.read(layout.TRIAL_ENDED) or b"").decode(errors="replace")
    seeds = range(settings.seed, settings.seed + settings.seeds)
    plans = [(seed, trial / layout.seed_name(seed)) for seed in seeds]
    records = [record for _, here in plans if (record := here.read_record(layout.RUN, RunRecord))]
    scores = {seed: scored for seed, here in plans if (scored := here.read_lines(layout.EVALUATIONS, ValidationScore))}
    objectives = {seed: min(line.objective for line in scored) for seed, scored in scores.items()}
    ended = next((record for record in records if record.state == "diverged"), None)
    if ended is None and len(records) == len(plans):
        ended = records[-1]
    spent = {seed: (scored[-1].critic_images, scored[-1].seconds) for seed, scored in scores.items()}
    spent |= {record.seed: (record.critic_images, record.seconds) for record in records}
    return TrialRecord(
        trial=trial.uri.rpartition("/")[2],
        label=label,
        values=values,
        defaults=values == default_values(spec, label),
        state=ended.state if ended else ("failed" if failed else "stopped early"),
        reason=ended.reason if ended else failed.strip().rpartition("\n")[2],
        objective=fmean(objectives.values()) if objectives else None,
        objectives=objectives,
        critic_images=sum(images for images, _ in spent.values()),
        seconds=sum(seconds for _, seconds in spent.values()),
    )
