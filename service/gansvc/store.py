"""The job folder: its paths, atomic writes, and local or object storage behind one small interface (pyarrow's)."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from gansvc.errors import ClusterError, SpecError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

M = TypeVar("M", bound=BaseModel)


class Folder:
    """A folder by path or URI (``/data/jobs``, ``s3://bucket/jobs``); readers never see a half-written file."""

    def __init__(self, uri: str | Path) -> None:
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem, LocalFileSystem

        self.uri = str(uri)
        if "\0" in self.uri:
            raise SpecError(f"storage {self.uri!r} holds a zero byte; give a folder or an s3:// URI")
        self._fs: FileSystem
        try:
            if "://" in self.uri:
                self._fs, self._root = FileSystem.from_uri(self.uri)
            else:
                self.uri = self._root = os.path.abspath(os.path.expanduser(self.uri))
                self._fs = LocalFileSystem()
        except (ArrowException, OSError, UnicodeError) as error:
            raise SpecError(f"storage {self.uri!r} can't be opened ({error}); give a folder or an s3:// URI") from None
        self.local = isinstance(self._fs, LocalFileSystem)

    def __truediv__(self, name: str) -> Folder:
        return Folder(f"{self.uri.rstrip('/')}/{name}")

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        return (Folder, (self.uri,))

    def path(self, name: str = "") -> str:
        """Return the address of a file of this folder, for people and for other programs."""
        return f"{self.uri.rstrip('/')}/{name}" if name else self.uri

    def write(self, name: str, data: bytes | str) -> None:
        """Write a file whole: under another name first, then renamed, so that it is old, new or absent.

        Raises:
            ClusterError: the storage refuses.
        """
        target = f"{self._root}/{name}"
        try:
            if self.local:
                write_file(target, data.encode() if isinstance(data, str) else data)
                return
            with self._fs.open_output_stream(target) as stream:
                stream.write(data.encode() if isinstance(data, str) else data)
        except OSError as error:
            raise ClusterError(f"storage: {self.path(name)} can't be written ({error}); check the folder") from error

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None if there is none.

        Raises:
            ClusterError: the storage fails.
        """
        try:
            with self._fs.open_input_stream(f"{self._root}/{name}", compression=None) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ClusterError(f"storage: {self.path(name)} can't be read ({error}); check the folder") from error

    def read_record(self, name: str, model: type[M]) -> M | None:
        """Return a record, or None if it isn't there.

        Raises:
            ClusterError: the file is there and isn't such a record.
        """
        data = self.read(name)
        if data is None:
            return None
        try:
            return model.model_validate_json(data)
        except ValidationError as error:
            raise ClusterError(f"{self.path(name)} is not a {model.__name__} ({error.error_count()} faults)") from None

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
        """Return the names of the files and folders here, sorted; none if the folder isn't there."""
        from pyarrow.fs import FileSelector

        try:
            infos = self._fs.get_file_info(FileSelector(self._root, allow_not_found=True))
        except OSError as error:
            raise ClusterError(f"storage: {self.uri} can't be listed ({error}); check the folder") from error
        return sorted(info.base_name for info in infos if not info.base_name.startswith("."))

    def exists(self, name: str) -> bool:
        """Return whether a file or folder of that name is here."""
        from pyarrow.fs import FileType

        return bool(self._fs.get_file_info(f"{self._root}/{name}").type != FileType.NotFound)

    def delete(self, name: str) -> None:
        """Delete a file or folder, if it is there."""
        from pyarrow.fs import FileType

        kind = self._fs.get_file_info(f"{self._root}/{name}").type
        if kind == FileType.Directory:
            self._fs.delete_dir(f"{self._root}/{name}")
        elif kind != FileType.NotFound:
            self._fs.delete_file(f"{self._root}/{name}")

    def copy_to(self, target: Path, skip: tuple[str, ...] = ()) -> None:
        """Copy the folder's files to a local folder, leaving out the named sub-folders."""
        target.mkdir(parents=True, exist_ok=True)
        for name in self.names():
            if name in skip:
                continue
            data = None if self._is_folder(name) else self.read(name)
            if data is None:
                (self / name).copy_to(target / name, skip)
            else:
                write_file(target / name, data)

    def _is_folder(self, name: str) -> bool:
        from pyarrow.fs import FileType

        return bool(self._fs.get_file_info(f"{self._root}/{name}").type == FileType.Directory)


def run_name(label: str, seed: int) -> str:
    """Return the name of a run's folder under train/, and of its score under evaluation/."""
    return f"{label}-seed{seed}"


def seed_name(seed: int) -> str:
    """Return the name of a seed's folder in a trial's."""
    return f"seed{seed}"


def write_file(path: str | Path, data: bytes) -> None:
    """Write a local file whole, making its folder: readers see the old content or the new, never a part."""
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    part = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)
