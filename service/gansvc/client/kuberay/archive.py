"""Unpack a tar archive as it arrives: plain files only, whatever its headers claim."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from typing import IO, Any

from gansvc.errors import ClusterError
from gansvc.escapes import printable
from gansvc.files.plainfiles import refuse_large
from gansvc.store.delivery import is_safe_name
from gansvc.store.folder import WEIGHTS

Put = Callable[[str, int, Callable[[], Iterable[bytes]]], None]
"""Takes a file: its name, its size, and what gives its pieces."""
_PIECE = 1 << 20
_HEADERS = 64 * 1024
"""Bytes of headers that one member may have; tarfile holds them in memory."""


def unpack(pieces: Iterable[bytes], put: Put, skip: Container[str] = ()) -> int:
    """Hand on an archive's files and return their number; hidden ones, and those with unsafe names, are left out.

    Args:
        pieces: the archive.
        put: takes each file.
        skip: names at its top to leave out, whether or not the pod did.

    Raises:
        ClusterError: it is cut off or is no archive, or holds a link, or a file or headers of a size that no job has.
    """
    count, stream = 0, _BoundedStream(pieces)
    file: Any = stream
    try:
        with tarfile.open(fileobj=file, mode="r|") as opened:
            files: Any = opened
            while (member := files.next()) is not None:
                files.members = []  # they would be kept to its end
                name = member.name.removeprefix("./")
                stream.allow(max(0, min(member.size, WEIGHTS)))
                if member.isdir() or not is_safe_name(name) or name.partition("/")[0] in skip:
                    continue
                if not member.isreg() or member.issparse():
                    raise ClusterError(f"{printable(name)} on the volume is a link or no plain file; delete it there")
                refuse_large(f"{name} on the volume", member.size, WEIGHTS)
                put(name, member.size, partial(_read, files, member))
                count += 1
            stream.drain()
    except (tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError) as error:
        raise ClusterError(f"what the volume sent can't be unpacked ({printable(error)}); try again") from None
    return count


def _read(files: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    content: IO[bytes] | None = files.extractfile(member)
    while content is not None and (piece := content.read(_PIECE)):
        yield piece


class _BoundedStream:
    """A file that is read once, from its pieces, and no further than is allowed."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._piece, self._allowed = iter(pieces), memoryview(b""), 0
        self.allow(0)

    def allow(self, size: int) -> None:
        """Allow the content of one member to be read, and the headers of the next."""
        self._allowed = size + _HEADERS

    def read(self, size: int) -> bytes:
        """Return the next bytes, so many at most; none at the end."""
        while not self._piece:
            if (piece := next(self._pieces, None)) is None:
                return b""
            self._piece = memoryview(piece)
        data, self._piece = bytes(self._piece[:size]), self._piece[size:]
        self._allowed -= len(data)
        if self._allowed < 0:
            raise ClusterError("what the volume sent has headers that no job's files have; look at the volume")
        return data

    def drain(self) -> None:
        """Read what comes after the archive's end: who sends it says only then whether it was whole."""
        self.allow(0)
        while self.read(_PIECE):
            pass
