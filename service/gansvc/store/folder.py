"""A folder on local disk or object storage behind one interface: records, whole files, listings."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import IO, TypeVar

import psutil
from pydantic import BaseModel, ValidationError

from gansvc.errors import ClusterError, SpecError
from gansvc.files import filesystems, homefolder
from gansvc.files.localfiles import FileFacts, LocalFiles
from gansvc.files.objectfiles import ObjectFiles
from gansvc.schema.explain import first_finding
from gansvc.store import layout

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

RECORD = 64 * 2**20
"""Bytes of a record, a picture or a page at most: what is larger isn't read."""
WEIGHTS = 16 * 2**30
"""The same for weights and logs, where half of the memory left is more."""
_SMALL = {layout.JOB: 64 * 1024, layout.MODEL_CARD: 4 * 2**20}
_LARGE = (".pt", ".safetensors", ".log")


class Folder:
    """A folder by path or URI (``/data/jobs``, ``s3://bucket/jobs``); readers never see a half-written file.

    On this machine no link inside it is followed, and the folder itself is none: only its path may lead through links.

    Args:
        uri: its path or URI.
        follow: whether the folder itself may be a link: one that the user names, as the storage of all jobs.
        creates: whether a write makes the folder where it is missing; a job's would come back without what it held.

    Raises:
        SpecError: there is no such storage, or its address carries a secret.
        ClusterError: the storage can't be reached.
    """

    def __init__(self, uri: str | Path, follow: bool = False, creates: bool = True) -> None:
        self.uri = str(uri)
        if re.search("[\0\ud800-\udfff]", self.uri):
            raise SpecError(
                f"storage {self.uri!r} holds a zero byte or is no UTF-8 text; give a folder or an s3:// URI"
            )
        self.local = not filesystems.is_object_storage(self.uri)
        self._files: LocalFiles | ObjectFiles
        if not self.local:
            self._files = ObjectFiles(*filesystems.open_filesystem(self.uri), self.uri.partition("://")[0])
            return
        path = filesystems.open_filesystem(self.uri)[1] if "://" in self.uri else self.uri
        self.uri = os.path.abspath(homefolder.expand(path))
        around, name = os.path.split(self.uri)
        top, inside = (self.uri, ()) if follow or not name else (around, (name,))
        self._files = LocalFiles(top, inside, 0 if creates else 1 + len(inside))

    def __truediv__(self, name: str) -> Folder:
        inner = copy(self)
        inner.uri, inner._files = f"{self.uri.rstrip('/')}/{name}", self._files.inner(name)
        return inner

    def __reduce__(self) -> tuple[object, ...]:
        return (_unpickled, (self.uri, self._files if self.local else None))

    @property
    def parent(self) -> Folder:
        """The folder around this one, which is reached as this one is."""
        outer = copy(self)
        outer.uri, outer._files = self.uri.rpartition("/")[0], self._files.outer()
        return outer

    def path(self, name: str = "") -> str:
        """Return the address of a file of this folder, for people and for other programs."""
        return f"{self.uri.rstrip('/')}/{name}" if name else self.uri

    def make(self) -> bool:
        """Make this folder, the user's own where it is no shared place, and return whether it wasn't there before.

        An object storage has no folders to make: there two that ask at the same instant may both be told so.

        Raises:
            ClusterError: the storage refuses.
        """
        files = self._files
        if isinstance(files, LocalFiles):
            return self._ask("be written", "", files.make)
        return not self.names()

    def write(self, name: str, data: bytes | str) -> None:
        """Write a file whole: under another name first, then renamed, so that it is old, new or absent.

        Raises:
            ClusterError: the storage refuses, or a link or another thing that is no file stands in the way.
        """
        content = data.encode() if isinstance(data, str) else data
        try:
            self._ask("be written", name, lambda: self._files.write(name, (content,)))
        except FileNotFoundError as error:
            raise ClusterError(f"storage: {self.path(name)} can't be written: its folder was taken away") from error

    def begin(self, name: str) -> IO[bytes]:
        """Open a new file of a local folder that is written bit by bit.

        Raises:
            ClusterError: the disk refuses, or there is something of that name.
        """
        files = self._files
        if not isinstance(files, LocalFiles):
            raise ClusterError(f"storage: {self.path(name)} can't be written bit by bit: objects are written whole")
        return self._ask("be written", name, lambda: files.begin(name))

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None if there is none.

        Raises:
            ClusterError: the storage fails, or it is no plain file, or one too large to be what it is named.
        """
        try:
            return self._ask("be read", name, lambda: self._files.read(name, size_limit(name)))
        except FileNotFoundError:
            return None

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a file's content piece by piece; raises OSError where the storage fails, and as ``read`` does."""
        return self._files.pieces(name, WEIGHTS)

    def read_record(self, name: str, model: type[M]) -> M | None:
        """Return a record, or None if it isn't there.

        Raises:
            ClusterError: the file is there and isn't such a record.
        """
        files, data = self._files, None
        if isinstance(files, ObjectFiles):
            # Cut off, because it was replaced meanwhile, it is no record: no part of an object of JSON is one.
            with suppress(FileNotFoundError, ValidationError):
                data = self._ask("be read", name, lambda: files.glance(name, size_limit(name)))
                return model.model_validate_json(data)
            if data is None:
                return None
        data = self.read(name)
        if data is None:
            return None
        try:
            return model.model_validate_json(data)
        except ValidationError as error:
            raise ClusterError(f"{self.path(name)} is not a {model.__name__} ({first_finding(error)})") from None

    def write_record(self, name: str, record: BaseModel) -> None:
        """Write a record as indented JSON."""
        self.write(name, record.model_dump_json(indent=2) + "\n")

    def read_lines(self, name: str, model: type[M]) -> list[M]:
        """Return the records of a .jsonl file, none if it isn't there.

        Raises:
            ClusterError: a line isn't such a record, as when it was cut off.
        """
        records = []
        for number, line in enumerate((self.read(name) or b"").splitlines(), start=1):
            if line.strip():
                try:
                    records.append(model.model_validate_json(line))
                except ValidationError:
                    raise ClusterError(f"{self.path(name)}: line {number} is not a {model.__name__}") from None
        return records

    def write_lines(self, name: str, records: list[M]) -> None:
        """Write records as one JSON line each."""
        self.write(name, "".join(record.model_dump_json() + "\n" for record in records))

    def names(self) -> list[str]:
        """Return the names of the files and folders here, sorted; none if the folder isn't there.

        Raises:
            ClusterError: the storage fails, or there is no such bucket.
        """
        return sorted(self._ask("be listed", "", self._files.names))

    def tree(self, refuse: bool = False) -> dict[str, FileFacts]:
        """Return size and time of every file here and in the folders inside, by its name relative to this folder.

        It is one listing of an object storage. What is hidden is left out, as are links and the like.

        Args:
            refuse: whether to refuse links and the like.

        Raises:
            ClusterError: the storage fails, or there is what is to be refused.
        """
        return self._ask("be listed", "", lambda: self._files.tree(refuse))

    def exists(self, name: str) -> bool:
        """Return whether a file or folder of that name is here.

        Raises:
            ClusterError: the storage fails, or a link or another thing that is no file stands there.
        """
        return bool(self._ask("be looked up", name, lambda: self._files.kind(name)))

    def delete(self, name: str) -> None:
        """Delete a file or folder, if it is there; a link in its place is refused.

        Raises:
            ClusterError: as ``exists`` says.
        """
        with suppress(FileNotFoundError):
            self._ask("be deleted", name, lambda: self._files.delete(name))

    def _ask(self, what: str, name: str, ask: Callable[[], T]) -> T:
        return filesystems.with_retries(f"storage: {self.path(name)} can't {what}", ask)


def size_limit(name: str) -> int:
    """Return how many bytes a file of that name may have at most to be read."""
    if limit := _SMALL.get(name.rpartition("/")[2]):
        return limit
    # What doesn't fit the memory ends the process in place of the read.
    return min(WEIGHTS, psutil.virtual_memory().available // 2) if name.endswith(_LARGE) else RECORD


def _unpickled(uri: str, files: LocalFiles | None) -> Folder:
    """Return a folder that comes from another process."""
    folder = Folder(uri)
    if files is not None:
        folder._files = files
    return folder
