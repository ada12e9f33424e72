"""The cache of this machine: what takes long to compute; no fault of it ends a job."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from pathlib import Path


def root() -> Path:
    """Return the cache's folder: GANSVC_CACHE, or ``~/.cache/gansvc`` where that isn't set or is empty.

    Raises:
        OSError: it has no place: this user has no home, or a relative one is asked for in a folder that is gone.
    """
    try:
        return Path(_setting()).expanduser().absolute()
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "no home folder is known") from error


def problem() -> str:
    """Return why the cache can't be written, with the fix, or nothing where it can."""
    probe = f".probe-{uuid.uuid4().hex[:12]}"
    try:
        write(probe, bytes(4096))  # on a full disk an empty file can still be made
        (root() / probe).unlink()
    except OSError as error:
        return explain_write_error(error)
    return ""


def explain_write_error(error: OSError, name: str = "") -> str:
    """Return in a sentence why the cache, or one of its files, can't be written, with the fix."""
    try:
        place = str(root() / name)
    except OSError:
        place = _setting()
    reason = error.strerror or type(error).__name__
    return (
        f"{place} can't be written ({reason}), which costs time; mend that or set GANSVC_CACHE to a folder of your own"
    )


def _setting() -> str:
    return os.environ.get("GANSVC_CACHE") or "~/.cache/gansvc"


def read(name: str) -> bytes | None:
    """Return the content of a file of the cache; None where it can't be read or others may have written it.

    A link is no cached file, and neither is one that belongs to another user or that others can write to.
    """
    try:
        descriptor = os.open(root() / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not is_ours(os.fstat(descriptor)):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    except OSError:
        return None
    finally:
        os.close(descriptor)


def is_ours(found: os.stat_result) -> bool:
    """Return whether a file is a regular one that only this user can have written."""
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def write(name: str, data: bytes) -> None:
    """Write a file of the cache whole, for this user alone.

    Raises:
        OSError: it can't be written.
    """
    path = root() / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
