"""growth: what a job costs as it grows, in requests, seconds and memory, and whether that grows faster than the work.

The looks of a job's monitor are counted at S3's own protocol, through a proxy before moto's server on the loopback
interface; the folders are made, not trained.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from gansvc import monitor
from gansvc.monitor import Monitor
from gansvc.store import Folder

from .measured import Measured, from_values, say

TRIALS = (10, 100, 1000)
"""Trials that have ended, under a monitor's look."""
AT_WORK = 4
SEARCHED = (10, 40, 160)
"""Trials of a search."""
REPORTED = ((20, 256), (200, 2560))
"""Runs and trials of a report."""
LINES = 2000
"""Of each run's history."""


def looks(trials: int, rounds: int | None = None) -> list[Measured]:
    """Look at a search of so many ended trials, and some at work: requests a minute, and seconds."""
    first, counts, seconds = _looked(trials, rounds or 3)
    period = monitor._OBJECT_STORAGE_PERIOD
    what = (
        f"a search of {trials} ended trials and {AT_WORK} at work, by S3's protocol on the loopback interface; the "
        f"first look, which finds them all ended, took {first[0]} requests and {first[1]:.1f} s"
    )
    minutes = [60 * count / (period + took) for count, took in zip(counts, seconds, strict=True)]
    return [
        from_values(f"growth.requests.{trials}", f"requests a minute, no ratio: {what}", minutes),
        from_values(f"growth.look_s.{trials}", f"seconds a look, no ratio: {what}", seconds),
    ]


def search(trials: int, rounds: int | None = None) -> list[Measured]:
    """Search so many trials of one step on the cluster that is up: seconds a trial."""
    from gansvc.cluster import driver

    from .job import job, settings

    budget = {"trials": trials, "images": 1, "evaluations": 1, "scheduler": "none"}
    spec = job(losses=["lsgan"], network__width=8, search=budget, evaluation__validation_samples=50)
    cluster, found = driver.connect(spec), []
    for _ in range(rounds or 1):
        say(f"growth.search_s.{trials}")
        with tempfile.TemporaryDirectory() as path:
            began = time.monotonic()
            cluster.search(spec, ["lsgan"], Folder(path))
            found.append((time.monotonic() - began) / trials)
    what = f"seconds a trial, no ratio: a search of {trials} trials of one step, its start counted in: {settings(spec)}"
    return [from_values(f"growth.search_s.{trials}", what, found)]


def report(runs: int, trials: int, rounds: int | None = None) -> list[Measured]:
    """Write the report of so many runs and trials in a process of its own: seconds, and the most memory it had."""
    seconds, memory = [], []
    for _ in range(rounds or 1):
        say(f"growth.report.{runs}")
        with tempfile.TemporaryDirectory() as path:
            command = [sys.executable, "-m", f"{__package__}.growth", path, str(runs), str(trials)]
            took, most = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            seconds.append(took)
            memory.append(most)
    what = f"the report of {runs} runs with {LINES:,} lines of history each and {trials} trials"
    return [
        from_values(f"growth.report_s.{runs}", f"seconds, no ratio: {what}", seconds),
        from_values(f"growth.report_mb.{runs}", f"MB, no ratio: most memory of the process, {what}", memory),
    ]


@cache
def _looked(trials: int, rounds: int) -> tuple[tuple[int, float], list[int], list[float]]:
    """Return requests and seconds of the first look, and of each later one."""
    from . import made_jobs

    with _bucket() as (bucket, gate):
        folder = Folder(f"s3://{bucket}/jobs/made-20260101-000000-aaaa")
        say(f"growth.look.{trials}: making the trials")
        made_jobs.searching(folder, trials, AT_WORK)
        watch = Monitor(folder, "made-20260101-000000-aaaa", made_jobs.spec(trials + AT_WORK))
        watch._status = watch._status.model_copy(update={"phase": "SEARCHING"})
        look = getattr(watch, "look", None) or watch._write
        found = []
        for _ in range(1 + rounds):
            gate.clear()
            began = time.monotonic()
            look()
            found.append((len(gate.seen), time.monotonic() - began))
    return found[0], [count for count, _ in found[1:]], [took for _, took in found[1:]]


@contextmanager
def _bucket() -> Iterator[tuple[str, Any]]:
    """Run an S3 server with a gate before it, and yield the name of a bucket and the gate."""
    # The tests' own, which stands beside this package: `make bench` has the tests' folder on its path.
    object_storage = import_module("object_storage")
    with tempfile.TemporaryDirectory() as path, object_storage.served(Path(path, "server.log")) as url:
        gate, name = object_storage.Gate(url), f"bucket-{secrets.token_hex(4)}"
        os.environ |= object_storage.environment(gate.url)
        object_storage.request(url, "PUT", f"/{name}")
        try:
            yield name, gate
        finally:
            gate.close()


def _report(path: str, runs: int, trials: int) -> None:
    import resource

    from gansvc.report import build

    from . import made_jobs

    losses = made_jobs.LABELS
    seeds, each = runs // len(losses), trials // len(losses)
    folder, spec = Folder(path), made_jobs.spec(each, seeds, losses)
    pid = os.fork()
    if pid == 0:  # what making the folder takes isn't the report's
        made_jobs.trained(folder, seeds, LINES)
        made_jobs.searched(folder, each)
        os._exit(0)
    os.waitpid(pid, 0)
    began = time.monotonic()
    build.write(folder, build.build(folder, spec))
    print(json.dumps([time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000]))  # noqa: T201


if __name__ == "__main__":
    _report(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
