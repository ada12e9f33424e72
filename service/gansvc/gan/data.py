"""A data set as tensors: small enough to be held whole, as uint8, on the training device."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch.nn import functional

from gansvc.catalog import duplicates
from gansvc.catalog.datasets import SPLITS, Dataset
from gansvc.store.records import DataRecord

# ITU-R BT.601 luma, the weights that PIL's convert("L") uses.
_LUMA = (0.299, 0.587, 0.114)
_PART = 256


@dataclass(frozen=True)
class Images:
    """The splits of a data set: uint8 (N, C, size, size) each."""

    train: torch.Tensor
    val: torch.Tensor
    test: torch.Tensor
    labels: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Each split's labels, int64 (N,), numbered from 0; empty where the data set has no classes."""
    names: tuple[str, ...] = ()
    """How the file marks each class."""
    titles: tuple[str, ...] = ()
    """What each class is called for people."""
    no_classes: str = ""
    """Why the data set has no classes, as the end of a sentence."""

    @property
    def classes(self) -> int:
        """Number of classes; 0 where the data set has none."""
        return 1 + max((int(labels.max()) for labels in self.labels.values()), default=-1)

    @property
    def channels(self) -> int:
        """Number of channels, 1 or 3."""
        return int(self.train.shape[1])

    @cached_property
    def content(self) -> dict[str, str]:
        """Return the SHA-256 of each split's images and labels, under the names that an npz file has for them.

        They are those of what is trained on: resized, and with the asked channels.
        """
        found = {f"{name}_images": content_hash(self.split(name)) for name in SPLITS}
        found |= {f"{name}_labels": content_hash(labels) for name, labels in self.labels.items()}
        names = "\0".join(self.names).encode()
        return found | ({"class_names": hashlib.sha256(names).hexdigest()} if self.names else {})

    def split(self, name: str) -> torch.Tensor:
        """Return the images of the split train, val or test."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]


def load(dataset: Dataset) -> Images:
    """Read a data set, downloading it first where it is missing and that is possible; the images get its size.

    Raises:
        SpecError: the file isn't what the spec says.
        ClusterError: the file is missing and can't be downloaded.
    """
    arrays = dataset.entry.read(dataset)
    planes = {name: resize(_planes(torch.from_numpy(a)), dataset.size) for name, a in arrays.images.items()}
    splits = {name: with_channels(images, dataset.channels) for name, images in planes.items()}
    found = arrays.labels
    labels = {name: torch.from_numpy(numbers) for name, numbers in found.numbers.items()}
    told = found.names, found.titles, found.no_classes
    return Images(splits["train"], splits["val"], splits["test"], labels, *told)


def describe(images: Images) -> DataRecord:
    """Return what is to be known of a data set's images once they are read."""
    splits = {split: images.split(split) for split in SPLITS}
    return DataRecord(
        images={split: len(part) for split, part in splits.items()},
        channels=images.channels,
        classes=images.titles,
        no_classes=images.no_classes,
        duplicates=duplicates.count({split: part.numpy() for split, part in splits.items()}),
        largest=int(images.train.max()),
    )


def class_shares(labels: torch.Tensor) -> torch.Tensor:
    """Return each class's share of labels (N,), float32 (K,), K being one more than the largest."""
    return torch.bincount(labels).float() / len(labels)


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return uint8 images (N, C, H, W) as (N, C, size, size), by antialiased bicubic interpolation; rounded, clamped.

    Images of that size are returned as they are.
    """
    if images.shape[2:] == (size, size):
        return images
    # In parts: as float the whole set would take four times its memory.
    parts = (
        functional.interpolate(part.float(), (size, size), mode="bicubic", antialias=True)
        for part in images.split(_PART)
    )
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])


def with_channels(images: torch.Tensor, channels: int | None) -> torch.Tensor:
    """Return uint8 images (N, C, H, W) with 1 or 3 channels; None leaves them as they are."""
    if channels is None or images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    luma = torch.tensor(_LUMA).view(1, 3, 1, 1)
    return (images.float() * luma).sum(dim=1, keepdim=True).round().to(torch.uint8)


def to_float(images: torch.Tensor) -> torch.Tensor:
    """Map uint8 [0, 255] to float32 [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Map float [-1, 1] to uint8 [0, 255], rounding to the nearest."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def content_hash(images: torch.Tensor) -> str:
    """Return the SHA-256 of shape and values of images or labels, as 64 hex digits."""
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    digest.update(images.contiguous().cpu().numpy().data)
    return digest.hexdigest()


def _planes(array: torch.Tensor) -> torch.Tensor:
    """Turn (N, H, W) or (N, H, W, C) into (N, C, H, W)."""
    return array.unsqueeze(1) if array.dim() == 3 else array.permute(0, 3, 1, 2).contiguous()
