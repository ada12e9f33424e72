"""How a job stands, told truly: a status whose driver is gone doesn't stay at work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from platform import node

from gansvc import versions
from gansvc.cluster import access, local
from gansvc.cluster import jobs as drivers
from gansvc.errors import ClusterError, GansvcError, RunError, SpecError
from gansvc.jobfolder import STATUS, Job
from gansvc.records import FINAL_PHASES, Phase, Record, Status
from gansvc.store import Folder

SILENCE = 60
"""Seconds without a sign of life after which a job that can't be asked about counts as lost."""
_SUBMISSION = "submission.json"


class Submission(Record):
    """Where a job was sent (submission.json)."""

    address: str
    """URL of the cluster's Jobs API."""
    submitted: float
    """Unix time."""
    host: str = ""
    """Machine of the local cluster; empty for a cluster elsewhere."""
    home: str = ""
    """State folder of the local cluster."""
    mark: str = ""
    """Which of the local clusters it was."""

    def is_local(self) -> bool:
        """Return whether it was sent to a local cluster."""
        return bool(self.mark)

    def target(self) -> drivers.Target:
        """Return the Jobs API that the job was sent to."""
        if self.is_local():
            return drivers.Target(self.address, local.token(Path(self.home)))
        return access.remote(self.address)

    def has_lost_cluster(self) -> bool:
        """Return whether it is certain that the cluster has ended: only its own machine knows."""
        if not self.is_local() or self.host != node():
            return False
        cluster = local.recorded(Path(self.home))
        return cluster is None or cluster.mark != self.mark or not cluster.alive()


def start(job: Job, name: str) -> None:
    """Write a job's first status, so that it is listed at once."""
    now = time.time()
    Folder(job.folder).write_record(STATUS, Status(job=job.id, name=name, phase="PENDING", started=now, updated=now))


def sent(job: Job, submission: Submission) -> None:
    """Keep where a job is sent; written before it is, so that no driver runs that can't be found again."""
    Folder(job.folder).write_record(_SUBMISSION, submission)


def submission(job: Job) -> Submission | None:
    """Return where a job was sent, or None if that isn't known."""
    return Folder(job.folder).read_record(_SUBMISSION, Submission)


def read(job: Job) -> Status:
    """Return a job's status as its folder has it.

    Raises:
        ClusterError: it is damaged.
        SpecError: the folder holds none.
    """
    status = Folder(job.folder).read_record(STATUS, Status)
    if status is None:
        raise SpecError(f"JOB: {job.folder} holds no {STATUS}; it is no job's folder, or its submission was cut off")
    return status


def status(job: Job) -> Status:
    """Return how a job stands; one whose driver is gone becomes FAILED or STOPPED, in its folder too."""
    known = read(job)
    if known.phase in FINAL_PHASES:
        return known
    end = _end(job, known)
    return known if end is None else finish(job, *end)


def finish(job: Job, phase: Phase, error: str) -> Status:
    """Give a job its last status, unless its driver has done so meanwhile, and return the status that holds."""
    known = read(job)
    if known.phase in FINAL_PHASES:
        return known
    last = known.model_copy(update={"phase": phase, "error": error, "finished": time.time(), "current": ()})
    Folder(job.folder).write_record(STATUS, last)
    return last


def follow(job: Job, interval: float = 1.0) -> Iterator[Status]:
    """Yield a job's status every ``interval`` seconds; the last one is final."""
    asked = 0.0
    while True:
        known = read(job)
        # The driver writes every two seconds: only one that fell silent is worth a question to the cluster.
        if time.time() - known.updated > 10 and time.monotonic() - asked > 5:
            known, asked = status(job), time.monotonic()
        yield known
        if known.phase in FINAL_PHASES:
            return
        time.sleep(interval)


def stop(job: Job) -> Status:
    """Stop a job, wait until its driver has ended, and return its last status.

    Raises:
        ClusterError: the cluster can't be reached, or the driver doesn't end.
        RunError: it isn't known where the job was sent.
    """
    known = status(job)
    if known.phase in FINAL_PHASES:
        return known
    where = submission(job)
    if where is None:
        raise RunError(f"{job.id} has no {_SUBMISSION}, so its cluster isn't known; stop it there")
    drivers.stop(where.target(), job.id)
    return finish(job, "STOPPED", "stopped by the user")


def log(job: Job, follow_it: bool = False) -> Iterator[str]:
    """Yield what a job's driver wrote, in pieces; when following, until it has ended.

    Raises:
        ClusterError: the cluster can't be reached and no log was kept.
        RunError: it isn't known where the job was sent.
    """
    where = submission(job)
    if where is None:
        raise RunError(f"{job.id} has no {_SUBMISSION}, so its cluster isn't known; look for its log there")
    if not where.has_lost_cluster():
        yield from drivers.logs(where.target(), job.id, follow_it)
        return
    kept = local.kept_log(job.id, Path(where.home))
    if kept is None:
        raise ClusterError(f"the local cluster that ran {job.id} has ended, and its log with it; submit the job again")
    yield kept


def _end(job: Job, known: Status) -> tuple[Phase, str] | None:
    """Return how a job that calls itself at work has ended, or None if it hasn't."""
    where, silence = submission(job), time.time() - known.updated
    if where is None:
        return ("FAILED", "the submission was cut off; submit it again") if silence > SILENCE else None
    if where.has_lost_cluster():
        return "FAILED", "the local cluster that ran it has ended; submit it again"
    try:
        driver = drivers.look(where.target(), job.id)
    except GansvcError as error:  # a profile's token file may be gone, too
        return ("FAILED", f"no sign of life for {silence:.0f} s, and {error}") if silence > SILENCE else None
    if driver is None and time.time() - where.submitted < SILENCE:
        return None  # on its way to the cluster
    if driver is None:
        return "FAILED", f"the cluster at {where.address} no longer knows it: it was started anew; submit it again"
    if driver.state == "STOPPED":
        return "STOPPED", "stopped through Ray"
    if driver.state in drivers.ENDED:
        return "FAILED", _why(driver.message, job)
    return None


def _why(message: str, job: Job) -> str:
    """Return why a driver ended early, from the last lines of its log."""
    if reason := versions.unfit(message):
        return reason
    last = next((line.strip() for line in reversed(message.splitlines()) if line.strip()), "it says nothing")
    return f"its driver ended before the job was done ({last[:300]}); see `gansvc logs {job.id}`"
