"""Tell a file's kind by its first bytes, for messages where another kind was expected."""

from __future__ import annotations

import zipfile
from pathlib import Path

_BEGINNINGS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"BM", "a BMP picture"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (8, b"WEBP", "a WebP picture"),
    (128, b"DICM", "a DICOM file"),
    (344, b"n+1\0", "a NIfTI volume"),
    (0, b"\x93NUMPY", "a single array (.npy)"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (0, b"MATLAB 5", "a MATLAB file"),
    (0, b"%PDF", "a PDF"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ\0", "an xz file"),
    (0, b"(\xb5/\xfd", "a zstd file"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (8, b'{"', "a safetensors file"),
    *((0, b"\x80" + bytes([protocol]), "a Python pickle") for protocol in range(2, 6)),
)
_LONGEST = 1024


def kind(path: Path) -> str:
    """Return what a file is, as ``a PNG picture``, or nothing where its first bytes don't say so.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        first = file.read(_LONGEST)
    if not first:
        return "an empty file"
    for place, beginning, name in _BEGINNINGS:
        if first.startswith(beginning, place):
            return _archive(path) or name if name == "a zip archive" else name
    try:
        text = first.decode() if len(first) < _LONGEST else first[:-3].decode(errors="strict")
    except UnicodeDecodeError:
        return ""
    return "a text" if text.isprintable() or (set(text) & set("\n\r\t,") and "\0" not in text) else ""


def _archive(path: Path) -> str:
    """Return what a zip archive holds, or nothing where that can't be told."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return ""
    if any(name.endswith(".npy") for name in names):
        return "an .npz archive"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch file"
    return f"a zip archive of {len(names)} other files, as {names[0][:60]!r}" if names else ""
