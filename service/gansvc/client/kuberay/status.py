"""A job on Kubernetes as ``lifecycle`` sees it: what its RayJob says, beside what its driver wrote."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from pydantic import ValidationError

from gansvc.client.kuberay import jobs as rayjobs
from gansvc.client.kuberay import reader
from gansvc.client.kuberay.namespace import Namespace
from gansvc.errors import ClusterError
from gansvc.spec import jobfile
from gansvc.store import layout
from gansvc.store.driverstate import ENDED, Driver
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES, Phase, Status

_ON_ITS_WAY = 60
"""Seconds in which a RayJob may not be there yet."""
_RETRIED = 900
"""Seconds after a failure in which KubeRay may still start the job again."""


def status(
    job: Job,
    known: Status,
    place: Namespace,
    driver: str,
    mirrored: bool,
    look: Callable[[], Driver | None],
) -> Status:
    """Return how a job stands, and keep it in the job folder where that is this client's to do.

    Args:
        job: the job.
        known: its status as the job folder has it.
        place: the namespace.
        driver: name of its RayJob.
        mirrored: whether the job folder is a copy of one on a volume, so that the driver can't write to it.
        look: asks how the RayJob is.
    """
    may_go_on = known.phase in ("FAILED", "STOPPED") and not mirrored and time.time() - known.updated < _RETRIED
    if known.phase in FINAL_PHASES and not may_go_on:
        return known
    try:
        found = look()
        told = _told(place, driver) if mirrored and found else None
    except ClusterError as error:
        # Nothing is known, so nothing changes: this machine may be the one that is cut off.
        return known if may_go_on else known.model_copy(update={"warnings": (str(error),)})
    if may_go_on:
        return known if found is None or found.state in ENDED else _again(known)
    if found is None:
        return _gone(job, known, place, mirrored)
    # A mirror's warnings are those of the last look; a shared folder's are the driver's own.
    now = told or (known.model_copy(update={"warnings": ()}) if mirrored else known)
    if found.state not in ENDED:
        now = now.model_copy(update={"warnings": (*now.warnings, found.message) if found.message else now.warnings})
        # A status that the driver gave before it was lost isn't the job's last one.
        now = _again(now) if now.phase in FINAL_PHASES else now
        return _kept(job, now) if mirrored else now
    return _kept(job, now if now.phase in FINAL_PHASES else _ended(job, now, found, mirrored))


def follow(place: Namespace, driver: str, status: Callable[[], Status]) -> Iterator[Status]:
    """Yield a job's status whenever its RayJob changes, and every few seconds; the last one is final."""
    for _ in rayjobs.changes(place, driver):
        known = status()
        yield known
        if known.phase in FINAL_PHASES:
            return
    yield status()


def stop(job: Job, place: Namespace, driver: str) -> None:
    """Delete a RayJob, keep its driver's log, which goes with it, and wait until it is gone.

    Raises:
        ClusterError: the API server can't be reached or refuses, or the RayJob stays.
    """
    try:
        Folder(job.folder).write(layout.driver_log(driver), "".join(rayjobs.logs(place, driver)))
    except ClusterError:  # it has none
        Folder(job.folder).delete(layout.driver_log(driver))
    rayjobs.stop(place, driver)


def log(job: Job, place: Namespace, driver: str, follow_it: bool) -> Iterator[str]:
    """Yield what a driver wrote, in pieces: as it was kept when it was stopped, or from its pod.

    Raises:
        ClusterError: there is no log, or the API server can't be reached or refuses.
    """
    kept = Folder(job.folder).read(layout.driver_log(driver))
    if kept is not None:
        yield kept.decode(errors="replace")
    else:
        yield from rayjobs.logs(place, driver, follow_it)


def _told(place: Namespace, driver: str) -> Status | None:
    line = rayjobs.told(place, driver)
    try:
        return Status.model_validate_json(line) if line else None
    except ValidationError:  # cut off
        return None


def _again(known: Status) -> Status:
    warning = f"an attempt ended ({known.error or known.phase}); KubeRay may start it again on a new cluster"
    return known.model_copy(update={"phase": "PENDING", "error": "", "finished": None, "warnings": (warning,)})


def _gone(job: Job, known: Status, place: Namespace, mirrored: bool) -> Status:
    """Return the status of a job whose RayJob isn't there: its folder on the volume has the last word."""
    if time.time() - known.started < _ON_ITS_WAY:
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
            return _kept(job, there)
    end = f"its RayJob was deleted; `gansvc resume {job.id}` goes on with the job"
    return _kept(job, _final(known, "STOPPED", end))


def _ended(job: Job, now: Status, found: Driver, mirrored: bool) -> Status:
    if found.state == "STOPPED":
        return _final(now, "STOPPED", "stopped through Ray")
    if found.state == "SUCCEEDED" and mirrored:
        return _final(now, "SUCCEEDED", "")
    said = found.message or "it says nothing"
    return _final(now, "FAILED", f"{said}; see `gansvc logs {job.id}`; `gansvc resume {job.id}` goes on with the job")


def _final(known: Status, phase: Phase, error: str) -> Status:
    update = {"phase": phase, "error": error, "finished": time.time(), "current": (), "warnings": ()}
    return known.model_copy(update=update)


def _kept(job: Job, now: Status) -> Status:
    with suppress(ClusterError):  # a storage that is full or read-only doesn't take it, and what is seen holds
        Folder(job.folder).write_record(layout.STATUS, now)
    return now
