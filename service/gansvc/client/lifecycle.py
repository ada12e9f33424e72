"""How a job stands, told truly: a status whose driver is gone doesn't stay at work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from platform import node

from gansvc.client import attempts, diagnosis, local
from gansvc.client import jobsapi as drivers
from gansvc.client.attempts import Submission
from gansvc.client.driverstate import ENDED
from gansvc.client.jobfolder import Job
from gansvc.client.kuberay import status as kubestatus
from gansvc.errors import ClusterError, RunError, SpecError
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import FINAL_PHASES, FRESH, Phase, Status

WATCH = 5.0
"""Seconds for which the status of a job that seems silent is watched: two of its driver's periods and a second."""
_OBJECT_STORAGE_WATCH = 21.0


def start(job: Job, name: str) -> None:
    """Write a job's first status, so that it is listed at once."""
    now = time.time()
    Folder(job.folder).write_record(
        layout.STATUS, Status(job=job.id, name=name, phase="PENDING", started=now, updated=now)
    )


def resumed(job: Job, where: Submission) -> None:
    """Keep where a job is sent once more, and that it is on its way again; what it has done still counts."""
    # In this order: a status at work beside the submission of a dead driver would be judged as lost.
    attempts.save(job, where)
    update = {"phase": "PENDING", "error": "", "finished": None, "updated": time.time(), "warnings": (), "missing": ()}
    Folder(job.folder).write_record(layout.STATUS, read(job).model_copy(update=update))


def read(job: Job) -> Status:
    """Return a job's status as its folder has it.

    Raises:
        ClusterError: it is damaged.
        SpecError: the folder holds none.
    """
    status = Folder(job.folder).read_record(layout.STATUS, Status)
    if status is None:
        raise SpecError(
            f"JOB: {job.folder} holds no {layout.STATUS}; it is no job's, was taken away, or was never sent"
        )
    return status


def status(job: Job, look: diagnosis.Look = diagnosis.ask, trusted: float = 0.0) -> Status:
    """Return how a job stands; one whose driver is gone becomes FAILED or STOPPED, in its folder too if it takes that.

    Args:
        job: the job.
        look: asks the cluster.
        trusted: seconds within which a sign of life needs no question to the cluster.
    """
    known, where = read(job), attempts.last(job)
    if where and (space := where.namespace()):
        name = where.driver(job)
        return kubestatus.status(job, known, space, name, where.mirrored, lambda: look(where, name))
    if known.phase in FINAL_PHASES:
        return known
    silence = time.time() - known.updated
    if 0 <= silence < trusted and not (where and where.has_lost_cluster()):
        return known
    found = diagnosis.diagnose(job, where, silence, look)
    if found.note or (found.end and not found.certain):
        # The driver's clock may be another than this one: silent is who says nothing new now.
        seconds = WATCH if Folder(job.folder).local else _OBJECT_STORAGE_WATCH
        if (later := _watch(job, known, seconds)) is not None:
            return later
    return _judged(job, known, where, found)


def finish(job: Job, phase: Phase, error: str) -> Status:
    """Give a job its last status, unless its driver has done so meanwhile, and return the status that holds."""
    known = read(job)
    if known.phase in FINAL_PHASES:
        return known
    last = known.model_copy(update={"phase": phase, "error": error, "finished": time.time(), "current": ()})
    with suppress(ClusterError):  # a full storage doesn't take it, and whoever asks next comes to the same end
        Folder(job.folder).write_record(layout.STATUS, last)
    return last


def follow(job: Job, interval: float = 1.0) -> Iterator[Status]:
    """Yield a job's status every ``interval`` seconds; the last one is final."""
    if (where := attempts.last(job)) and (space := where.namespace()):
        yield from kubestatus.follow(space, where.driver(job), lambda: status(job))
        return
    known = read(job)
    if not -diagnosis.CLOCKS < time.time() - known.updated < FRESH:
        known = status(job)
    alive, asked, found = time.monotonic(), 0.0, diagnosis.Diagnosis()
    while True:
        yield known
        if known.phase in FINAL_PHASES:
            return
        time.sleep(interval)
        last, known, now = known.updated, read(job), time.monotonic()
        # By this process's own clock: the driver's may be another.
        alive = now if known.updated != last else alive
        if now - alive > FRESH and known.phase not in FINAL_PHASES:
            if now - asked > 5:
                found, asked = diagnosis.diagnose(job, where := attempts.last(job), now - alive), now
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
    where = attempts.last(job)
    if where is None:
        raise RunError(f"{job.id} has no {layout.SUBMISSION}, so its cluster isn't known; stop it there")
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
    deadline = time.monotonic() + diagnosis.SILENCE / 2
    while not where.has_lost_cluster():
        try:
            driver = drivers.look(where.target(), where.driver(job))
        except ClusterError:
            if where.is_local() and where.host != node():
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
    last = attempts.last(job)
    if last is None:
        raise RunError(f"{job.id} has no {layout.SUBMISSION}, so its cluster isn't known; look for its log there")
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
        raise ClusterError(f"the local cluster that ran {job.id} has ended, and its log with it; {diagnosis.hint(job)}")
    yield kept


def _judged(job: Job, known: Status, where: Submission | None, found: diagnosis.Diagnosis) -> Status:
    """Return a status as a diagnosis makes it; a job that has ended gets its last one."""
    if found.end is None:
        return known.model_copy(update={"warnings": (*known.warnings, found.note)}) if found.note else known
    # Whoever resumed it meanwhile has given it another driver, of which this says nothing.
    return known if attempts.last(job) != where else finish(job, *found.end)


def _watch(job: Job, known: Status, seconds: float) -> Status | None:
    """Wait for a job's next sign of life and return its status then, or None if there was none."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.5)
        if (now := read(job)).updated != known.updated:
            return now
    return None
