"""Where jobs are sent, and where one was sent each time that it was (submission.json)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from gansvc.schema.bounded import Some, Text
from gansvc.store import layout
from gansvc.store.driverstate import Driver
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import Record

LOCAL = "local"
"""What stands for the cluster on this machine in place of an address."""


class Setting(NamedTuple):
    """A value and where it comes from: a flag, the environment, a profile."""

    value: str
    source: str


class Destination(NamedTuple):
    """Where jobs go and where they are kept."""

    cluster: Setting
    storage: Setting


class Submission(Record):
    """Where a job was sent (submission.json); of a job that was resumed, where it was sent last."""

    address: Text
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
    earlier: Some[Submission] = ()
    """Those before it, oldest first."""
    mirrored: bool = False
    """Whether the job folder is a copy: the job's own is on the cluster's volume, which this machine can't read."""

    @property
    def cluster(self) -> str:
        """The cluster as ``--cluster`` takes it: a local one is reached by its home folder, not by its address."""
        return LOCAL if self.mark else self.address

    def driver(self, job: Job) -> str:
        """Return the name that the cluster knows the driver by: it takes each name only once."""
        return job.id if self.attempt == 1 else f"{job.id}-{self.attempt}"

    def follow(self, last: Submission) -> Submission:
        """Return this submission as the one that comes after a job's last one."""
        earlier = (*last.earlier, last.model_copy(update={"earlier": ()}))
        return self.model_copy(update={"submitted": time.time(), "attempt": last.attempt + 1, "earlier": earlier})


Ask = Callable[[Job, Submission], Driver | None]
"""Asks a cluster how the driver of a job's submission is; None if it doesn't know it."""


def save(job: Job, submission: Submission) -> None:
    """Keep where a job is sent; written before it is, so that no driver runs that can't be found again."""
    Folder(job.folder).write_record(layout.SUBMISSION, submission)


def last(job: Job) -> Submission | None:
    """Return where a job was sent last, or None if that isn't known."""
    return Folder(job.folder).read_record(layout.SUBMISSION, Submission)
