"""How a job stands, told truly: a status whose driver is gone doesn't stay at work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from platform import node

from gansvc.client import access, diagnosis, local
from gansvc.client import jobsapi as drivers
from gansvc.client.kuberay import namespace
from gansvc.client.kuberay import status as kubestatus
from gansvc.errors import ClusterError, RunError, SpecError
from gansvc.store import jobstatus, layout, submissions
from gansvc.store.driverstate import ENDED
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES, FRESH, Status
from gansvc.store.submissions import LOCAL, Submission

WATCH = 5.0
"""Seconds for which the status of a job that seems silent is watched: two of its driver's periods and a second."""
_OBJECT_STORAGE_WATCH = 21.0


def status(job: Job, look: diagnosis.Look = diagnosis.ask, trusted: float = 0.0) -> Status:
    """Return how a job stands; one whose driver is gone becomes FAILED or STOPPED, in its folder too if it takes that.

    Args:
        job: the job.
        look: asks the cluster.
        trusted: seconds within which a sign of life needs no question to the cluster.
    """
    known, where = jobstatus.read(job), submissions.last(job)
    if where and (space := namespace.of(where)):
        name = where.driver(job)
        return kubestatus.status(job, known, space, name, where.mirrored, lambda: look(where, name))
    if known.phase in FINAL_PHASES:
        return known
    silence = time.time() - known.updated
    if 0 <= silence < trusted and not (where and access.has_ended(where)):
        return known
    found = diagnosis.diagnose(job, where, silence, look)
    if found.note or (found.end and not found.certain):
        # The driver's clock may be another than this one: silent is who says nothing new now.
        seconds = WATCH if Folder(job.folder).local else _OBJECT_STORAGE_WATCH
        if (later := _watch(job, known, seconds)) is not None:
            return later
    return _judged(job, known, where, found)


def follow(job: Job, interval: float = 1.0) -> Iterator[Status]:
    """Yield a job's status every ``interval`` seconds; the last one is final."""
    if (where := submissions.last(job)) and (space := namespace.of(where)):
        yield from kubestatus.follow(space, where.driver(job), lambda: status(job))
        return
    known = jobstatus.read(job)
    if not -diagnosis.CLOCKS < time.time() - known.updated < FRESH:
        known = status(job)
    alive, asked, found = time.monotonic(), 0.0, diagnosis.Diagnosis()
    while True:
        yield known
        if known.phase in FINAL_PHASES:
            return
        time.sleep(interval)
        last, known, now = known.updated, jobstatus.read(job), time.monotonic()
        # By this process's own clock: the driver's may be another.
        alive = now if known.updated != last else alive
        if now - alive > FRESH and known.phase not in FINAL_PHASES:
            if now - asked > 5:
                found, asked = diagnosis.diagnose(job, where := submissions.last(job), now - alive), now
            known = _judged(job, known, where, found)


def stop(job: Job) -> Status:
    """Stop a job, wait until its driver has ended, and return its last status.

    Raises:
        ClusterError: the cluster can't be reached, or the driver doesn't end.
        RunError: it isn't known where the job was sent.
    """
    known = status(job)
    if known.phase in FINAL_PHASES:
        return known
    where = submissions.last(job)
    if where is None:
        raise RunError(f"{job.id} has no {layout.SUBMISSION}, so its cluster isn't known; stop it there")
    if space := namespace.of(where):
        kubestatus.stop(job, space, where.driver(job))
    else:
        drivers.stop(access.target(where), where.driver(job))
    return jobstatus.finish(job, "STOPPED", "stopped by the user")


def await_end(job: Job, where: Submission) -> None:
    """Wait until the driver of a job that has its last status is gone too: two would write to one folder.

    Raises:
        SpecError: it is still at work.
        ClusterError: its cluster can't be asked.
    """
    deadline = time.monotonic() + diagnosis.SILENCE / 2
    while not access.has_ended(where):
        try:
            driver = drivers.look(access.target(where), where.driver(job))
        except ClusterError:
            if where.cluster == LOCAL and where.host != node():
                return  # nobody here can ask that machine; it has been silent
            raise
        if driver is None or driver.state in ENDED:
            return
        if time.monotonic() > deadline:
            raise SpecError(f"JOB: the driver of {job.id} is still at work; end it with `gansvc stop {job.id}`")
        time.sleep(0.5)


def log(job: Job, follow_it: bool = False, attempt: int | None = None) -> Iterator[str]:
    """Yield what a job's driver wrote, in pieces; when following, until it has ended.

    Args:
        job: the job.
        follow_it: whether to wait for more.
        attempt: which of its submissions, from 1; the last one if left out.

    Raises:
        ClusterError: the cluster can't be reached and no log was kept.
        RunError: it isn't known where the job was sent.
        SpecError: the job has no such attempt.
    """
    last = submissions.last(job)
    if last is None:
        raise RunError(f"{job.id} has no {layout.SUBMISSION}, so its cluster isn't known; look for its log there")
    where = next((one for one in (*last.earlier, last) if one.attempt == (attempt or last.attempt)), None)
    if where is None:
        raise SpecError(f"--attempt: {job.id} has no attempt {attempt}; give 1 to {last.attempt}")
    if space := namespace.of(where):
        yield from kubestatus.log(job, space, where.driver(job), follow_it)
        return
    if not access.has_ended(where):
        yield from drivers.logs(access.target(where), where.driver(job), follow_it)
        return
    kept = local.kept_log(where.driver(job), Path(where.home))
    if kept is None:
        raise ClusterError(f"the local cluster that ran {job.id} has ended, and its log with it; {diagnosis.hint(job)}")
    yield kept


def _judged(job: Job, known: Status, where: Submission | None, found: diagnosis.Diagnosis) -> Status:
    """Return a status as a diagnosis makes it; a job that has ended gets its last one."""
    if found.end is None:
        return known.model_copy(update={"warnings": (*known.warnings, found.note)}) if found.note else known
    # Whoever resumed it meanwhile has given it another driver, of which this says nothing.
    return known if submissions.last(job) != where else jobstatus.finish(job, *found.end)


def _watch(job: Job, known: Status, seconds: float) -> Status | None:
    """Wait for a job's next sign of life and return its status then, or None if there was none."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.5)
        if (now := jobstatus.read(job)).updated != known.updated:
            return now
    return None
