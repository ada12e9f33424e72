"""How a job stands, told truly: a status whose driver is gone doesn't stay at work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from platform import node

from gansvc import kubestatus, versions
from gansvc.cluster import access, local
from gansvc.cluster import jobs as drivers
from gansvc.cluster.kuberay import namespace
from gansvc.cluster.kuberay.namespace import Namespace
from gansvc.errors import ClusterError, GansvcError, RunError, SpecError
from gansvc.jobfolder import STATUS, Job
from gansvc.records import FINAL_PHASES, FRESH, Phase, Record, Status
from gansvc.store import Folder

SILENCE = 60
"""Seconds without a sign of life after which a job that can't be asked about counts as lost."""
_SUBMISSION = "submission.json"


class Submission(Record):
    """Where a job was sent (submission.json); of a job that was resumed, where it was sent last."""

    address: str
    """URL of the cluster's Jobs API, or k8s://CONTEXT/NAMESPACE."""
    submitted: float
    """Unix time."""
    host: str = ""
    """Machine of the local cluster; empty for a cluster elsewhere."""
    home: str = ""
    """State folder of the local cluster."""
    mark: str = ""
    """Which of the local clusters it was."""
    attempt: int = 1
    """Which of the job's submissions it is; every one after the first resumed the job."""
    earlier: tuple[Submission, ...] = ()
    """Those before it, oldest first."""
    mirrored: bool = False
    """Whether the job folder is a copy: the job's own is on the cluster's volume, which this machine can't read."""

    def is_local(self) -> bool:
        """Return whether it was sent to a local cluster."""
        return bool(self.mark)

    def target(self) -> drivers.Target:
        """Return the Jobs API that the job was sent to.

        The local cluster's token goes to that cluster alone: whoever writes a job folder may name any address in it.
        """
        if self.is_local():
            cluster = local.recorded(Path(self.home))
            known = cluster is not None and (cluster.mark, cluster.dashboard) == (self.mark, self.address)
            return drivers.Target(self.address, local.token(Path(self.home)) if known else None)
        return access.remote(self.address)

    def namespace(self) -> Namespace | None:
        """Return the Kubernetes namespace that the job was sent to, or None if it was sent to a Jobs API."""
        return namespace.parse(self.address) if namespace.is_address(self.address) else None

    def driver(self, job: Job) -> str:
        """Return the name that the Jobs API knows the driver by: it takes each name only once."""
        return job.id if self.attempt == 1 else f"{job.id}-{self.attempt}"

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


def resumed(job: Job, submission: Submission) -> None:
    """Keep where a job is sent once more, and that it is on its way again; what it has done still counts."""
    # In this order: a status at work beside the submission of a dead driver would be judged as lost.
    sent(job, submission)
    update = {"phase": "PENDING", "error": "", "finished": None, "updated": time.time(), "warnings": (), "missing": ()}
    Folder(job.folder).write_record(STATUS, read(job).model_copy(update=update))


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
        raise SpecError(f"JOB: {job.folder} holds no {STATUS}; it is no job's, was taken away, or was never sent")
    return status


def status(job: Job, trusted: float = 0.0) -> Status:
    """Return how a job stands; FAILED or STOPPED, in its folder too, if it was silent for ``trusted`` s and is gone."""
    known, where = read(job), submission(job)
    if where and (space := where.namespace()):
        return kubestatus.status(job, known, space, where.driver(job), where.mirrored)
    if known.phase in FINAL_PHASES:
        return known
    end = _end(job, known, where, trusted)
    # Whoever resumed it meanwhile has given it another driver, of which this says nothing.
    return known if end is None or submission(job) != where else finish(job, *end)


def finish(job: Job, phase: Phase, error: str) -> Status:
    """Give a job its last status, unless its driver has done so meanwhile, and return the status that holds."""
    known = read(job)
    if known.phase in FINAL_PHASES:
        return known
    last = known.model_copy(update={"phase": phase, "error": error, "finished": time.time(), "current": ()})
    with suppress(ClusterError):  # a full storage doesn't take it, and whoever asks next comes to the same end
        Folder(job.folder).write_record(STATUS, last)
    return last


def follow(job: Job, interval: float = 1.0) -> Iterator[Status]:
    """Yield a job's status every ``interval`` seconds; the last one is final."""
    if (where := submission(job)) and (space := where.namespace()):
        yield from kubestatus.follow(space, where.driver(job), lambda: status(job))
        return
    asked = 0.0
    while True:
        known = read(job)
        if time.time() - known.updated > FRESH and time.monotonic() - asked > 5:
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
    if space := where.namespace():
        kubestatus.stop(job, space, where.driver(job))
    else:
        drivers.stop(where.target(), where.driver(job))
    return finish(job, "STOPPED", "stopped by the user")


def await_end(job: Job, where: Submission) -> None:
    """Wait until the driver of a job that has its last status is gone too: two would write to one folder.

    Raises:
        SpecError: it is still at work.
        ClusterError: its cluster can't be asked.
    """
    deadline = time.monotonic() + SILENCE / 2
    while not where.has_lost_cluster():
        try:
            driver = drivers.look(where.target(), where.driver(job))
        except ClusterError:
            if where.is_local() and where.host != node():
                return  # nobody here can ask that machine; it has been silent
            raise
        if driver is None or driver.state in drivers.ENDED:
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
    last = submission(job)
    if last is None:
        raise RunError(f"{job.id} has no {_SUBMISSION}, so its cluster isn't known; look for its log there")
    where = next((one for one in (*last.earlier, last) if one.attempt == (attempt or last.attempt)), None)
    if where is None:
        raise SpecError(f"--attempt: {job.id} has no attempt {attempt}; give 1 to {last.attempt}")
    if space := where.namespace():
        yield from kubestatus.log(job, space, where.driver(job), follow_it)
        return
    if not where.has_lost_cluster():
        yield from drivers.logs(where.target(), where.driver(job), follow_it)
        return
    kept = local.kept_log(where.driver(job), Path(where.home))
    if kept is None:
        raise ClusterError(f"the local cluster that ran {job.id} has ended, and its log with it; {_hint(job)}")
    yield kept


def _hint(job: Job) -> str:
    return f"`gansvc resume {job.id}` goes on with the job"


def _end(job: Job, known: Status, where: Submission | None, trusted: float) -> tuple[Phase, str] | None:
    """Return how a job that calls itself at work has ended, or None if it hasn't."""
    silence = time.time() - known.updated
    if where is None:
        return ("FAILED", "the submission was cut off; submit it again") if silence > SILENCE else None
    if where.has_lost_cluster():
        return "FAILED", f"the local cluster that ran it has ended; {_hint(job)}"
    if 0 <= silence < trusted:
        return None
    try:
        driver = drivers.look(where.target(), where.driver(job))
    except GansvcError as error:  # a profile's token file may be gone, too
        return ("FAILED", f"no sign of life for {silence:.0f} s, and {error}") if silence > SILENCE else None
    if driver is None and time.time() - where.submitted < SILENCE:
        return None  # on its way to the cluster
    if driver is None:
        return "FAILED", f"the cluster at {where.address} no longer knows it: it was started anew; {_hint(job)}"
    if driver.state == "STOPPED":
        return "STOPPED", "stopped through Ray"
    if driver.state in drivers.ENDED:
        return "FAILED", _why(driver, job)
    return None


def _why(driver: drivers.Driver, job: Job) -> str:
    """Return why a driver ended early."""
    if reason := versions.unfit(driver.message):
        return reason
    see = f"see `gansvc logs {job.id}`; {_hint(job)}"
    return f"its driver ended before the job was done ({driver.reason()}); {see}"
