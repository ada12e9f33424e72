"""The job itself: search, train, evaluate, report. Each phase goes on from what the job folder already holds."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from gansvc import specfile, versions
from gansvc.cluster import driver
from gansvc.errors import GansvcError, RunError
from gansvc.gan import checkpoint
from gansvc.gan.plan import RunPlan
from gansvc.monitor import Monitor, refuse
from gansvc.records import STARTS, JobStart, RunRecord, Score, TrialRecord
from gansvc.report import build
from gansvc.spec import JobSpec
from gansvc.store import Folder, run_name

ENDED = ("finished", "diverged", "stopped early")
"""States of a run that isn't started again."""


def main(arguments: list[str] | None = None) -> int:
    """Run one job to its end and return the exit code: 0 succeeded, 1 failed, 2 the user's input, 3 the cluster."""
    parser = argparse.ArgumentParser(prog="python -m gansvc.pipeline", description=__doc__)
    parser.add_argument("--job", required=True, help="the job's id: its folder's name")
    parser.add_argument("--storage", required=True, help="folder or URI that holds the job folders")
    parser.add_argument("--spec", required=True, help="the spec: base64 of zlib of YAML")
    parser.add_argument("--client", default=versions.here(), help="the versions of the client that sent the job")
    given = parser.parse_args(arguments)
    folder = Folder(given.storage) / given.job
    try:
        # The versions first: what a newer client may write in a spec is unknown here.
        warnings = versions.check_client(given.client)
        spec = specfile.unpacked(given.spec)
    except GansvcError as error:
        refuse(folder, str(error))
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    try:
        return _watched(folder, given.job, spec, warnings)
    except GansvcError as error:  # the storage's, so that no status can be written
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


def _watched(folder: Folder, job: str, spec: JobSpec, warnings: Sequence[str]) -> int:
    """Run one job, keep its status, and return the exit code.

    Raises:
        ClusterError: the storage doesn't take the status.
    """
    with Monitor(folder, job, spec) as monitor:
        _end_when_told(monitor)
        monitor.warn(*warnings)
        try:
            run(folder, spec, monitor)
        except GansvcError as error:
            print(f"Error: {error}", file=sys.stderr)  # noqa: T201
            monitor.end("FAILED", str(error))
            return error.exit_code
        except (SystemExit, KeyboardInterrupt):
            monitor.end("STOPPED")
            raise
        except BaseException as error:
            monitor.end("FAILED", f"gansvc failed by a fault of its own ({type(error).__name__}: {error}); see the log")
            raise
        monitor.end("SUCCEEDED")
    return 0


def run(folder: Folder, spec: JobSpec, monitor: Monitor) -> None:
    """Take the job through its phases.

    Raises:
        RunError: no run of any loss ended with a usable generator.
    """
    folder.write("job.yaml", specfile.dump(spec))
    folder.write_lines(STARTS, [*folder.read_lines(STARTS, JobStart), JobStart(time=time.time())])
    monitor.enter("PENDING")
    cluster = driver.connect(spec)
    # Ray puts a handler of its own in place when it connects, and that one wouldn't say STOPPED.
    _end_when_told(monitor)
    cluster.check(folder)
    if spec.search:
        monitor.enter("SEARCHING")
        spec = search(folder, spec, cluster)
    monitor.enter("TRAINING")
    runs = train(folder, spec, cluster)
    monitor.enter("EVALUATING")
    scores = evaluate(folder, spec, cluster, runs)
    monitor.enter("REPORTING")
    report(folder, spec, cluster, runs, scores)


def search(folder: Folder, spec: JobSpec, cluster: driver.Cluster) -> JobSpec:
    """Search every loss and return the spec with the best values; a loss whose trials all failed keeps its own."""
    found = {loss.label: _searched(folder / "search" / loss.label) for loss in spec.losses}
    if left := [label for label, trials in found.items() if trials is None]:
        found |= cluster.search(spec, left, folder / "search")
    values: dict[str, object] = {}
    for label, trials in found.items():
        if trials and trials[0].objective is not None:
            values |= {f"losses.{label}.{field}": value for field, value in trials[0].values.items()}
    return spec.with_values(values)


def train(folder: Folder, spec: JobSpec, cluster: driver.Cluster) -> list[RunRecord]:
    """Train every loss with every seed and return how the runs ended."""
    todo, ended, how = [], [], spec.training
    for loss in spec.losses:
        for seed in spec.training.seeds:
            here = folder / "train" / run_name(loss.label, seed)
            record = here.read_record("run.json", RunRecord)
            if record is not None and record.state in ENDED:
                if record.best_step is None or checkpoint.has_best(here / "checkpoints"):
                    ended.append(record)
                    continue
                # Its last checkpoint is of no use: a run that has reached its end isn't scored again.
                here.delete("checkpoints")
            here.delete("run.json")
            todo.append((RunPlan(spec, loss.label, seed, how.epochs, how.evaluations, how.images), here))
    return [*ended, *cluster.train(spec, todo)]


def evaluate(folder: Folder, spec: JobSpec, cluster: driver.Cluster, runs: list[RunRecord]) -> list[Score]:
    """Score the best checkpoint of every run that has one, and the noise floor.

    Raises:
        RunError: no run has one.
    """
    usable = [run for run in runs if run.best_step is not None]
    if not usable:
        reasons = "; ".join(f"{run_name(run.label, run.seed)} {run.state}: {run.reason}" for run in runs)
        diverged = any(run.state == "diverged" for run in runs)
        fix = "try lower learning rates" if diverged else "mend what they name, then `gansvc resume` tries them again"
        raise RunError(f"no run has a generator to score ({reasons}); {fix}")
    return cluster.evaluate(spec, usable, folder)


def report(folder: Folder, spec: JobSpec, cluster: driver.Cluster, runs: list[RunRecord], scores: list[Score]) -> None:
    """Write the report, and the model folder of the winner's best seed."""
    asked = specfile.read(folder.read("job.yaml") or b"", folder.path("job.yaml"))
    written = build.build(folder, asked)
    cluster.export_best(spec, written.leaderboard[0].label, runs, scores, folder)
    build.write(folder, written)


def _searched(folder: Folder) -> list[TrialRecord] | None:
    """Return the trials of a loss whose search is over, or None."""
    kept = folder.read("trials.json")
    return None if kept is None else [TrialRecord.model_validate(trial) for trial in json.loads(kept)]


def _end_when_told(monitor: Monitor) -> None:
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
