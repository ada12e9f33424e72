"""Data sets that others publish: where their files are on this machine, downloading and reading them."""

from __future__ import annotations

import gzip
from pathlib import Path

from gansvc.catalog import arrays, classes, downloads
from gansvc.errors import SpecError
from gansvc.files import plainfiles

_MEDMNIST = "https://zenodo.org/records/10519652/files"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"


def read_medmnist(name: str, size: int, root: Path, md5: str) -> arrays.Arrays:
    """Read a MedMNIST file, downloading it once per machine where it is missing.

    Args:
        name: MedMNIST's name of the set.
        size: side of the file's images in pixels.
        root: folder that holds, or will hold, the file.
        md5: that of the 28-pixel file; medmnist knows those of the others.

    Raises:
        SpecError: the file's MD5 isn't MedMNIST's.
        ClusterError: the file is missing and can't be downloaded.
    """
    from medmnist import INFO

    path = medmnist_file(name, size, root)
    if _variant(size):
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
    return arrays.read_npz(path, INFO[name]["label"])


def missing_medmnist(name: str, size: int, root: Path) -> str | None:
    """Return what to do when the file isn't there, or None."""
    path = medmnist_file(name, size, root)
    if path.is_file():
        return None
    return (
        f"dataset: {name} is not at {path}; it comes from {_MEDMNIST}/{path.name}: "
        "put the file there, or set dataset.root to its folder"
    )


def medmnist_file(name: str, size: int, root: Path) -> Path:
    """Return where a MedMNIST file is, or would be."""
    return root / f"{name}{_variant(size)}.npz"


def _variant(size: int) -> str:
    """Return what tells MedMNIST's file of that size from its 28-pixel one, in file names and in medmnist's INFO."""
    return "" if size == 28 else f"_{size}"


def read_mnist(root: Path) -> arrays.Arrays:
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
    digits = {train: part.targets.numpy() for train, part in parts.items()}
    found = {"train": images[True][:50_000], "val": images[True][50_000:], "test": images[False]}
    marks = {"train": digits[True][:50_000], "val": digits[True][50_000:], "test": digits[False]}
    return arrays.Arrays(found, classes.read(marks, {split: len(array) for split, array in found.items()}, "mnist"))


def _unpack(packed: Path, md5: str, advice: str) -> None:
    """Bring one of MNIST's files here if it isn't, unpacked and whole."""
    unpacked = packed.with_suffix("")
    if unpacked.is_file():
        return
    downloads.fetch(f"{_MNIST}/{packed.name}", packed, md5, advice)
    if (digest := downloads.digest_of(packed, "md5")) != md5:
        raise SpecError(f"dataset.root: {packed} has MD5 {digest}, MNIST's has {md5}; delete it and fetch it again")
    plainfiles.write_file(unpacked, gzip.decompress(packed.read_bytes()))


def missing_mnist(root: Path) -> str | None:
    """Return what to do when MNIST isn't there, or None."""
    files = mnist_files(root)
    if all(path.is_file() or path.with_suffix(".gz").is_file() for path in files):
        return None
    return (
        f"dataset: mnist is not at {files[0].parent}; it comes from {_MNIST}/: "
        "put the four files there, or set dataset.root to the folder that holds MNIST/raw"
    )


def mnist_files(root: Path) -> tuple[Path, ...]:
    """Return where MNIST's four files are, or would be, unpacked."""
    names = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    return tuple(root / "MNIST" / "raw" / name for name in names)


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(
            f"dataset.root: {root} is no folder and can't be made one ({error.strerror}); give a folder"
        ) from None
