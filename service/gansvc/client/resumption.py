"""Sending a job once more: under its id, into its folder, with the spec that it was submitted with."""

from __future__ import annotations

import sys
from collections.abc import Callable

from gansvc.client import access, lifecycle, submission
from gansvc.client import jobsapi as drivers
from gansvc.errors import GansvcError, RunError, SpecError
from gansvc.spec import drivercommand, jobfile
from gansvc.spec.identity import of_job, refuse_another
from gansvc.spec.job import JobSpec
from gansvc.store import jobstatus, layout, submissions
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES
from gansvc.store.submissions import LOCAL


def resume(job: Job, say: Callable[[str], None]) -> bool:
    """Send a job that failed, was stopped or lost its driver once more: it goes on from what its folder holds.

    One that is done in part is sent, too: its failed runs are tried again, those that diverged aren't.

    Where it ran on a local cluster, one is started if none runs; where it ran elsewhere, it is sent there again.

    Returns:
        Whether it was sent: one whose runs all have a score, and that lacks nothing else, isn't.

    Raises:
        SpecError: the job is at work, or its job.yaml isn't what it was begun with.
        RunError: its folder doesn't say what it was or where it ran.
        ClusterError: the cluster doesn't start, can't be reached or refuses.
    """
    known = lifecycle.status(job)
    if known.complete:
        return False
    if known.phase not in FINAL_PHASES:
        raise SpecError(f"JOB: {job.id} is running ({known.phase}); nothing to resume")
    last, kept = submissions.last(job), Folder(job.folder).read(layout.JOB)
    if last is None or kept is None:
        raise RunError(f"{job.id}: its submission was cut off before anything ran; submit it again")
    spec = jobfile.read(kept, f"{job.folder}/{layout.JOB}")
    refuse_another(Folder(job.folder), of_job(spec))
    lifecycle.await_end(job, last)
    _send(job, spec, _next(job, last, say))
    return True


def _next(job: Job, last: submissions.Submission, say: Callable[[str], None]) -> submissions.Submission:
    """Return the submission that follows another one, to a cluster that answers."""
    if last.cluster == LOCAL:
        submission.require(submission.TRAINING, "a job on this machine")
        where = submission.start_here(say, drivercommand.parent(job))
    else:
        drivers.check(access.target(last))
        where = last
    return where.follow(last)


def _send(job: Job, spec: JobSpec, where: submissions.Submission) -> None:
    command = drivercommand.compose(job, spec, sys.executable if where.cluster == LOCAL else "python")
    jobstatus.restart(job, where)
    try:
        drivers.submit(access.target(where), where.driver(job), command, drivercommand.metadata(job, spec))
    except GansvcError as error:
        # Of two commands at the same moment one comes second: the cluster takes a driver's name only once.
        if drivers.state(access.target(where), where.driver(job)):
            raise SpecError(f"JOB: {job.id} was resumed by another command just now; nothing to resume") from error
        jobstatus.finish(job, "FAILED", str(error))
        raise
