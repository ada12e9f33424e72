"""The job's driver: search, train, evaluate, report. Each phase goes on from what the job folder already holds."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from platform import node
from types import FrameType
from typing import NoReturn

from gansvc import compatibility
from gansvc.catalog.labels import REAL
from gansvc.cluster import driver, failures
from gansvc.cluster.monitor import Monitor, refuse
from gansvc.errors import ClusterError, GansvcError, RunError, reason_of
from gansvc.gan import checkpoint
from gansvc.gan.run import RunPlan
from gansvc.gan.scoring import outdated, scorefiles
from gansvc.report import build, ranking
from gansvc.spec import drivercommand, identity, jobfile
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import JobStart, RunRecord, TrialRecord, TrialRecords
from gansvc.store.scores import Score

ENDED = ("finished", "diverged", "stopped early")
"""States of a run that isn't started again."""


def main(arguments: list[str] | None = None) -> int:
    """Run one job to its end and return the exit code: 0 succeeded, 1 failed, 2 the user's input, 3 the cluster."""
    given = drivercommand.parse(arguments)
    try:
        folder = _open_folder(given.job_folder, given.make)
    except GansvcError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    try:
        # The versions first: what a newer client may write in a spec is unknown here.
        warnings = compatibility.check_client(given.client)
        spec = jobfile.unpack(given.spec)
    except GansvcError as error:
        refuse(folder, str(error))
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    try:
        return _run_under_monitor(folder, given.job, spec, warnings)
    except GansvcError as error:  # the storage's, so that no status can be written
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


def _open_folder(uri: str, make: bool) -> Folder:
    """Return a job's folder, which from now on isn't made again should it be taken away.

    Raises:
        ClusterError: it isn't there, or can't be reached.
    """
    folder = Folder(uri, creates=False)
    if make:
        folder.make()
    elif not folder.exists(layout.STATUS):
        raise ClusterError(
            f"--storage: the job's folder {uri} isn't there on {node()}, where its driver runs: it was taken away or "
            "renamed, or isn't shared; put it back, or mount it there under that path, then `gansvc resume`"
        )
    return folder


def _run_under_monitor(folder: Folder, job: str, spec: JobSpec, warnings: Sequence[str]) -> int:
    """Run one job, keep its status, and return the exit code.

    Raises:
        ClusterError: the storage doesn't take the status.
    """
    with Monitor(folder, job, spec) as monitor:
        _end_on_sigterm(monitor)
        monitor.warn(*warnings)
        try:
            run(folder, spec, monitor)
        except (SystemExit, KeyboardInterrupt):
            monitor.end("STOPPED")
            raise
        except BaseException as caught:
            # A worker's error comes with all of its traceback: that is for the log, its sentence for the status.
            error = failures.unwrap(caught)
            if not isinstance(error, GansvcError):
                fault = f"{type(error).__name__}: {failures.last_line(caught)}"
                monitor.end("FAILED", f"gansvc failed by a fault of its own ({fault}); see the log")
                raise
            print(*([] if error is caught else [caught]), f"Error: {error}", sep="\n", file=sys.stderr)  # noqa: T201
            monitor.end("FAILED", str(error))
            return error.exit_code
        monitor.end("SUCCEEDED")
    return 0


def run(folder: Folder, spec: JobSpec, monitor: Monitor) -> None:
    """Take the job through its phases.

    Raises:
        SpecError: an earlier start of the job had another spec or other data.
        RunError: no run of any loss ended with a usable generator.
    """
    monitor.enter("PENDING")
    cluster = driver.connect(spec)
    # Ray puts a handler of its own in place when it connects, and that one wouldn't say STOPPED.
    _end_on_sigterm(monitor)
    cluster.check(folder)
    monitor.warn(*identity.compare_and_keep(folder, identity.of_job(spec, cluster.content)))
    cluster.describe(folder)
    folder.write(layout.JOB, jobfile.dump(spec))
    folder.write_lines(layout.STARTS, [*folder.read_lines(layout.STARTS, JobStart), JobStart(time=time.time())])
    found = spec
    if spec.search:
        monitor.enter("SEARCHING")
        found = search(folder, spec, cluster)
    monitor.enter("TRAINING")
    runs = train(folder, found, cluster)
    monitor.enter("EVALUATING")
    evaluate(folder, found, cluster, runs, monitor)
    monitor.enter("REPORTING")
    report(folder, spec, found, cluster, monitor)


def search(folder: Folder, spec: JobSpec, cluster: driver.Cluster) -> JobSpec:
    """Search every loss and return the spec with the best values; a loss whose trials all failed keeps its own."""
    found = {loss.label: _read_trials(folder / layout.SEARCH / loss.label) for loss in spec.losses}
    if left := [label for label, trials in found.items() if trials is None]:
        found |= cluster.search(spec, left, folder / layout.SEARCH)
    values: dict[str, object] = {}
    for label, trials in found.items():
        if trials and trials[0].objective is not None:
            values |= {f"losses.{label}.{field}": value for field, value in trials[0].values.items()}
    return spec.with_values(values)


def train(folder: Folder, spec: JobSpec, cluster: driver.Cluster) -> list[RunRecord]:
    """Train every loss with every seed and return how the runs ended.

    Raises:
        RunError: a folder holds another run.
    """
    todo, ended, how = [], [], spec.training
    for loss in spec.losses:
        for seed in spec.training.seeds:
            name = layout.run_name(loss.label, seed)
            here, content = folder / layout.TRAIN / name, cluster.content
            plan = RunPlan(spec, loss.label, seed, how.epochs, how.evaluations, how.images, content=content)
            record = checkpoint.run_record(here, plan.identity())
            if record is not None and record.state in ENDED:
                if record.best_step is None or checkpoint.best_digest(here / layout.CHECKPOINTS):
                    ended.append(record)
                    continue
                # Its last checkpoint is of no use: a run that has reached its end isn't scored again.
                for lost in (layout.CHECKPOINTS, layout.SAMPLES):
                    here.delete(lost)
                outdated.delete_results(folder, name)
            here.delete(layout.RUN)
            todo.append((plan, here))
    return [*ended, *cluster.train(spec, todo)]


def evaluate(folder: Folder, spec: JobSpec, cluster: driver.Cluster, runs: list[RunRecord], monitor: Monitor) -> None:
    """Score the best checkpoint of every run that has one, and the noise floor.

    A score that is of other weights, of another run or of other data is made again; so is one whose audit failed.

    Raises:
        RunError: no run has one, or none could be scored.
    """
    usable = [run for run in runs if run.best_step is not None]
    if not usable:
        reasons = "; ".join(f"{layout.run_name(run.label, run.seed)} {run.state}: {run.reason}" for run in runs)
        diverged = any(run.state == "diverged" for run in runs)
        fix = "try lower learning rates" if diverged else "mend what they name, then `gansvc resume` tries them again"
        raise RunError(f"no run has a generator to score ({reasons}); {fix}")
    names = {layout.run_name(run.label, run.seed): run for run in usable}
    for name in (*names, REAL):
        outdated.delete_outdated(folder, spec, name, names.get(name), cluster.images.content)
    failed = cluster.evaluate(spec, usable, folder, monitor.score)
    if set(failed) >= set(names):
        raise RunError(f"no run could be scored ({'; '.join(f'{name}: {why}' for name, why in failed.items())})")
    for name, reason in failed.items():
        monitor.note_missing("the noise floor" if name == REAL else f"the score of {name}", reason)
    for name in (*names, REAL):
        for what, reason in scorefiles.failures(folder / layout.EVALUATION, name):
            monitor.note_missing(what, reason)


def report(folder: Folder, asked: JobSpec, found: JobSpec, cluster: driver.Cluster, monitor: Monitor) -> None:
    """Write the report, then the model folder of its first loss's best seed, which may fail without costing the report.

    Args:
        folder: the job folder.
        asked: the spec that was submitted.
        found: the same with the values that the search found.
        cluster: what exports the model.
        monitor: is told what couldn't be made.
    """
    # A folder that was renamed has another name than the job.
    written = build.build(folder, asked).model_copy(update={"job": monitor.job})
    for name, reason in build.write(folder, written).items():
        monitor.note_missing(f"the figure {name}", reason)
    best = ranking.best_run(written)
    if best is None:
        monitor.note_missing("the model", f"no run has a score in {written.objective}, which ranks")
        return
    name = layout.run_name(best.label, best.seed)
    score = (folder / layout.EVALUATION).read_record(layout.score(name), Score)
    assert score is not None, "a run on the leaderboard has a score"
    try:
        failed = cluster.export(found, best, score, folder, monitor.job)
    except ClusterError:
        raise
    except Exception as error:  # the report is there, and says more than the model
        folder.delete(layout.MODEL)
        monitor.note_missing("the model", reason_of(error))
        return
    for form, reason in failed.items():
        monitor.note_missing(f"{layout.MODEL}/{form}", reason)


def _read_trials(folder: Folder) -> list[TrialRecord] | None:
    """Return the trials of a loss whose search is over, or None."""
    kept = folder.read_record(layout.TRIALS, TrialRecords)
    return None if kept is None else list(kept.root)


def _end_on_sigterm(monitor: Monitor) -> None:
    """End the job at once when a signal asks for it: a user waits for that, and Ray's workers end with their driver."""

    def stopped(signum: int, frame: FrameType | None) -> NoReturn:
        try:
            monitor.end("STOPPED")
        finally:
            # Not by an exception: it would wait for the runs that other threads have begun.
            os._exit(1)

    signal.signal(signal.SIGTERM, stopped)


if __name__ == "__main__":
    sys.exit(main())
