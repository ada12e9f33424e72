"""Read data sets from files and packages into arrays: uint8 images (N, H, H) or (N, H, H, 3), and labels as classes.

Nothing here reads a file at import, and nothing unpickles: numpy's ``allow_pickle`` stays off.
"""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import psutil

from gansvc.catalog import classes, filekinds
from gansvc.catalog.classes import Labels
from gansvc.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

TILE = 28
_BLOCK, _SIDE = 36, 512
# Every fifth block is val, every fifth is test, in a pattern that never lets a split fill a row or a column.
_SPLIT_OF_BLOCK = ("train", "val", "train", "test", "train")
_STRIDE = {"train": 2, "val": 4, "test": 4}


@dataclass(frozen=True)
class Arrays:
    """Images per split, as stored, and their classes."""

    images: dict[str, np.ndarray[Any, Any]]
    labels: Labels


def read_npz(path: Path, titles: Mapping[str, str] = MappingProxyType({})) -> Arrays:
    """Read a file in MedMNIST's form.

    Args:
        path: the file.
        titles: what its source calls each class, by its label in the file.

    Raises:
        SpecError: the file is missing, isn't an npz archive of arrays, is damaged, or lacks a split; or its images
            aren't uint8 squares of one side and one number of channels; or its labels aren't theirs.
    """
    import numpy as np

    if problem := missing_npz(path):
        raise SpecError(problem)
    try:
        # numpy takes whatever it doesn't know for a pickle.
        if (found := filekinds.kind(path)) not in ("", "an .npz archive", "a zip archive"):
            raise _bad_npz(path, f"it is {found}, not an .npz archive of arrays")
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise _bad_npz(path, "it is one array, not an .npz archive of arrays")
        with archive:
            _refuse_too_large(archive, path)
            images = {split: _images(archive, split, path) for split in ("train", "val", "test")}
            keys = {split: f"{split}_labels" for split in images}
            labels = {split: _array(archive, key, path) for split, key in keys.items() if key in archive.files}
    except _UNREADABLE as error:
        unknown = "pickle" in str(error)  # numpy's words on a file that it doesn't know
        reason = "it is no .npz archive of arrays" if unknown else f"it can't be read: {error or type(error).__name__}"
        raise _bad_npz(path, reason) from None
    shapes = {split: "x".join(map(str, (*array.shape, 1)[1:4])) for split, array in images.items()}
    if len(set(shapes.values())) > 1:
        raise _bad_npz(path, "its splits are unlike: " + ", ".join(f"{s} {shape}" for s, shape in shapes.items()))
    return Arrays(images, classes.read(labels, {split: len(array) for split, array in images.items()}, path, titles))


def missing_npz(path: Path) -> str | None:
    """Return what to do when the user's file isn't there, or None."""
    return None if path.is_file() else f"dataset.path: there is no file {path}; give the path of an .npz file"


# What zip, its compressions and numpy raise on files that are damaged, made up or pickled.
_UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)


def _refuse_too_large(archive: np.lib.npyio.NpzFile, path: Path) -> None:
    """Refuse an archive whose arrays, by the sizes that zipfile holds them to, are larger than the memory left."""
    members = archive.zip.infolist() if archive.zip else []
    size, room = sum([member.file_size for member in members]), psutil.virtual_memory().available
    if size > room:
        raise _bad_npz(
            path, f"its arrays hold {size / 2**30:.1f} GiB, and this machine has {room / 2**30:.1f} GiB left"
        )


def _images(archive: Mapping[str, Any], split: str, path: Path) -> np.ndarray[Any, Any]:
    key = f"{split}_images"
    if key not in archive:
        raise _bad_npz(path, f"it has no {key}")
    array = _array(archive, key, path)
    side = array.shape[1] if array.ndim > 2 else 0
    if array.dtype != "uint8" or not side or array.shape[1:] not in ((side, side), (side, side, 1), (side, side, 3)):
        raise _bad_npz(path, f"{key} is {array.dtype} {array.shape}")
    return array


def _array(archive: Mapping[str, Any], key: str, path: Path) -> np.ndarray[Any, Any]:
    import numpy as np

    try:
        array = archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise _bad_npz(path, f"{key} holds Python objects, and nothing is unpickled; save numbers or strings") from None
    if not isinstance(array, np.ndarray):
        raise _bad_npz(path, f"{key} is no array")
    return array


def _bad_npz(path: Path, reason: str) -> SpecError:
    return SpecError(
        f"dataset: {path} is not in MedMNIST's form ({reason}); it wants train_images, val_images and test_images, "
        "uint8 squares, (N, 28, 28) or (N, 28, 28, 3) or of another side"
    )


def read_histology() -> Arrays:
    """Cut scikit-image's picture of colon tissue (512x512 RGB) into 28x28 tiles.

    The picture is a board of 36x36 blocks; a block belongs to one split and tiles never cross its edge, so that no two
    splits share a pixel while all of them see every part of the picture.
    """
    import numpy as np
    from skimage.data import immunohistochemistry

    picture = immunohistochemistry()
    images: dict[str, np.ndarray[Any, Any]] = {}
    for split in ("train", "val", "test"):
        corners = _corners(split)
        images[split] = np.stack([picture[y : y + TILE, x : x + TILE] for y, x in corners])
    return Arrays(images, Labels(no_classes="it comes without labels"))


def missing_histology() -> str | None:
    """Return what to do when scikit-image isn't installed, or None."""
    if find_spec("skimage"):
        return None
    return "dataset: histology needs scikit-image, which isn't installed here; pip install 'gansvc[train]'"


def histology_counts() -> dict[str, int]:
    """Return the number of tiles per split."""
    return {split: len(_corners(split)) for split in ("train", "val", "test")}


def _corners(split: str) -> list[tuple[int, int]]:
    blocks = range(_SIDE // _BLOCK)
    steps = range(0, _BLOCK - TILE + 1, _STRIDE[split])
    mine = [(r, c) for r in blocks for c in blocks if _SPLIT_OF_BLOCK[(r + 2 * c) % 5] == split]
    return [(r * _BLOCK + dy, c * _BLOCK + dx) for r, c in mine for dy in steps for dx in steps]
