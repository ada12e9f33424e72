"""Read a data set's labels as classes, or say why it has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gansvc.errors import SpecError
from gansvc.escapes import is_printable
from gansvc.schema.explain import format_value

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MOST_CLASSES = 100
_LONGEST_NAME = 100
_SHOWN = 20
_EXACT = 2**53
"""Below it, a float of 64 bits holds every whole number."""


@dataclass(frozen=True)
class Labels:
    """Each image's class, or why the data set has no classes."""

    numbers: Mapping[str, Array] = field(default_factory=dict)
    """The classes of each split's images, int64 (N,), numbered from 0; empty where the set has none."""
    names: tuple[str, ...] = ()
    """How the file marks each class: a whole number, a string, or the column of a one-hot row."""
    titles: tuple[str, ...] = ()
    """What each class is called for people: by its source, or else as the file marks it."""
    no_classes: str = ""
    """Why the set has no classes, as the end of a sentence."""

    def summary(self) -> str:
        """Return the classes, or why there are none, for people."""
        return list_names(self.titles) if self.titles else f"none: {self.no_classes}"


def read(
    arrays: Mapping[str, Array],
    images: Mapping[str, int],
    source: object,
    titles: Mapping[str, str] = MappingProxyType({}),
) -> Labels:
    """Return the classes of a data set.

    They are taken from whole numbers (integers, booleans, whole floats) or strings, (N,) or (N, 1), and from one-hot
    rows. A set has none where a split has no labels, where images have several or none, and where the training images
    have one class only or more than 100.

    Args:
        arrays: the label arrays of the splits that have one.
        images: the number of images of every split.
        source: the file, or the name of the set, for messages.
        titles: what the source calls a class, by its mark in the file.

    Raises:
        SpecError: an array can't be the labels of its split's images.
    """
    import numpy as np

    try:
        found = {split: _values(array, images[split], f"{split}_labels") for split, array in arrays.items()}
        _refuse_unlike(found)
        if missing := [f"{split}_labels" for split in images if split not in arrays]:
            return Labels(no_classes=f"it has no {_and(missing)}")
        if found["train"].shape[1] > 1:
            if unclear := sum(int((rows.sum(axis=1) != 1).sum()) for rows in found.values()):
                return Labels(no_classes=f"{unclear:,} of its images have several labels, or none")
            found = {split: rows.argmax(axis=1)[:, None] for split, rows in found.items()}
        flat = {split: values[:, 0] for split, values in found.items()}
        known = np.unique(flat["train"])
        if not len(known):
            return Labels(no_classes="it has no training images")
        if len(known) == 1:
            return Labels(no_classes=f"all its training images are of the class {format_value(known[0].item())}")
        if len(known) > MOST_CLASSES:
            return Labels(no_classes=f"its training images have {len(known):,} labels, and {MOST_CLASSES} are the most")
        _refuse_unknown(flat, known)
        names = _printable_names([str(mark) for mark in known])
        called = _printable_names([titles.get(name, name) for name in names])
    except SpecError as error:
        raise SpecError(
            f"dataset: {source}: {error}; give one whole number or one name an image, "
            "or leave train_labels, val_labels and test_labels out"
        ) from None
    return Labels({split: np.searchsorted(known, values) for split, values in flat.items()}, names, called)


def list_names(names: Sequence[str]) -> str:
    """Return how many classes there are and what the first of them are called."""
    return f"{len(names)}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"


def _values(array: Array, images: int, key: str) -> Array:
    """Return an array of labels as rows (N, K) of int64 or of text."""
    import numpy as np

    if array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise SpecError(f"{key} has the shape {array.shape}")
    if len(array) != images:
        raise SpecError(f"{key} holds {len(array):,} labels for {images:,} images")
    rows, kind = array.reshape(images, *array.shape[1:] or (1,)), array.dtype.kind
    if kind == "S":
        try:
            rows = np.char.decode(rows, "utf-8")
        except UnicodeDecodeError:
            raise SpecError(f"{key} holds bytes that are no UTF-8") from None
    if kind in "US":
        if rows.shape[1] > 1:
            raise SpecError(f"{key} holds {rows.shape[1]} strings an image")
        return rows
    if kind not in "biuf":
        raise SpecError(f"{key} holds {array.dtype}, neither numbers nor strings")
    if kind != "b" and (wrong := rows[~_whole(rows)]).size:
        raise SpecError(f"{key} holds {wrong[0].item()}, which is not the whole number of a class")
    rows = rows.astype(np.int64)
    if rows.shape[1] > 1 and (wrong := rows[(rows < 0) | (rows > 1)]).size:
        raise SpecError(
            f"{key} has {rows.shape[1]} columns and holds {wrong[0].item()}, where one-hot rows hold 0 and 1"
        )
    return rows


def _whole(rows: Array) -> Array:
    """Return which numbers int64 holds just as they are."""
    import numpy as np

    is_float = rows.dtype.kind == "f"
    whole: Array = (abs(rows) < _EXACT) & (rows == np.trunc(rows)) if is_float else rows <= np.iinfo(np.int64).max
    return whole


def _refuse_unlike(found: Mapping[str, Array]) -> None:
    """Refuse arrays that don't say the same kind of thing."""
    kinds = {split: "strings" if rows.dtype.kind == "U" else _numbers(rows.shape[1]) for split, rows in found.items()}
    if len(set(kinds.values())) > 1:
        raise SpecError(_and([f"{split}_labels holds {kind}" for split, kind in kinds.items()]))


def _numbers(columns: int) -> str:
    return "one number an image" if columns == 1 else f"{columns} numbers an image"


def _refuse_unknown(flat: Mapping[str, Array], known: Array) -> None:
    """Refuse a class that no training image has."""
    import numpy as np

    for split, values in flat.items():
        if (unknown := np.setdiff1d(values, known)).size:
            raise SpecError(
                f"{split}_labels holds the class {format_value(unknown[0].item())}, which no training image has"
            )


def _printable_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes; refuse those that can't be shown or asked for."""
    for name in names:
        if not name.strip() or not is_printable(name) or len(name) > _LONGEST_NAME:
            raise SpecError(
                f"train_labels holds the name {name[:_LONGEST_NAME]!r}, which is blank, longer than "
                f"{_LONGEST_NAME} characters, or can't be printed"
            )
    return tuple(names)


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
