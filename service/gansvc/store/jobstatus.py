"""A job's status as its folder has it (status.json): begun, read, and given its end by a client."""

from __future__ import annotations

import time
from contextlib import suppress

from gansvc.errors import ClusterError, SpecError
from gansvc.files import patience
from gansvc.store import layout, submissions
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES, Phase, Status
from gansvc.store.submissions import Submission


def begin(job: Job, name: str, spec: str, where: Submission) -> None:
    """Write what a job's folder holds before the job is sent: its status, its spec as YAML, and where it goes."""
    start(job, name)
    Folder(job.folder).write(layout.JOB, spec)
    submissions.save(job, where)


def start(job: Job, name: str) -> None:
    """Write a job's first status, so that it is listed at once."""
    now = time.time()
    Folder(job.folder).write_record(
        layout.STATUS, Status(job=job.id, name=name, phase="PENDING", started=now, updated=now)
    )


def restart(job: Job, where: Submission) -> None:
    """Keep where a job is sent once more, and that it is on its way again; what it has done still counts."""
    # In this order: a status at work beside the submission of a dead driver would be judged as lost.
    submissions.save(job, where)
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


def finish(job: Job, phase: Phase, error: str) -> Status:
    """Give a job its last status, unless its driver has done so meanwhile, and return the status that holds."""
    known = read(job)
    if known.phase in FINAL_PHASES:
        return known
    last = known.model_copy(update={"phase": phase, "error": error, "finished": time.time(), "current": ()})
    with suppress(ClusterError):  # a full storage doesn't take it, and whoever asks next comes to the same end
        Folder(job.folder).write_record(layout.STATUS, last)
    return last


def watch(job: Job, known: Status) -> Status | None:
    """Wait for a job's next sign of life and return its status then, or None if there was none."""
    deadline = time.monotonic() + (patience.WATCH if Folder(job.folder).local else patience.WATCH_OBJECTS)
    while time.monotonic() < deadline:
        time.sleep(0.5)
        if (now := read(job)).updated != known.updated:
            return now
    return None
