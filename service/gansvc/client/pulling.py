"""Copy a job's results to a folder of the user's, wherever the job's own folder is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gansvc.client import backend
from gansvc.errors import SpecError
from gansvc.files import homefolder
from gansvc.store import jobstatus, submissions
from gansvc.store.delivery import LARGE_FOLDERS, deliver
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job


def pull(job: Job, to: Path | None, everything: bool, say: Callable[[str], None]) -> Path:
    """Copy a job's report, model and scores to a local folder, or all its files; see ``api.pull``."""
    target = homefolder.expand(to or Path(job.id)).absolute()
    if target.is_file():
        raise SpecError(f"TO: {target} is a file; give a folder")
    if "://" not in job.folder and target.resolve().is_relative_to(Path(job.folder).resolve()):
        raise SpecError(f"TO: {target} is the job's own folder, or inside it; give another")
    known, skip = jobstatus.read(job), () if everything else LARGE_FOLDERS
    with deliver(target, job.id) as delivery:
        if where := submissions.last(job):
            backend.choose(where.cluster).fetch(job, where, delivery, skip)
        else:
            delivery.copy(Folder(job.folder), skip)
    if known.phase != "SUCCEEDED":
        say(f"{job.id} is {known.phase}: {target} has what it has made so far, not all of what is to come")
    return target
