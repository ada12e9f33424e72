"""Exact duplicates between the splits of a data set: images that stand, pixel by pixel, in two of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Counts = dict[str, dict[str, int]]
"""Split to another split to how many of the first one's images also stand in the second."""
_HARM = {
    ("val", "train"): "choosing by val favours copies of training images",
    ("test", "train"): "judging by test favours copies of training images",
    ("val", "test"): "what is chosen by val is chosen by test as well",
}
"""Every pair of splits to what its duplicates do to a job."""


def digests(images: Array) -> list[bytes]:
    """Return a digest of each image's pixels, (N, ...) to N."""
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


def count(splits: Mapping[str, Array]) -> Counts:
    """Return how many images of one split also stand in another, for each pair of splits."""
    found = {split: digests(images) for split, images in splits.items()}
    kept = {split: set(those) for split, those in found.items()}
    counts: Counts = {}
    for one, other in _HARM:
        counts.setdefault(one, {})[other] = sum(digest in kept[other] for digest in found[one])
    return counts


def sentences(found: Counts, images: Mapping[str, int]) -> list[str]:
    """Return one sentence for each pair of splits that share images, without a full stop."""
    return [
        f"{found[one][other]:,} of {images[one]:,} {one} images also stand in {other}: {harm}, and they are left out "
        "where copying is judged"
        for (one, other), harm in _HARM.items()
        if found.get(one, {}).get(other)
    ]


def summary(found: Counts) -> str:
    """Return which splits share how many images, in a few words."""
    parts = [f"{n:,} {one} images in {other}" for one, others in found.items() for other, n in others.items() if n]
    return f"exact duplicates: {', '.join(parts)}" if parts else "no exact duplicates between splits"
