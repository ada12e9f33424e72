"""Diagnose a job that calls itself at work: by its cluster, its driver's process and its silence."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gansvc import compatibility
from gansvc.client import processes
from gansvc.client.rayclusters import RemoteCluster
from gansvc.errors import GansvcError
from gansvc.files import patience
from gansvc.store.driverstate import ENDED, Driver
from gansvc.store.jobfolder import Job
from gansvc.store.records import Phase
from gansvc.store.submissions import Ask, Submission


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a job that calls itself at work."""

    end: tuple[Phase, str] | None = None
    """How it has ended, and why; None if it hasn't, as far as anybody can tell."""
    certain: bool = True
    """Whether somebody said so; else its silence alone speaks."""
    note: str = ""
    """What a reader must know of a job that is silent."""


def diagnose(cluster: RemoteCluster, job: Job, where: Submission, silence: float, ask: Ask) -> Diagnosis:
    """Say whether a job that calls itself at work still is, and what is odd about it.

    Args:
        cluster: what it was sent to.
        job: the job.
        where: its last submission.
        silence: seconds since its last sign of life by this machine's clock; negative where that lies ahead.
        ask: asks the cluster.
    """
    if cluster.has_ended(where):
        return Diagnosis(("FAILED", f"the local cluster that ran it has ended; {resume_hint(job)}"))
    try:
        driver = ask(job, where)
    except GansvcError as error:  # a profile's token file may be gone, too
        return _unreachable(cluster, job, where, silence, str(error))
    if driver is None:
        if time.time() - where.submitted < patience.SILENCE:
            return Diagnosis()  # on its way to the cluster
        return Diagnosis(
            ("FAILED", f"the cluster at {where.address} no longer knows it: it was started anew; {resume_hint(job)}")
        )
    if driver.state == "STOPPED":
        return Diagnosis(("STOPPED", "stopped through Ray"))
    if driver.state in ENDED:
        return Diagnosis(("FAILED", explain_end(driver, job)))
    return Diagnosis(note="" if abs(silence) < patience.QUIET else _silent(cluster, job, where, silence, driver))


def resume_hint(job: Job) -> str:
    """Return what goes on with a job that was cut off."""
    return f"`gansvc resume {job.id}` goes on with the job"


def explain_end(driver: Driver, job: Job) -> str:
    """Return why a driver ended early."""
    if reason := compatibility.explain_incompatibility(driver.message):
        return reason
    see = f"see `gansvc logs {job.id}`; {resume_hint(job)}"
    return f"its driver ended before the job was done ({driver.reason()}); {see}"


def _unreachable(cluster: RemoteCluster, job: Job, where: Submission, silence: float, error: str) -> Diagnosis:
    """Judge by silence, but for a cluster of this machine whose head is there: that one may be looked at."""
    head = cluster.head(where)
    if head is not None and silence > patience.QUIET:
        state = f"doesn't answer; `gansvc down` ends it, {resume_hint(job)}"
        if processes.is_suspended(head.pid):
            state = f"is suspended; `kill -CONT {head.pid}` lets it go on"
        return Diagnosis(note=f"{_silence(silence)}, and Ray on this machine (process {head.pid}) {state}")
    if silence > patience.SILENCE:
        return Diagnosis(("FAILED", f"no sign of life for {silence:.0f} s, and {error}"), certain=False)
    return Diagnosis(note=f"{_silence(silence)}, and {error}" if abs(silence) > patience.QUIET else "", certain=False)


def _silent(cluster: RemoteCluster, job: Job, where: Submission, silence: float, driver: Driver) -> str:
    """Return what a reader must know of a driver that runs, as the cluster says, and gives no sign of life."""
    at_hand = driver.pid if cluster.is_here(where) else None
    if at_hand is not None and processes.is_suspended(at_hand):
        return f"{_silence(silence)}: its driver (process {at_hand}) is suspended; `kill -CONT {at_hand}` lets it go on"
    return (
        f"{_silence(silence)}, though the cluster says that its driver runs; see `gansvc logs {job.id}`, or end it "
        f"with `gansvc stop {job.id}`"
    )


def _silence(silence: float) -> str:
    if silence < -patience.CLOCKS:
        return f"no sign of life but one that this machine's clock reaches in {-silence:.0f} s"
    return f"no sign of life for {silence:.0f} s"
