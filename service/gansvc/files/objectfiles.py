"""Files of an object storage under one prefix, through pyarrow; with the interface of ``localfiles``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gansvc.errors import ClusterError
from gansvc.files.localfiles import PIECE, FileFacts, Kind
from gansvc.files.plainfiles import refuse_large

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem


class ObjectFiles:
    """The files of one folder of an object storage.

    Args:
        system: pyarrow's file system; the same connections serve the folders inside.
        root: the folder's path in it.
        scheme: what an address of it begins with, as ``s3``.
    """

    def __init__(self, system: FileSystem, root: str, scheme: str) -> None:
        self._system, self._root, self._scheme = system, root, scheme

    def inner(self, name: str) -> ObjectFiles:
        """Return the files of a folder inside."""
        return ObjectFiles(self._system, self._path(name), self._scheme)

    def outer(self) -> ObjectFiles:
        """Return the files of the folder around this one."""
        return ObjectFiles(self._system, self._root.rpartition("/")[0], self._scheme)

    def path(self, name: str = "") -> str:
        """Return the address of a file."""
        return f"{self._scheme}://{self._path(name) if name else self._root}"

    def read(self, name: str, most: int) -> bytes:
        """Return the content of a file of so many bytes at most."""
        while True:
            with self._system.open_input_file(self._path(name)) as file:
                refuse_large(self.path(name), file.size(), most)
                data, version = bytes(file.read()), file.metadata()
            # pyarrow asks for an object's size before it reads: one that was replaced in between comes cut off.
            with self._system.open_input_file(self._path(name)) as file:
                if file.metadata() == version:
                    return data

    def glance(self, name: str, most: int) -> bytes:
        """Return the content as ``read`` does, by two requests; a file that is replaced meanwhile may come cut off."""
        with self._system.open_input_file(self._path(name)) as file:
            refuse_large(self.path(name), file.size(), most)
            return bytes(file.read())

    def pieces(self, name: str, most: int) -> Iterator[bytes]:
        """Yield the content of a file of so many bytes at most, piece by piece.

        Raises:
            ClusterError: it was replaced meanwhile.
        """
        with self._system.open_input_file(self._path(name)) as file:
            size, version = file.size(), file.metadata()
            refuse_large(self.path(name), size, most)
            while piece := file.read(8 * PIECE):
                yield bytes(piece)
        if size > 8 * PIECE:
            with self._system.open_input_file(self._path(name)) as file:
                if file.metadata() != version:
                    raise ClusterError(f"{self.path(name)} was replaced while it was read; try again")

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write a file whole."""
        # No `with`: after an error it would close the stream, and so put half a file in place.
        stream = self._system.open_output_stream(self._path(name))
        for piece in pieces:
            stream.write(piece)
        stream.close()

    def kind(self, name: str) -> Kind:
        """Return what stands under a name."""
        from pyarrow.fs import FileType

        found = self._system.get_file_info(self._path(name)).type
        return "" if found == FileType.NotFound else "folder" if found == FileType.Directory else "file"

    def names(self) -> list[str]:
        """Return the names of what is here, hidden ones left out; none if the folder isn't there.

        Raises:
            ClusterError: there is no such bucket.
        """
        infos = self._list(recursive=False)
        if not infos:
            self._require_bucket()
        return [info.base_name for info in infos if not info.base_name.startswith(".")]

    def tree(self, refuse: bool) -> dict[str, FileFacts]:
        """Return the files here and in all folders inside by name, in one listing; hidden ones are left out.

        Args:
            refuse: nothing here; an object storage holds no links.
        """
        from pyarrow.fs import FileType

        found = {
            info.path.removeprefix(f"{self._root}/"): FileFacts(info.size, info.mtime_ns / 1e9 if info.mtime_ns else 0)
            for info in self._list(recursive=True)
            if info.type == FileType.File
        }
        # A name may hold anything, "../.." too: what begins with a dot stays where it is.
        return {name: facts for name, facts in found.items() if not any(p[:1] in ("", ".") for p in name.split("/"))}

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with all that is in it, if it is there."""
        kind = self.kind(name)
        if kind:
            (self._system.delete_dir if kind == "folder" else self._system.delete_file)(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _list(self, recursive: bool) -> list[FileInfo]:
        from pyarrow.fs import FileSelector

        found: list[FileInfo] = self._system.get_file_info(
            FileSelector(self._root, allow_not_found=True, recursive=recursive)
        )
        return found

    def _require_bucket(self) -> None:
        """Tell an empty folder from a bucket that isn't there: pyarrow lists both alike."""
        from pyarrow.fs import FileType

        bucket = self._root.split("/")[0]
        if self._system.get_file_info(bucket).type == FileType.NotFound:
            raise ClusterError(
                f"storage: {self.path()} can't be listed: there is no bucket {bucket!r}; make it, or correct --storage"
            )
