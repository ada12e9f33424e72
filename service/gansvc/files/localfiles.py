"""Files of a local folder that others may write to: no link is followed, only plain files are read.

The folder that a user names is opened as it is given, through links too. Below it each folder is opened from the one
around it and never by a path, so that what is put in its place meanwhile leads nowhere.
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import IO, Literal, NamedTuple

from gansvc.errors import ClusterError
from gansvc.files.plainfiles import (
    ENTER,
    FILE_MODE,
    FOLDER_MODE,
    make_folders,
    not_plain_error,
    open_folder,
    refuse_large,
    stat_plain,
)

Kind = Literal["file", "folder", ""]
"""What stands under a name; empty where nothing does."""
DEEPEST = 16
"""Folders within each other; a job's are six."""
PIECE = 1 << 20
"""Bytes that are read at a time."""
_TRIES = 10
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class FileFacts(NamedTuple):
    """What a listing says of a file."""

    size: int
    """Bytes."""
    modified: float
    """Unix time."""


@dataclass(frozen=True)
class LocalFiles:
    """The files of one folder. Names are relative to it, with ``/`` between their parts.

    Everything raises OSError where the machine refuses, and ClusterError, a sentence, where a link or another thing
    that is no plain file stands in the way.
    """

    top: str
    """The folder that is opened as it is given, links and all."""
    inside: tuple[str, ...] = ()
    """The folders below it that lead to this one; none of them may be a link."""
    held: int = 0
    """So many of the first folders, ``top`` included, are never made: what was there and is gone stays gone."""

    def inner(self, name: str) -> LocalFiles:
        """Return the files of a folder inside."""
        return replace(self, inside=(*self.inside, *name.split("/")))

    def outer(self) -> LocalFiles:
        """Return the files of the folder around this one."""
        return replace(self, inside=self.inside[:-1]) if self.inside else replace(self, top=os.path.dirname(self.top))

    def path(self, name: str = "") -> str:
        """Return the path of a file, for people and for other programs."""
        return os.path.join(self.top, *self.inside, *name.split("/")).rstrip("/") or "/"

    def read(self, name: str, most: int) -> bytes:
        """Return the content of a file of so many bytes at most."""
        return b"".join(self.pieces(name, most))

    def pieces(self, name: str, most: int) -> Iterator[bytes]:
        """Yield the content of a file of so many bytes at most, piece by piece."""
        *folders, last = name.split("/")
        with self._enter(folders) as folder:
            descriptor = self._open_file(folder, last, name)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise not_plain_error(found, self.path(name))
            refuse_large(self.path(name), found.st_size, most)
            come = 0
            # One that grows while it is read ends at the limit, too.
            while piece := os.read(descriptor, PIECE):
                come += len(piece)
                refuse_large(self.path(name), come, most)
                yield piece
        finally:
            os.close(descriptor)

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write a file whole, making the folders that lead to it: readers see the old content or the new, no part."""
        *folders, last = name.split("/")
        with self._enter(folders, make=True) as folder:
            self._stat(folder, last, name)
            part = f".{last}.{uuid.uuid4().hex[:8]}"
            try:
                with open(os.open(part, _MAKE, FILE_MODE, dir_fd=folder), "wb") as file:
                    for piece in pieces:
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, last, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=folder)
                raise

    def begin(self, name: str) -> IO[bytes]:
        """Open a new file that is written bit by bit; readers see what is there so far."""
        *folders, last = name.split("/")
        with self._enter(folders, make=True) as folder:
            return open(os.open(last, _MAKE, FILE_MODE, dir_fd=folder), "wb")

    def adopt(self, other: LocalFiles, name: str) -> None:
        """Move a file here from another folder on the same disk, in place of one of that name."""
        *folders, last = name.split("/")
        with other._enter(folders) as there, self._enter(folders, make=True) as here:
            self._stat(here, last, name)
            os.replace(last, last, src_dir_fd=there, dst_dir_fd=here)

    def kind(self, name: str) -> Kind:
        """Return what stands under a name."""
        *folders, last = name.split("/")
        try:
            with self._enter(folders) as folder:
                found = self._stat(folder, last, name)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        return "" if found is None else "folder" if stat.S_ISDIR(found.st_mode) else "file"

    def names(self) -> list[str]:
        """Return the names of what is here, hidden ones left out; none if the folder isn't there."""
        try:
            with self._enter(()) as folder:
                return [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
        except FileNotFoundError:
            return []

    def tree(self, refuse: bool) -> dict[str, FileFacts]:
        """Return the files here and in all folders inside by name, hidden ones left out.

        Args:
            refuse: whether to refuse links and other things that are no files; else they are left out.
        """
        found: dict[str, FileFacts] = {}
        try:
            with self._enter(()) as folder:
                self._walk(folder, (), found, refuse)
        except FileNotFoundError:
            return found
        return found

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with all that is in it, if it is there; nothing that a link in it points to."""
        *folders, last = name.split("/")
        try:
            with self._enter(folders) as folder:
                found = self._stat(folder, last, name)
                if found is not None and stat.S_ISDIR(found.st_mode):
                    _remove(folder, last)
                elif found is not None:
                    os.unlink(last, dir_fd=folder)
        except FileNotFoundError:
            return
        except RecursionError:
            raise ClusterError(f"{self.path(name)} is nested too deeply to be deleted; delete it by hand") from None

    def make(self) -> bool:
        """Make this very folder and return whether it wasn't there before.

        It is this user's alone, unless others write into the folder around it: then it is shared as that one is.
        """
        with replace(self, inside=self.inside[:-1], held=0)._enter((), make=True) as around:
            found = os.fstat(around)
            is_own = found.st_uid == os.geteuid() and not found.st_mode & 0o022
            try:
                os.mkdir(self.inside[-1], 0o700 if is_own else FOLDER_MODE, dir_fd=around)
            except FileExistsError:
                return False
        return True

    @contextmanager
    def _enter(self, folders: Iterable[str], make: bool = False) -> Iterator[int]:
        """Open the folder that these lead to, one from the other, and close it again."""
        if make and self.held < 1:
            make_folders(self.top)
        descriptor = os.open(self.top, ENTER)
        try:
            path = self.top
            for depth, name in enumerate((*self.inside, *folders), start=1):
                path = os.path.join(path, name)
                inner = open_folder(descriptor, name, path, make and depth >= self.held)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_file(self, folder: int, last: str, name: str) -> int:
        try:
            return os.open(last, _READ, dir_fd=folder)
        except FileNotFoundError:
            raise
        except OSError:
            self._stat(folder, last, name)
            raise

    def _stat(self, folder: int, last: str, name: str) -> os.stat_result | None:
        """Return what stands under a name; None where nothing does."""
        return stat_plain(folder, last, self.path(name))

    def _walk(self, folder: int, above: tuple[str, ...], found: dict[str, FileFacts], refuse: bool) -> None:
        if len(above) > DEEPEST:
            raise ClusterError(f"{self.path('/'.join(above))} lies deeper than a job's folders do; delete it")
        with os.scandir(folder) as entries:
            inside = sorted(
                (entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name
            )
            facts = [(entry.name, _facts(entry)) for entry in inside]
        for name, here in facts:
            parts = (*above, name)
            if here is None:
                continue
            if stat.S_ISREG(here.st_mode):
                found["/".join(parts)] = FileFacts(here.st_size, here.st_mtime)
            elif stat.S_ISDIR(here.st_mode):
                with suppress(FileNotFoundError, NotADirectoryError):
                    inner = open_folder(folder, name, self.path("/".join(parts)), make=False)
                    try:
                        self._walk(inner, parts, found, refuse)
                    finally:
                        os.close(inner)
            elif refuse:
                raise not_plain_error(here, self.path("/".join(parts)))


def _facts(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _remove(folder: int, name: str) -> None:
    """Delete a folder with all that is in it, though others may delete there, too."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            shutil.rmtree(name, dir_fd=folder)
            return
