"""Whether a job that calls itself at work still is: what its cluster, its driver's process and its silence say."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from platform import node

from gansvc import compatibility
from gansvc.client import access, local, processes
from gansvc.client import jobsapi as drivers
from gansvc.client.kuberay import jobs as rayjobs
from gansvc.client.kuberay import namespace
from gansvc.errors import GansvcError
from gansvc.store.driverstate import ENDED, Driver
from gansvc.store.jobfolder import Job
from gansvc.store.records import Phase
from gansvc.store.submissions import LOCAL, Submission

SILENCE = 60
"""Seconds without a sign of life after which a job that can't be asked about counts as lost."""
QUIET = 30
"""Seconds without a sign of life after which a reader is told of it: a driver gives one every 2 to 10 seconds."""
CLOCKS = 5
"""Seconds by which two machines' clocks may differ without a word."""

Look = Callable[[Submission, str], Driver | None]
"""Asks a submission's cluster how the driver of a name is."""


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a job that calls itself at work."""

    end: tuple[Phase, str] | None = None
    """How it has ended, and why; None if it hasn't, as far as anybody can tell."""
    certain: bool = True
    """Whether somebody said so; else its silence alone speaks."""
    note: str = ""
    """What a reader must know of a job that is silent."""


def ask(where: Submission, driver: str) -> Driver | None:
    """Return how a driver is, as its cluster says; None if the cluster doesn't know it.

    Raises:
        ClusterError: the cluster can't be reached or refuses.
        SpecError: the profile that opens it can't be read.
    """
    space = namespace.of(where)
    return rayjobs.look(space, driver) if space else drivers.look(access.target(where), driver)


def diagnose(job: Job, where: Submission | None, silence: float, look: Look = ask) -> Diagnosis:
    """Say whether a job that calls itself at work still is, and what is odd about it.

    Args:
        job: the job.
        where: its last submission, if that is known.
        silence: seconds since its last sign of life by this machine's clock; negative where that lies ahead.
        look: asks the cluster.
    """
    if where is None:
        cut_off = Diagnosis(("FAILED", "the submission was cut off; submit it again"), certain=False)
        return cut_off if silence > SILENCE else Diagnosis()
    if access.has_ended(where):
        return Diagnosis(("FAILED", f"the local cluster that ran it has ended; {hint(job)}"))
    try:
        driver = look(where, where.driver(job))
    except GansvcError as error:  # a profile's token file may be gone, too
        return _unreachable(job, where, silence, str(error))
    if driver is None:
        if time.time() - where.submitted < SILENCE:
            return Diagnosis()  # on its way to the cluster
        return Diagnosis(
            ("FAILED", f"the cluster at {where.address} no longer knows it: it was started anew; {hint(job)}")
        )
    if driver.state == "STOPPED":
        return Diagnosis(("STOPPED", "stopped through Ray"))
    if driver.state in ENDED:
        return Diagnosis(("FAILED", why(driver, job)))
    return Diagnosis(note="" if abs(silence) < QUIET else _silent(job, where, silence, driver))


def hint(job: Job) -> str:
    """Return what goes on with a job that was cut off."""
    return f"`gansvc resume {job.id}` goes on with the job"


def why(driver: Driver, job: Job) -> str:
    """Return why a driver ended early."""
    if reason := compatibility.unfit(driver.message):
        return reason
    see = f"see `gansvc logs {job.id}`; {hint(job)}"
    return f"its driver ended before the job was done ({driver.reason()}); {see}"


def _unreachable(job: Job, where: Submission, silence: float, error: str) -> Diagnosis:
    """Judge by silence, but for a cluster of this machine whose head is there: that one may be looked at."""
    head = local.recorded(Path(where.home)) if where.cluster == LOCAL and where.host == node() else None
    if head is not None and silence > QUIET:
        state = f"doesn't answer; `gansvc down` ends it, {hint(job)}"
        if processes.suspended(head.pid):
            state = f"is suspended; `kill -CONT {head.pid}` lets it go on"
        return Diagnosis(note=f"{_for(silence)}, and Ray on this machine (process {head.pid}) {state}")
    if silence > SILENCE:
        return Diagnosis(("FAILED", f"no sign of life for {silence:.0f} s, and {error}"), certain=False)
    return Diagnosis(note=f"{_for(silence)}, and {error}" if abs(silence) > QUIET else "", certain=False)


def _silent(job: Job, where: Submission, silence: float, driver: Driver) -> str:
    """Return what a reader must know of a driver that runs, as the cluster says, and gives no sign of life."""
    at_hand = driver.pid if where.cluster == LOCAL and where.host == node() else None
    if at_hand is not None and processes.suspended(at_hand):
        return f"{_for(silence)}: its driver (process {at_hand}) is suspended; `kill -CONT {at_hand}` lets it go on"
    return (
        f"{_for(silence)}, though the cluster says that its driver runs; see `gansvc logs {job.id}`, or end it with "
        f"`gansvc stop {job.id}`"
    )


def _for(silence: float) -> str:
    if silence < -CLOCKS:
        return f"no sign of life but one that this machine's clock reaches in {-silence:.0f} s"
    return f"no sign of life for {silence:.0f} s"
