"""Deliver a job's files to a folder of the user's: under safe names, all or none, over no other job's."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

from gansvc.errors import ClusterError, SpecError
from gansvc.escapes import printable
from gansvc.files import filesystems
from gansvc.files.localfiles import LocalFiles
from gansvc.files.plainfiles import format_bytes
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import Record

_NAMING = (layout.STATUS, layout.REPORT_JSON, f"{layout.MODEL}/{layout.MODEL_CARD}")
"""Files of a job folder that name its job."""


LARGE_FOLDERS = (layout.SEARCH, layout.TRAIN)
"""Folders of a job that people rarely want: trials, checkpoints, histories."""


class _Named(Record):
    job: str


class Delivery:
    """Takes files into a hidden folder of the target, from which they are moved once all are there.

    Args:
        target: a folder that is there.
        job: id of the job that the files are of.
    """

    def __init__(self, target: Path, job: str) -> None:
        self.target, self.job = target, job
        self._there = LocalFiles(str(target))
        self._draft = f".pull-{uuid.uuid4().hex[:8]}"
        self._is_jobs = _job_of(target) == job

    def put(self, name: str, size: int, content: Callable[[], Iterable[bytes]]) -> None:
        """Take one file.

        Args:
            name: its name in the job folder.
            size: its size in bytes, as it is told.
            content: returns its pieces; asked again where the storage falters.

        Raises:
            SpecError: the target holds a file of that name that isn't the job's.
            ClusterError: the target doesn't take it.
        """
        if not self._is_jobs and self._there.kind(name):
            raise SpecError(
                f"TO: {self.target} holds {name} already, and nothing there says that it is of {self.job}; "
                "give another folder"
            )
        if size > (left := shutil.disk_usage(self.target).free):
            raise ClusterError(
                f"{name} has {format_bytes(size)}, and the disk of {self.target} {format_bytes(left)} left; free space "
                "on it, or give another folder"
            )
        draft = self._there.inner(self._draft)
        filesystems.with_retries(f"{name} can't be copied to {self.target}", lambda: draft.write(name, content()))

    def copy(self, folder: Folder, skip: tuple[str, ...]) -> None:
        """Take a folder's files, leaving out the named ones and folders at its top.

        Raises:
            ClusterError: the storage fails, or holds a link or another thing that is no file.
        """
        for name, facts in folder.tree(refuse=True).items():
            if is_safe_name(name) and name.partition("/")[0] not in skip and (content := _content(folder, name)):
                self.put(name, facts.size, content)

    def finish(self) -> None:
        """Move what was taken to its place."""
        draft = self._there.inner(self._draft)
        for name in draft.tree(refuse=False):
            filesystems.with_retries(f"{self.target / name} can't be written", partial(self._there.adopt, draft, name))

    def clear(self) -> None:
        """Delete what was taken and wasn't moved."""
        self._there.delete(self._draft)


@contextmanager
def deliver(target: Path, job: str) -> Iterator[Delivery]:
    """Make a folder that takes a job's files; they are there when the block ends, and none if it fails.

    Raises:
        SpecError: it can't be made, or holds another job's files.
        ClusterError: it doesn't take them.
    """
    if (other := _job_of(target)) not in ("", job):
        raise SpecError(
            f"TO: {target} holds the files of {other}, not of {job}; give another folder, or delete that one"
        )
    is_new = not target.exists()
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"{target} can't be made ({error.strerror}); give another folder") from None
    delivery = Delivery(target, job)
    try:
        yield delivery
        delivery.finish()
    finally:
        delivery.clear()
        if is_new and not any(target.iterdir()):
            target.rmdir()


def is_safe_name(name: str) -> bool:
    """Return whether a file of that name is brought: one that is hidden, leads elsewhere or can't be shown isn't."""
    return all(part[:1] not in ("", ".") and printable(part) == part for part in name.split("/"))


def _job_of(target: Path) -> str:
    """Return the id of the job whose files a folder holds, or nothing where none of them says so."""
    for name in _NAMING:
        try:
            named = Folder(target, follow=True).read_record(name, _Named)
        except ClusterError:
            continue  # it is no job's, or too damaged to tell
        if named is not None:
            return named.job
    return ""


def _content(folder: Folder, name: str) -> Callable[[], Iterable[bytes]] | None:
    """Return what gives a file's pieces; None if it went away meanwhile."""

    def begin() -> Iterable[bytes]:
        pieces = folder.pieces(name)
        return chain((next(pieces, b""),), pieces)

    try:
        filesystems.with_retries(f"storage: {folder.path(name)} can't be read", begin)
    except FileNotFoundError:
        return None
    return begin
