"""Download a file once per machine: whole or not at all, resumed where it was cut off, under a lock."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from gansvc.errors import ClusterError
from gansvc.escapes import printable
from gansvc.files import addresses, cachefolder, homefolder

STALL = 60.0
"""Seconds without a byte after which a connection is given up."""
PAUSES = (1.0, 5.0, 20.0)
"""Seconds before each new try, after a fault that may pass."""
TOLD = 5.0
"""Seconds between two lines of progress."""
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class _PassingFaultError(Exception):
    """A fault that may be gone at the next try."""


def fetch(url: str, path: Path, digest: str, advice: str, kind: Literal["md5", "sha256"] = "md5") -> None:
    """Download a file unless it is there; another process that wants it meanwhile waits and uses this one's.

    An interrupted download is gone on with where the server allows it. The file gets its name when it is whole and has
    the digest; until then it is ``.NAME.part``. GANSVC_MIRROR, a folder or an address (http, https, s3, gs, abfs),
    stands in for the place in ``url``: there the file's own name is asked for.

    Args:
        url: where the file comes from.
        path: where it goes; its folder is made.
        digest: how its MD5 or SHA-256 begins, in hex digits.
        advice: a sentence on how else to get the file.
        kind: which digest it is.

    Raises:
        ClusterError: it can't be had, or isn't the file that was asked for.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _download_lock(path):
            if not path.is_file():
                part = path.with_name(f".{path.name}.part")
                begun = _resumable_bytes(part)
                found = _download(_resolve_source(url), part, kind)
                if begun and not found.startswith(digest):
                    # What an earlier try left may be of another file.
                    part.unlink()
                    found = _download(_resolve_source(url), part, kind)
                if not found.startswith(digest):
                    part.unlink()
                    raise OSError(
                        f"{_resolve_source(url)} has {kind.upper()} {found}, not {digest}; what came was deleted"
                    )
                part.replace(path)
    except (OSError, _PassingFaultError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if type(error) is URLError else error
        raise ClusterError(f"{advice} (the download failed: {reason or type(error).__name__})") from None


@contextmanager
def from_mirror(place: str) -> Iterator[None]:
    """Fetch from that place meanwhile, as if GANSVC_MIRROR named it; from the usual one where it is empty."""
    before = os.environ.get("GANSVC_MIRROR")
    if place:
        os.environ["GANSVC_MIRROR"] = place
    try:
        yield
    finally:
        if place:
            os.environ.pop("GANSVC_MIRROR")
            os.environ.update({} if before is None else {"GANSVC_MIRROR": before})


def digest_of(path: Path, kind: Literal["md5", "sha256"]) -> str:
    """Return a file's digest in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


@contextmanager
def _download_lock(path: Path) -> Iterator[None]:
    """Keep other processes of this machine from downloading the same file; one that dies lets go of it."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        _print_progress(f"waiting for another process that downloads {path.name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _resolve_source(url: str) -> str:
    mirror = os.environ.get("GANSVC_MIRROR")
    if not mirror:
        return url
    if what := addresses.forbidden_part(mirror):
        raise ClusterError(f"GANSVC_MIRROR: {what} stands in the address; name a place that asks for none")
    place = mirror if "://" in mirror else homefolder.expand(mirror).absolute().as_uri()
    return f"{place.rstrip('/')}/{urlsplit(url).path.rpartition('/')[2]}"


def _download(source: str, part: Path, kind: Literal["md5", "sha256"]) -> str:
    """Bring what is missing of a file into its part, trying again after faults that may pass; return its digest."""
    for pause in (*PAUSES, None):
        try:
            _receive(source, part)
            return digest_of(part, kind)
        except (_PassingFaultError, TimeoutError, ConnectionResetError, http.client.HTTPException) as error:
            if pause is None:
                raise
            _print_progress(f"{source}: {error or type(error).__name__}; another try in {pause:g} s")
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _resumable_bytes(part: Path) -> int:
    """Return the bytes that an earlier try left of a file; what anybody else put in its place is taken away."""
    try:
        found = part.lstat()
    except FileNotFoundError:
        return 0
    if found.st_size and cachefolder.is_ours(found) and found.st_nlink == 1:
        return found.st_size
    part.unlink()
    return 0


def _receive(source: str, part: Path) -> None:
    have = _resumable_bytes(part)
    stream, first, whole = _open_source(source, have)
    made = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if have else os.O_CREAT | os.O_EXCL)
    with stream, open(os.open(part, made, 0o644), "r+b") as file:
        file.seek(first)
        file.truncate()
        told = time.monotonic()
        while data := _read_some(stream):
            file.write(data)
            if time.monotonic() - told > TOLD:
                of = f" of {whole / 1e6:.1f}" if whole else ""
                _print_progress(f"{source}: {file.tell() / 1e6:.1f}{of} MB")
                told = time.monotonic()
        if whole and file.tell() < whole:
            raise _PassingFaultError(f"the connection ended after {file.tell()} of {whole} bytes")


def _open_source(source: str, have: int) -> tuple[IO[bytes], int, int | None]:
    """Return a stream of the source, the position in the file that it begins at, and the file's size where known."""
    if urlsplit(source).scheme not in ("http", "https", "file"):
        from pyarrow.fs import FileSystem

        filesystem, path = FileSystem.from_uri(source)
        stream = filesystem.open_input_file(path)
        first = min(have, stream.size())
        stream.seek(first)
        return stream, first, stream.size()
    headers = {"User-Agent": "gansvc"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urllib.request.urlopen(urllib.request.Request(source, headers=headers), timeout=STALL)  # noqa: S310
    except HTTPError as error:
        if error.code == 416:  # there is no byte left to send: the digest says whether that is all
            error.close()
            return BytesIO(), have, have
        if error.code in _BUSY:
            raise _PassingFaultError(f"the server answers {error.code} {error.reason}") from None
        raise
    length = reply.headers.get("Content-Length")
    first = have if reply.status == 206 else 0
    return reply, first, first + int(length) if length else None


def _read_some(stream: IO[bytes]) -> bytes:
    """Read what is there, so that a slow server shows progress; a stalled one raises TimeoutError."""
    return stream.read1(1 << 16) if isinstance(stream, http.client.HTTPResponse) else stream.read(1 << 16)


def _print_progress(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)  # noqa: T201
