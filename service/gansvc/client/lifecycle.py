"""What is done with a job after it was sent: status, logs, stop and resume, by its cluster's backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from gansvc.client import backend
from gansvc.errors import RunError, SpecError
from gansvc.files import patience
from gansvc.spec import jobfile
from gansvc.spec.identity import of_job, refuse_another
from gansvc.store import jobstatus, layout, submissions
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES, Status
from gansvc.store.submissions import Ask, Submission


def status(job: Job, ask: Ask | None = None, trusted: float = 0.0) -> Status:
    """Return how a job stands; one whose driver is gone becomes FAILED or STOPPED, in its folder too if it takes that.

    Args:
        job: the job.
        ask: asks the cluster, in place of the backend.
        trusted: seconds within which a sign of life needs no question to the cluster.
    """
    where = submissions.last(job)
    if where is None:
        return _status_unsent(job)
    chosen = backend.choose(where.cluster)
    return chosen.status(job, where, ask or chosen.ask, trusted)


def follow(job: Job) -> Iterator[Status]:
    """Yield a job's status every second, or when it changes; the last one is final."""
    while (where := submissions.last(job)) is None:
        yield (known := _status_unsent(job))
        if known.phase in FINAL_PHASES:
            return
        time.sleep(1)
    yield from backend.choose(where.cluster).follow(job, where)


def logs(job: Job, follow: bool = False, attempt: int | None = None) -> Iterator[str]:
    """Yield what a job's driver wrote, in pieces; when following, until it has ended.

    Args:
        job: the job.
        follow: whether to wait for more.
        attempt: which of its submissions, from 1; the last one if left out.

    Raises:
        ClusterError: the cluster can't be reached and no log was kept.
        RunError: it isn't known where the job was sent.
        SpecError: the job has no such attempt.
    """
    last = _sent(job, "look for its log there")
    where = next((one for one in (*last.earlier, last) if one.attempt == (attempt or last.attempt)), None)
    if where is None:
        raise SpecError(f"--attempt: {job.id} has no attempt {attempt}; give 1 to {last.attempt}")
    yield from backend.choose(where.cluster).logs(job, where, follow)


def stop(job: Job) -> Status:
    """Stop a job, wait until its driver has ended, and return its last status.

    Raises:
        ClusterError: the cluster can't be reached, or the driver doesn't end.
        RunError: it isn't known where the job was sent.
    """
    known = status(job)
    if known.phase in FINAL_PHASES:
        return known
    where = _sent(job, "stop it there")
    backend.choose(where.cluster).stop(job, where)
    return jobstatus.finish(job, "STOPPED", "stopped by the user")


def resume(job: Job, say: Callable[[str], None]) -> bool:
    """Send a job that failed, was stopped or lost its driver once more: it goes on from what its folder holds.

    One that is done in part is sent, too: its failed runs are tried again, those that diverged aren't.

    It goes under its id, into its folder, with the spec that it was submitted with, to the cluster that it was sent to
    last; a local one is started if none runs.

    Returns:
        Whether it was sent: one whose runs all have a score, and that lacks nothing else, isn't.

    Raises:
        SpecError: the job is at work, or its job.yaml isn't what it was begun with.
        RunError: its folder doesn't say what it was or where it ran.
        ClusterError: the cluster doesn't start, can't be reached or refuses.
    """
    known = status(job)
    if known.complete:
        return False
    if known.phase not in FINAL_PHASES:
        raise SpecError(f"JOB: {job.id} is running ({known.phase}); nothing to resume")
    spec, last = jobfile.read_submitted(job), _sent(job, "submit it again")
    refuse_another(Folder(job.folder), of_job(spec))
    backend.choose(last.cluster).resume(job, spec, last, say)
    return True


def _sent(job: Job, otherwise: str) -> Submission:
    last = submissions.last(job)
    if last is None:
        raise RunError(f"{job.id} has no {layout.SUBMISSION}, so its cluster isn't known; {otherwise}")
    return last


def _status_unsent(job: Job) -> Status:
    """Return how a job stands that has no submission: it is on its way, or was cut off."""
    known = jobstatus.read(job)
    if known.phase in FINAL_PHASES or time.time() - known.updated <= patience.SILENCE:
        return known
    if (later := jobstatus.watch(job, known)) is not None or submissions.last(job):
        return later or known
    return jobstatus.finish(job, "FAILED", "the submission was cut off; submit it again")
