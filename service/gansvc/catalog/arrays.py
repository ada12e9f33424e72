"""Reading the data sets' files into arrays: uint8 images (N, H, H) or (N, H, H, 3) and labels (N, L) per split.

Nothing here reads a file at import, and nothing unpickles: numpy's ``allow_pickle`` stays off.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansvc.catalog import downloads
from gansvc.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

_MEDMNIST = "https://zenodo.org/records/10519652/files"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
TILE = 28
_BLOCK, _SIDE = 36, 512
# Every fifth block is val, every fifth is test, in a pattern that never lets a split fill a row or a column.
_SPLIT_OF_BLOCK = ("train", "val", "train", "test", "train")
_STRIDE = {"train": 2, "val": 4, "test": 4}


@dataclass(frozen=True)
class Arrays:
    """Images and labels per split, as stored."""

    images: dict[str, np.ndarray[Any, Any]]
    labels: dict[str, np.ndarray[Any, Any]]


def read_medmnist(name: str, size: int, root: Path, md5: str) -> Arrays:
    """Read a MedMNIST file, downloading it once per machine where it is missing.

    Size 64 reads the 64-pixel file, whose MD5 medmnist knows; any other the 28-pixel one, whose MD5 is given.

    Raises:
        SpecError: the file's MD5 isn't MedMNIST's.
        ClusterError: the file is missing and can't be downloaded.
    """
    path = root / f"{name}{_variant(size)}.npz"
    if _variant(size):
        from medmnist import INFO

        md5 = INFO[name][f"MD5{_variant(size)}"]
    if advice := missing_medmnist(name, size, root):
        _make(root)
        downloads.fetch(f"{_MEDMNIST}/{path.name}?download=1", path, md5, advice)
    digest = downloads.digest_of(path, "md5")
    if digest != md5:
        raise SpecError(
            f"dataset.root: {path} has MD5 {digest}, MedMNIST's has {md5}; delete it and fetch it again, "
            "or read your own file with {name: npz, path: ...}"
        )
    return read_npz(path)


def missing_medmnist(name: str, size: int, root: Path) -> str | None:
    """Return what to do when the file isn't there, or None."""
    path = root / f"{name}{_variant(size)}.npz"
    if path.is_file():
        return None
    return (
        f"dataset: {name} is not at {path}; it comes from {_MEDMNIST}/{path.name}: "
        "put the file there, or set dataset.root to its folder"
    )


def _variant(size: int) -> str:
    """Return what tells MedMNIST's file for that size from its 28-pixel one, in file names and in medmnist's INFO."""
    return "_64" if size == 64 else ""


def read_mnist(root: Path) -> Arrays:
    """Read MNIST through torchvision; the last 10,000 training images are the validation split.

    Raises:
        SpecError: a file is there and damaged.
        ClusterError: the files are missing and can't be downloaded.
    """
    from torchvision.datasets import MNIST

    _make(root)
    for name, md5 in MNIST.resources:
        _unpack(root / "MNIST" / "raw" / name, md5, missing_mnist(root) or "")
    try:
        parts = {train: MNIST(str(root), train=train) for train in (True, False)}
    except (AssertionError, RuntimeError, ValueError, TypeError, IndexError) as error:
        raise SpecError(
            f"dataset.root: MNIST's files in {root / 'MNIST' / 'raw'} are damaged ({error or 'cut off'}); delete them"
        ) from None
    images = {train: part.data.numpy() for train, part in parts.items()}
    labels = {train: part.targets.numpy().reshape(-1, 1) for train, part in parts.items()}
    return Arrays(
        {"train": images[True][:50_000], "val": images[True][50_000:], "test": images[False]},
        {"train": labels[True][:50_000], "val": labels[True][50_000:], "test": labels[False]},
    )


def _unpack(packed: Path, md5: str, advice: str) -> None:
    """Bring one of MNIST's files here if it isn't, unpacked and whole."""
    unpacked = packed.with_suffix("")
    if unpacked.is_file():
        return
    downloads.fetch(f"{_MNIST}/{packed.name}", packed, md5, advice)
    if (digest := downloads.digest_of(packed, "md5")) != md5:
        raise SpecError(f"dataset.root: {packed} has MD5 {digest}, MNIST's has {md5}; delete it and fetch it again")
    downloads.write_whole(unpacked, gzip.decompress(packed.read_bytes()))


def missing_mnist(root: Path) -> str | None:
    """Return what to do when MNIST isn't there, or None."""
    raw = root / "MNIST" / "raw"
    names = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    if all((raw / name).is_file() or (raw / f"{name}.gz").is_file() for name in names):
        return None
    return (
        f"dataset: mnist is not at {raw}; it comes from {_MNIST}/: "
        "put the four files there, or set dataset.root to the folder that holds MNIST/raw"
    )


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(
            f"dataset.root: {root} is no folder and can't be made one ({error.strerror}); give a folder"
        ) from None


def read_npz(path: Path) -> Arrays:
    """Read a file in MedMNIST's form.

    Raises:
        SpecError: the file is missing, isn't an npz archive of arrays, is damaged, or lacks a split; or its images
            aren't uint8 squares of one side and one number of channels.
    """
    import numpy as np

    if problem := missing_npz(path):
        raise SpecError(problem)
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise _bad_npz(path, "it is one array, not an .npz archive of several")
        with archive:
            images = {split: _images(archive, split, path) for split in ("train", "val", "test")}
            keys = {split: f"{split}_labels" for split in images}
            labels = {split: _array(archive, key, path) for split, key in keys.items() if key in archive.files}
    except _UNREADABLE as error:
        raise _bad_npz(path, f"it can't be read: {error or type(error).__name__}") from None
    shapes = {split: "x".join(map(str, (*array.shape, 1)[1:4])) for split, array in images.items()}
    if len(set(shapes.values())) > 1:
        raise _bad_npz(path, "its splits are unlike: " + ", ".join(f"{s} {shape}" for s, shape in shapes.items()))
    return Arrays(images, labels)


def npz_sizes(path: Path) -> dict[str, int]:
    """Return the number of images per split of a file in MedMNIST's form."""
    return {split: len(array) for split, array in read_npz(path).images.items()}


def missing_npz(path: Path) -> str | None:
    """Return what to do when the user's file isn't there, or None."""
    return None if path.is_file() else f"dataset.path: there is no file {path}; give the path of an .npz file"


# What zip, its compressions and numpy raise on files that are damaged, made up or pickled.
_UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)


def _images(archive: Mapping[str, Any], split: str, path: Path) -> np.ndarray[Any, Any]:
    key = f"{split}_images"
    if key not in archive:
        raise _bad_npz(path, f"it has no {key}")
    array = _array(archive, key, path)
    side = array.shape[1] if array.ndim > 2 else 0
    if array.dtype != "uint8" or not side or array.shape[1:] not in ((side, side), (side, side, 1), (side, side, 3)):
        raise _bad_npz(path, f"{key} is {array.dtype} {array.shape}")
    if len(array) < 2:
        raise _bad_npz(path, f"{key} holds {len(array)} images; at least 2 are needed")
    return array


def _array(archive: Mapping[str, Any], key: str, path: Path) -> np.ndarray[Any, Any]:
    import numpy as np

    array = archive[key]
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
    return Arrays(images, {})


def missing_histology() -> str | None:
    """Return what to do when scikit-image isn't installed, or None."""
    if find_spec("skimage"):
        return None
    return "dataset: histology needs scikit-image, which isn't installed here; pip install 'gansvc[train]'"


def histology_sizes() -> dict[str, int]:
    """Return the number of tiles per split."""
    return {split: len(_corners(split)) for split in ("train", "val", "test")}


def _corners(split: str) -> list[tuple[int, int]]:
    blocks = range(_SIDE // _BLOCK)
    steps = range(0, _BLOCK - TILE + 1, _STRIDE[split])
    mine = [(r, c) for r in blocks for c in blocks if _SPLIT_OF_BLOCK[(r + 2 * c) % 5] == split]
    return [(r * _BLOCK + dy, c * _BLOCK + dx) for r, c in mine for dy in steps for dx in steps]
