"""Where this machine keeps what takes long to compute; losing it costs time only, so no fault of it ends a job."""

from __future__ import annotations

import os
import stat
import uuid
from pathlib import Path


def root() -> Path:
    """Return the cache's folder: GANSVC_CACHE, or ``~/.cache/gansvc`` where that isn't set or is empty."""
    return Path(os.environ.get("GANSVC_CACHE") or "~/.cache/gansvc").expanduser().absolute()


def problem() -> str:
    """Return why the cache can't be written, with the fix, or nothing where it can."""
    probe = root() / f".probe-{uuid.uuid4().hex[:12]}"
    try:
        write(probe, b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return f"{root()} can't be written ({reason}), which costs time; set GANSVC_CACHE to a folder of your own"
    return ""


def read(path: Path) -> bytes | None:
    """Return a cached file's content; None where there is none that can be read, or where others may have written it.

    A link is no cached file, and neither is one that belongs to another user or that others can write to.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
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


def write(path: Path, data: bytes) -> None:
    """Write a cached file whole, for this user alone.

    Raises:
        OSError: it can't be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
