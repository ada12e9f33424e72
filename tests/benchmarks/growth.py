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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from gansvc.cluster import monitor
from gansvc.cluster.monitor import Monitor
from gansvc.store.folder import Folder

from . import made_jobs
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


def requests(trials: int, rounds: int | None = None) -> Measured:
    """Count the requests of a minute, with that many ended trials and some at work."""
    (first, _), looks = _looked(trials, rounds or 3)
    period = monitor.OBJECT_STORAGE_PERIOD
    minutes = [60 * count / (period + took) for count, took in looks]
    what = f"requests a minute, no ratio: {_looking(trials)}; the first look took {first} requests"
    return from_values(f"growth.requests.{trials}", what, minutes)


def look_seconds(trials: int, rounds: int | None = None) -> Measured:
    """Time a look at that many ended trials and some at work."""
    (_, first), looks = _looked(trials, rounds or 3)
    what = f"seconds a look, no ratio: {_looking(trials)}; the first look took {first:.1f} s"
    return from_values(f"growth.look_s.{trials}", what, [took for _, took in looks])


def search_seconds(trials: int, rounds: int | None = None) -> Measured:
    """Time a search of that many trials of one step on the cluster that is up, by the trial."""
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
    return from_values(f"growth.search_s.{trials}", what, found)


def report_seconds(runs: int, trials: int, rounds: int | None = None) -> Measured:
    """Time the report of that many runs and trials."""
    found = _reported(runs, trials, rounds or 1)
    what = f"seconds, no ratio: {_reporting(runs, trials)}"
    return from_values(f"growth.report_s.{runs}", what, [seconds for seconds, _ in found])


def report_memory(runs: int, trials: int, rounds: int | None = None) -> Measured:
    """Measure the most memory of a process that writes the report of that many runs and trials."""
    found = _reported(runs, trials, rounds or 1)
    what = f"MB, no ratio: most memory of the process, {_reporting(runs, trials)}"
    return from_values(f"growth.report_mb.{runs}", what, [most for _, most in found])


BENCHMARKS: dict[str, Callable[[int | None], Measured]] = {
    **{f"growth.requests.{trials}": partial(requests, trials) for trials in TRIALS},
    **{f"growth.look_s.{trials}": partial(look_seconds, trials) for trials in TRIALS},
    **{f"growth.report_s.{runs}": partial(report_seconds, runs, trials) for runs, trials in REPORTED},
    **{f"growth.report_mb.{runs}": partial(report_memory, runs, trials) for runs, trials in REPORTED},
}
ON_CLUSTER: dict[str, Callable[[int | None], Measured]] = {
    f"growth.search_s.{trials}": partial(search_seconds, trials) for trials in SEARCHED
}


def _looking(trials: int) -> str:
    return f"a search of {trials} ended trials and {AT_WORK} at work, by S3's protocol on the loopback interface"


def _reporting(runs: int, trials: int) -> str:
    return f"the report of {runs} runs with {LINES:,} lines of history each and {trials:,} trials"


@cache
def _reported(runs: int, trials: int, rounds: int) -> list[tuple[float, float]]:
    """Write reports, each in a process of its own; return each one's seconds, and the most memory that it had."""
    found = []
    for _ in range(rounds):
        say(f"growth.report.{runs}")
        with tempfile.TemporaryDirectory() as path:
            command = [sys.executable, "-m", f"{__package__}.growth", path, str(runs), str(trials)]
            took, most = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            found.append((took, most))
    return found


@cache
def _looked(trials: int, rounds: int) -> tuple[tuple[int, float], list[tuple[int, float]]]:
    """Return requests and seconds of the first look, and of each one after all trials are known."""
    with _bucket() as (bucket, gate):
        folder = Folder(f"s3://{bucket}/jobs/made-20260101-000000-aaaa")
        say(f"growth.look.{trials}: making the trials")
        made_jobs.searching(folder, trials, AT_WORK)
        watch = Monitor(folder, "made-20260101-000000-aaaa", made_jobs.spec(trials + AT_WORK))
        watch.enter("SEARCHING")

        def look() -> tuple[int, float]:
            gate.clear()
            began = time.monotonic()
            watch.update()
            return len(gate.seen), time.monotonic() - began

        first = look()
        for _ in range(trials // 50):  # each look reads some of those that ended
            look()
        return first, [look() for _ in range(rounds)]


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
    from gansvc.report import build

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
    took = time.monotonic() - began
    # Not getrusage's number, which begins with the memory of the process that started this one.
    (most,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(json.dumps([took, int(most) / 1000]))  # noqa: T201


if __name__ == "__main__":
    _report(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
