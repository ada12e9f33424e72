"""Job status, reconciled with its driver through the Jobs API."""

from __future__ import annotations

import time
from collections.abc import Iterator

from gansvc.client import diagnosis, jobsapi
from gansvc.client.rayclusters import RemoteCluster
from gansvc.errors import ClusterError, SpecError
from gansvc.files import patience
from gansvc.store import jobstatus, submissions
from gansvc.store.driverstate import ENDED
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES, Status
from gansvc.store.submissions import Ask, Submission


def status(cluster: RemoteCluster, job: Job, where: Submission, ask: Ask, trusted: float = 0.0) -> Status:
    """Return how a job stands; one whose driver is gone becomes FAILED or STOPPED, in its folder too if it takes that.

    Args:
        cluster: what it was sent to.
        job: the job.
        where: its last submission.
        ask: asks the cluster.
        trusted: seconds within which a sign of life needs no question to the cluster.
    """
    known = jobstatus.read(job)
    if known.phase in FINAL_PHASES:
        return known
    silence = time.time() - known.updated
    if 0 <= silence < trusted and not cluster.has_ended(where):
        return known
    found = diagnosis.diagnose(cluster, job, where, silence, ask)
    # The driver's clock may be another than this one: silent is who says nothing new now.
    may_live = found.note or (found.end and not found.certain)
    if may_live and (later := jobstatus.watch(job, known)) is not None:
        return later
    return _judge(job, known, where, found)


def follow(cluster: RemoteCluster, job: Job, where: Submission, ask: Ask, interval: float = 1.0) -> Iterator[Status]:
    """Yield a job's status every ``interval`` seconds; the last one is final."""
    known = jobstatus.read(job)
    if not -patience.CLOCKS < time.time() - known.updated < patience.FRESH:
        known = status(cluster, job, where, ask)
    alive, asked, found = time.monotonic(), 0.0, diagnosis.Diagnosis()
    while True:
        yield known
        if known.phase in FINAL_PHASES:
            return
        time.sleep(interval)
        last, known, now = known.updated, jobstatus.read(job), time.monotonic()
        # By this process's own clock: the driver's may be another.
        alive = now if known.updated != last else alive
        if now - alive > patience.FRESH and known.phase not in FINAL_PHASES:
            if now - asked > 5:
                where = submissions.last(job) or where
                found, asked = diagnosis.diagnose(cluster, job, where, now - alive, ask), now
            known = _judge(job, known, where, found)


def await_end(cluster: RemoteCluster, job: Job, where: Submission) -> None:
    """Wait until the driver of a job that has its last status is gone too: two would write to one folder.

    Raises:
        SpecError: it is still at work.
        ClusterError: its cluster can't be asked.
    """
    deadline = time.monotonic() + patience.SILENCE / 2
    while not cluster.has_ended(where):
        try:
            driver = jobsapi.find_driver(cluster.target(where), where.driver(job))
        except ClusterError:
            if not cluster.can_be_asked(where):
                return  # it has been silent
            raise
        if driver is None or driver.state in ENDED:
            return
        if time.monotonic() > deadline:
            raise SpecError(f"JOB: the driver of {job.id} is still at work; end it with `gansvc stop {job.id}`")
        time.sleep(0.5)


def _judge(job: Job, known: Status, where: Submission, found: diagnosis.Diagnosis) -> Status:
    """Return a status as a diagnosis makes it; a job that has ended gets its last one."""
    if found.end is None:
        return known.model_copy(update={"warnings": (*known.warnings, found.note)}) if found.note else known
    # Whoever resumed it meanwhile has given it another driver, of which this says nothing.
    return known if submissions.last(job) != where else jobstatus.finish(job, *found.end)
