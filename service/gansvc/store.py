"""The job folder: its paths, atomic writes, and local or object storage behind one small interface (pyarrow's)."""

from __future__ import annotations

import os
import re
import uuid
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from gansvc import filesystems, homefolder
from gansvc.errors import ClusterError, SpecError

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem, FileType

M = TypeVar("M", bound=BaseModel)
_TRIAL = re.compile(r"trial-\d{5,}")


class Folder:
    """A folder by path or URI (``/data/jobs``, ``s3://bucket/jobs``); readers never see a half-written file.

    Raises:
        SpecError: there is no such storage, or its address carries a secret.
        ClusterError: the storage can't be reached.
    """

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri)
        if re.search("[\0\ud800-\udfff]", self.uri):
            raise SpecError(
                f"storage {self.uri!r} holds a zero byte or is no UTF-8 text; give a folder or an s3:// URI"
            )
        self._fs: FileSystem
        if "://" in self.uri:
            self._fs, self._root = filesystems.opened(self.uri)
        else:
            from pyarrow.fs import LocalFileSystem

            self._fs, self._root = LocalFileSystem(), os.path.abspath(homefolder.expanded(self.uri))
        self.local = not filesystems.is_object_storage(self.uri)
        if self.local:
            self.uri = self._root

    def __truediv__(self, name: str) -> Folder:
        # The same connections serve the folders inside.
        inner = copy(self)
        inner.uri, inner._root = f"{self.uri.rstrip('/')}/{name}", f"{self._root.rstrip('/')}/{name}"
        return inner

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
        content = data.encode() if isinstance(data, str) else data
        try:
            filesystems.patiently(f"storage: {self.path(name)} can't be written", lambda: self._put(name, content))
        except FileNotFoundError as error:
            raise ClusterError(f"storage: {self.path(name)} can't be written: its folder was taken away") from error

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None if there is none.

        Raises:
            ClusterError: the storage fails.
        """
        try:
            return filesystems.patiently(f"storage: {self.path(name)} can't be read", lambda: self._whole(name))
        except FileNotFoundError:
            return None

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
        """Return the names of the files and folders here, sorted; none if the folder isn't there.

        Raises:
            ClusterError: the storage fails, or there is no such bucket.
        """
        infos = self._listed(recursive=False)
        if not infos and not self.local:
            self._require_bucket()
        return sorted(info.base_name for info in infos if not info.base_name.startswith("."))

    def exists(self, name: str) -> bool:
        """Return whether a file or folder of that name is here."""
        from pyarrow.fs import FileType

        return bool(self._kind(name) != FileType.NotFound)

    def delete(self, name: str) -> None:
        """Delete a file or folder, if it is there."""
        from pyarrow.fs import FileType

        kind, target = self._kind(name), f"{self._root}/{name}"
        if kind == FileType.NotFound:
            return
        delete = self._fs.delete_dir if kind == FileType.Directory else self._fs.delete_file
        with suppress(FileNotFoundError):
            filesystems.patiently(f"storage: {self.path(name)} can't be deleted", lambda: delete(target))

    def copy_to(self, target: Path, skip: tuple[str, ...] = ()) -> None:
        """Copy the folder's files to a local folder, leaving out the named sub-folders and hidden files.

        Raises:
            SpecError: the local folder can't be made.
            ClusterError: the storage fails, or the local folder doesn't take them.
        """
        from pyarrow.fs import FileType

        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpecError(f"{target} can't be made ({error.strerror}); give another folder") from None
        for info in self._listed(recursive=True):
            # An object's name may hold anything, "../.." too: what begins with a dot stays where it is.
            parts = info.path.removeprefix(f"{self._root}/").split("/")
            if info.type != FileType.File or any(
                part in ("", *skip) or part[0] == "." or "\0" in part for part in parts
            ):
                continue
            data = self.read("/".join(parts))
            if data is not None:
                _copy(target.joinpath(*parts), data)

    def _put(self, name: str, data: bytes) -> None:
        if self.local:
            write_file(f"{self._root}/{name}", data)
            return
        # No `with`: after an error it would close the stream, and so put half a file in place.
        stream = self._fs.open_output_stream(f"{self._root}/{name}")
        stream.write(data)
        stream.close()

    def _whole(self, name: str) -> bytes:
        while True:
            with self._fs.open_input_file(f"{self._root}/{name}") as file:
                data = bytes(file.read())
                version = None if self.local else file.metadata()
            if self.local:
                return data
            # pyarrow asks for an object's size before it reads: one that was replaced in between comes cut off.
            with self._fs.open_input_file(f"{self._root}/{name}") as file:
                if file.metadata() == version:
                    return data

    def _listed(self, recursive: bool) -> list[FileInfo]:
        from pyarrow.fs import FileSelector

        selector = FileSelector(self._root, allow_not_found=True, recursive=recursive)
        found: list[FileInfo] = filesystems.patiently(
            f"storage: {self.uri} can't be listed", lambda: self._fs.get_file_info(selector)
        )
        return found

    def _kind(self, name: str) -> FileType:
        path = f"{self._root}/{name}"
        return filesystems.patiently(
            f"storage: {self.path(name)} can't be looked up", lambda: self._fs.get_file_info(path)
        ).type

    def _require_bucket(self) -> None:
        """Tell an empty folder from a bucket that isn't there: pyarrow lists both alike."""
        from pyarrow.fs import FileType

        bucket = self._root.split("/")[0]
        trouble = f"storage: {self.uri} can't be listed"
        if filesystems.patiently(trouble, lambda: self._fs.get_file_info(bucket)).type == FileType.NotFound:
            raise ClusterError(f"{trouble}: there is no bucket {bucket!r}; make it, or correct --storage")


def _copy(path: Path, data: bytes) -> None:
    filesystems.patiently(f"{path} can't be written", lambda: write_file(path, data))


def run_name(label: str, seed: int) -> str:
    """Return the name of a run's folder under train/, and of its score under evaluation/."""
    return f"{label}-seed{seed}"


def trial_name(number: int) -> str:
    """Return the name of a trial's folder under search/<label>/, by its number from 0."""
    return f"trial-{number:05d}"


def trial_folders(search: Folder) -> list[Folder]:
    """Return the folders of a loss's trials, in the order of their numbers; its other files are none."""
    return [search / name for name in search.names() if _TRIAL.fullmatch(name)]


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
