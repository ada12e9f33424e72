"""Jobs of a storage: their ids and folders, and which one a user means."""

from __future__ import annotations

import os
import re
import secrets
import time
from datetime import UTC, datetime
from difflib import get_close_matches

from gansvc.errors import ClusterError, SpecError
from gansvc.escapes import is_printable
from gansvc.files import filesystems, homefolder
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import Record, Status

_TRIES, _PAUSE = 30, 0.1
_ID = re.compile(r"[a-z0-9-]+-(\d{8}-\d{6})-[0-9a-f]{4}")


class Job(Record):
    """One job: its id and its folder."""

    id: str
    folder: str
    """Path or URI of the job folder."""


def new(name: str, storage: str) -> Job:
    """Return a new job of that name, whose folder is made here and was nobody's before.

    Args:
        name: the job's name.
        storage: folder or URI of all jobs.

    Raises:
        ClusterError: the storage can't be written, or all ids of this moment are taken.
    """
    for _ in range(_TRIES):
        job = job_at(new_id(name), storage)
        if Folder(job.folder).make():
            return job
        time.sleep(_PAUSE)  # the next second has ids of its own
    raise ClusterError(f"storage: {storage} has a job of each new id; submit again")


def job_at(identity: str, storage: str) -> Job:
    """Return the job of that id, whether its folder is there or not."""
    return Job(id=identity, folder=(Folder(storage, follow=True) / identity).uri)


def is_id(text: str) -> bool:
    """Return whether that is a job's id."""
    return _ID.fullmatch(text) is not None


def new_id(name: str) -> str:
    """Return the id of a new job of that name; it is 21 characters longer."""
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def list_jobs(storage: str) -> list[Job]:
    """Return the jobs of a storage, newest first.

    Raises:
        ClusterError: the storage can't be listed.
    """
    root = Folder(storage, follow=True)
    found = [(match[1], name) for name in root.names() if (match := _ID.fullmatch(name))]
    return [Job(id=name, folder=(root / name).uri) for _, name in sorted(found, reverse=True)]


def find(job: str | None, storage: str) -> Job:
    """Return the job of that id, unique beginning of an id, or folder; the newest one without a name.

    Raises:
        SpecError: there is no such job, or several.
        ClusterError: the storage can't be asked.
    """
    jobs = list_jobs(storage)
    where = Folder(storage, follow=True).uri
    if job is None:
        if not jobs:
            raise SpecError(f"JOB: there is no job in {where}; submit one, or name another folder with --storage")
        return _with_own_id(jobs[0])
    fitting = [found for found in jobs if found.id.startswith(job)] if job else []
    exact = [found for found in fitting if found.id == job]
    if len(exact or fitting) == 1:
        return _with_own_id((exact or fitting)[0])
    if fitting:
        raise SpecError(f"JOB: {job!r} fits {', '.join(found.id for found in fitting)}; give more of the id")
    if folder := _find_at(job):
        return folder
    near = get_close_matches(job, [found.id for found in jobs], n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise SpecError(f"JOB: there is no job {_shorten(job)} in {where}; {hint}`gansvc list` names them all")


def _with_own_id(job: Job) -> Job:
    """Return a job by the id that the cluster knows, which its folder had before it was renamed."""
    try:
        status = Folder(job.folder).read_record(layout.STATUS, Status)
    except ClusterError:
        return job  # whoever reads it says so
    return job.model_copy(update={"id": status.job}) if status and is_id(status.job) else job


def _find_at(path: str) -> Job | None:
    """Return the job whose folder is at a path or URI, or None."""
    if "://" in path:
        filesystems.refuse_secrets(path)
    if not path or not is_printable(path) or ("/" not in path and path not in (".", "..")):
        return None
    try:
        # What a user names may be a link to the folder; what lies in a storage may not.
        folder = Folder(_without_link(path))
        # Its folder may have been moved or renamed: the id that the cluster knows stands inside.
        status = folder.read_record(layout.STATUS, Status)
    except (SpecError, ClusterError):
        # An address can be nothing but a job's: what is wrong with it, or with its storage, is worth telling.
        if "://" in path:
            raise
        return None
    return Job(id=status.job, folder=folder.uri) if status else None


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _without_link(path: str) -> str:
    """Return where a link leads, and any other path as it is."""
    given = homefolder.expand(path)
    return os.path.realpath(given) if given.is_symlink() else path
