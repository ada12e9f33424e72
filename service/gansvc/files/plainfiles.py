"""Open plain files and folders without following links, and explain what else stands there."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from contextlib import suppress
from pathlib import Path

from gansvc.errors import ClusterError
from gansvc.escapes import printable

ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FOLDER_MODE, FILE_MODE = 0o775, 0o664
"""Whatever the umask: nobody but the owner and the group writes into what is made."""
_KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


def make_folders(path: str) -> None:
    """Make a folder and those around it, each for this user alone where it wasn't there before."""
    missing = []
    while path and not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        with suppress(FileExistsError):
            Path(folder).mkdir(mode=0o700)


def refuse_large(path: str, size: int, most: int) -> None:
    """Refuse a file that is larger than it may be.

    Raises:
        ClusterError: it is.
    """
    if size > most:
        limit = f"{most / 2**20:.0f} MiB" if most >= 2**20 else f"{most / 1024:.0f} KiB"
        raise ClusterError(
            f"{path} has {format_bytes(size)}, and of such a file at most {limit} are read; delete it, or put the "
            "right one in its place"
        )


def format_bytes(size: int) -> str:
    """Return a number of bytes for people."""
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10**power:
            return f"{size / 10**power:.1f} {unit}"
    return f"{size} bytes"


def open_folder(folder: int, name: str, path: str, make: bool) -> int:
    """Open a folder inside another one, making it if asked to."""
    for attempt in range(2):
        try:
            return os.open(name, ENTER | os.O_NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            if not make or attempt:
                raise
            with suppress(FileExistsError):
                os.mkdir(name, FOLDER_MODE, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                stat_plain(folder, name, path)
            raise
    raise AssertionError("the second try returns or raises")


def stat_plain(folder: int, name: str, path: str) -> os.stat_result | None:
    """Return what stands under a name, a file or a folder; None where nothing does."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise not_plain_error(found, path)
    return found


def not_plain_error(found: os.stat_result, path: str) -> Exception:
    """Return what to raise where something else than a plain file stands."""
    if stat.S_ISDIR(found.st_mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "a device")
    fix = "delete it, or put what it points to in its place" if stat.S_ISLNK(found.st_mode) else "delete it"
    return ClusterError(f"{printable(path)} is {kind}, and a job's folder holds plain files alone; {fix}")


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file of the user's own whole, making its folder: readers see the old content or the new, never a part."""
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    part = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)
