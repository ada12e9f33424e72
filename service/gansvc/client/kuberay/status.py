"""Status, logs and stop for RayJobs: what a RayJob says, beside what its driver wrote."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from pydantic import ValidationError

from gansvc.client.kuberay import jobs as rayjobs
from gansvc.client.kuberay import namespace, reader
from gansvc.client.kuberay.namespace import Namespace
from gansvc.errors import ClusterError
from gansvc.files import patience
from gansvc.spec import jobfile
from gansvc.store import jobstatus, layout, submissions
from gansvc.store.driverstate import ENDED, Driver
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES, Phase, Status
from gansvc.store.submissions import Ask, Submission

_RETRIED = 900
"""Seconds after a failure in which KubeRay may still start the job again."""


def status(job: Job, where: Submission, ask: Ask) -> Status:
    """Return how a job stands, and keep it in the job folder where that is this client's to do.

    Args:
        job: the job.
        where: its last submission; of a mirrored one the driver can't write to the folder.
        ask: asks how its RayJob is.
    """
    known, place, driver, mirrored = jobstatus.read(job), *_driver(job, where), where.mirrored
    may_go_on = known.phase in ("FAILED", "STOPPED") and not mirrored and time.time() - known.updated < _RETRIED
    if known.phase in FINAL_PHASES and not may_go_on:
        return known
    try:
        found = ask(job, where)
        logged = _last_logged_status(place, driver) if mirrored and found else None
    except ClusterError as error:
        # Nothing is known, so nothing changes: this machine may be the one that is cut off.
        return known if may_go_on else known.model_copy(update={"warnings": (str(error),)})
    if may_go_on:
        return known if found is None or found.state in ENDED else _as_pending(known)
    if found is None:
        return _gone(job, known, place, mirrored)
    # A mirror's warnings are those of the last look; a shared folder's are the driver's own.
    now = logged or (known.model_copy(update={"warnings": ()}) if mirrored else known)
    if found.state not in ENDED:
        now = now.model_copy(update={"warnings": (*now.warnings, found.message) if found.message else now.warnings})
        # A status that the driver gave before it was lost isn't the job's last one.
        now = _as_pending(now) if now.phase in FINAL_PHASES else now
        return _save_status(job, now) if mirrored else now
    return _save_status(job, now if now.phase in FINAL_PHASES else _ended(job, now, found, mirrored))


def follow(job: Job, where: Submission, ask: Ask) -> Iterator[Status]:
    """Yield a job's status whenever its RayJob changes, and every few seconds; the last one is final."""
    for _ in rayjobs.watch(*_driver(job, where)):
        # Another command may have resumed it meanwhile.
        known = status(job, submissions.last(job) or where, ask)
        yield known
        if known.phase in FINAL_PHASES:
            return
    yield status(job, submissions.last(job) or where, ask)


def stop(job: Job, where: Submission) -> None:
    """Delete a RayJob, keep its driver's log, which goes with it, and wait until it is gone.

    Raises:
        ClusterError: the API server can't be reached or refuses, or the RayJob stays.
    """
    place, driver = _driver(job, where)
    try:
        Folder(job.folder).write(layout.driver_log(driver), "".join(rayjobs.logs(place, driver)))
    except ClusterError:  # it has none
        Folder(job.folder).delete(layout.driver_log(driver))
    rayjobs.stop(place, driver)


def logs(job: Job, where: Submission, follow: bool) -> Iterator[str]:
    """Yield what a driver wrote, in pieces: as it was kept when it was stopped, or from its pod.

    Raises:
        ClusterError: there is no log, or the API server can't be reached or refuses.
    """
    place, driver = _driver(job, where)
    kept = Folder(job.folder).read(layout.driver_log(driver))
    if kept is not None:
        yield kept.decode(errors="replace")
    else:
        yield from rayjobs.logs(place, driver, follow)


def _driver(job: Job, where: Submission) -> tuple[Namespace, str]:
    """Return the namespace and the name of a submission's RayJob."""
    return namespace.parse(where.address), where.driver(job)


def _last_logged_status(place: Namespace, driver: str) -> Status | None:
    line = rayjobs.last_logged_status(place, driver)
    try:
        return Status.model_validate_json(line) if line else None
    except ValidationError:  # cut off
        return None


def _as_pending(known: Status) -> Status:
    warning = f"an attempt ended ({known.error or known.phase}); KubeRay may start it again on a new cluster"
    return known.model_copy(update={"phase": "PENDING", "error": "", "finished": None, "warnings": (warning,)})


def _gone(job: Job, known: Status, place: Namespace, mirrored: bool) -> Status:
    """Return the status of a job whose RayJob isn't there: its folder on the volume has the last word."""
    if time.time() - known.started < patience.SILENCE:
        return known
    spec = Folder(job.folder).read(layout.JOB)
    if mirrored and spec and (placement := jobfile.read(spec, f"{job.folder}/{layout.JOB}").cluster):
        try:
            kept = reader.read(place, placement, f"{job.id}/{layout.STATUS}")
            there = Status.model_validate_json(kept) if kept else known
        except (ClusterError, ValidationError) as error:
            return known.model_copy(
                update={"warnings": (f"its RayJob is gone, and its folder can't be read: {error}",)}
            )
        if there.phase in FINAL_PHASES:
            return _save_status(job, there)
    end = f"its RayJob was deleted; `gansvc resume {job.id}` goes on with the job"
    return _save_status(job, _as_ended(known, "STOPPED", end))


def _ended(job: Job, now: Status, found: Driver, mirrored: bool) -> Status:
    if found.state == "STOPPED":
        return _as_ended(now, "STOPPED", "stopped through Ray")
    if found.state == "SUCCEEDED" and mirrored:
        return _as_ended(now, "SUCCEEDED", "")
    see = f"see `gansvc logs {job.id}`; `gansvc resume {job.id}` goes on with the job"
    return _as_ended(now, "FAILED", f"{found.message or 'it says nothing'}; {see}")


def _as_ended(known: Status, phase: Phase, error: str) -> Status:
    update = {"phase": phase, "error": error, "finished": time.time(), "current": (), "warnings": ()}
    return known.model_copy(update=update)


def _save_status(job: Job, now: Status) -> Status:
    with suppress(ClusterError):  # a storage that is full or read-only doesn't take it, and what is seen holds
        Folder(job.folder).write_record(layout.STATUS, now)
    return now
