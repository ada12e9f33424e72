"""What becomes of a data set's labels: taken, refused, or told why they are no classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gansvc import api
from gansvc.catalog.datasets import SPLITS, Dataset
from gansvc.errors import SpecError
from gansvc.gan import data
from gansvc.gan.data import Images
from gansvc.spec.job import JobSpec

COUNTS = {"train": 6, "val": 5, "test": 4}
EYE = np.eye(2, dtype=np.uint8)


def own(folder: Path, **labels: Any) -> Dataset:
    """Return a data set of the user's, of noise and such labels."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {f"{split}_labels": np.asarray(rows) for split, rows in labels.items()}
    arrays |= {f"{split}_images": rng.integers(0, 256, (n, 28, 28), dtype=np.uint8) for split, n in COUNTS.items()}
    np.savez(folder / "mine.npz", **arrays)
    return Dataset(name="npz", path=str(folder / "mine.npz"))


def job(dataset: Dataset, **network: Any) -> JobSpec:
    return JobSpec.model_validate(
        {"name": "a", "dataset": dataset, "losses": ("lsgan",), "network": {"name": "dcgan", **network}}
    )


def alternating(turn: Any, **others: Any) -> dict[str, Any]:
    """Return labels of two classes, 1 0 1 0 ..., each split's turned into another form."""
    return {split: turn(1 - np.arange(n) % 2) for split, n in COUNTS.items()} | others


TAKEN = {
    "integers": (lambda rows: rows, ("0", "1")),
    "one column": (lambda rows: rows[:, None].astype("u1"), ("0", "1")),
    "big-endian": (lambda rows: 4 * rows.astype(">i8") - 1, ("-1", "3")),
    "booleans": (lambda rows: rows.astype(bool), ("0", "1")),
    "whole floats": (lambda rows: (7.0 * rows).astype("f4"), ("0", "7")),
    "strings": (lambda rows: np.array(["cat", "dog"])[rows], ("cat", "dog")),
    "names in sorted order": (lambda rows: np.array(["a", "Z"])[1 - rows][:, None], ("Z", "a")),
    "bytes": (lambda rows: np.array([b"cat", "hün".encode()])[rows], ("cat", "hün")),
    "one-hot rows": (lambda rows: EYE[rows], ("0", "1")),
    "one-hot floats": (lambda rows: EYE[rows].astype("f8"), ("0", "1")),
    "a column that no image has": (lambda rows: np.eye(3)[2 * rows], ("0", "2")),
}


@pytest.mark.parametrize("form", TAKEN)
def test_certain_labels_are_taken_as_classes(form: str, tmp_path: Path) -> None:
    turn, names = TAKEN[form]
    dataset = own(tmp_path, **alternating(turn))
    loaded = data.load(dataset)
    assert loaded.classes == 2 and loaded.titles == names
    for split, count in COUNTS.items():
        assert loaded.labels[split].dtype == torch.int64
        assert loaded.labels[split].tolist() == [1, 0, 1, 0, 1, 0][:count]
    assert ("classes", f"2: {', '.join(names)}") in api.plan(job(dataset, conditional=True)).rows()


def test_a_class_may_be_missing_from_val_and_test(tmp_path: Path) -> None:
    loaded = data.load(own(tmp_path, train=[9, 3, 5, 3, 3, 5], val=[5] * 5, test=[9, 3, 9, 3]))
    assert loaded.names == ("3", "5", "9")
    assert [loaded.labels[split].tolist() for split in SPLITS] == [[2, 0, 1, 0, 0, 1], [1] * 5, [2, 0, 2, 0]]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "too few": ({"train": [0, 1, 0]}, "train_labels holds 3 labels for 6 images"),
    "too many": ({"test": [0, 1] * 3}, "test_labels holds 6 labels for 4 images"),
    "fractions": ({"val": [0, 1, 0.5, 1, 0]}, "val_labels holds 0.5, which is not the whole number of a class"),
    "NaN": ({"val": [0, 1, np.nan, 1, 0]}, "val_labels holds nan, which"),
    "infinity": ({"val": [0, 1, np.inf, 1, 0]}, "val_labels holds inf, which"),
    "beyond 64 bits": (
        {"val": np.array([0, 1, 2**64 - 1, 1, 0], "u8")},
        "val_labels holds 18446744073709551615, which",
    ),
    "beyond a float": ({"val": [0, 1, 2.0**53, 1, 0]}, r"val_labels holds 9007199254740992\.0, which"),
    "an unknown class": ({"test": [0, 7, 0, 1]}, "test_labels holds the class 7, which no training image has"),
    "an unknown name": (
        alternating(np.array(["cat", "dog"]).__getitem__, val=["cat", "cow", "dog", "dog", "dog"]),
        "val_labels holds the class 'cow', which no training image has",
    ),
    "a number": ({"train": 1}, r"train_labels has the shape \(\)"),
    "no columns": ({"train": np.zeros((6, 0))}, r"train_labels has the shape \(6, 0\)"),
    "pictures": ({"train": np.zeros((6, 2, 2))}, r"train_labels has the shape \(6, 2, 2\)"),
    "columns of numbers": ({"train": [[0, 5]] * 6}, "train_labels has 2 columns and holds 5"),
    "columns of strings": ({"train": [["a", "b"]] * 6}, "train_labels holds 2 strings an image"),
    "complex numbers": ({"train": np.zeros(6, "c8")}, "train_labels holds complex64, neither numbers nor strings"),
    "dates": ({"train": np.zeros(6, "M8[D]")}, r"train_labels holds datetime64\[D\], neither"),
    "bytes of no text": ({"train": np.array([b"\xff\xfe"] * 6)}, "train_labels holds bytes that are no UTF-8"),
    "blank names": ({split: ["", "a", "b", "a", "a", "a"][:n] for split, n in COUNTS.items()}, "the name '', which"),
    "names of two lines": (
        {split: ["a\nb", "c", "c", "c", "c", "c"][:n] for split, n in COUNTS.items()},
        "the name 'a",
    ),
    "long names": ({split: ["a" * 101, "c", "c", "c", "c", "c"][:n] for split, n in COUNTS.items()}, "longer than 100"),
    "unlike kinds": ({"val": ["0"] * 5}, "train_labels holds one number an image, val_labels holds strings and test"),
    "unlike widths": ({"val": [[0, 1]] * 5}, "val_labels holds 2 numbers an image"),
    "objects": ({"val": np.array([0, 1, None, 1, 0], object)}, "val_labels holds Python objects"),
}


@pytest.mark.parametrize("fault", REFUSED)
@pytest.mark.parametrize("conditional", [False, True], ids=["unconditional", "conditional"])
def test_wrong_labels_are_refused_by_file_array_and_reason(fault: str, conditional: bool, tmp_path: Path) -> None:
    changes, reason = REFUSED[fault]
    dataset = own(tmp_path, **alternating(lambda rows: rows) | changes)
    for refuse in (lambda: api.plan(job(dataset, conditional=conditional)), lambda: data.load(dataset)):
        with pytest.raises(SpecError, match=rf"(?s)^dataset: .*mine\.npz.*{reason}"):
            refuse()


def test_an_array_of_objects_is_refused_among_the_images_too(tmp_path: Path) -> None:
    dataset = own(tmp_path)
    with np.load(dataset.path or "") as archive:
        images = dict(archive)
    np.savez(tmp_path / "mine.npz", **images | {"val_images": np.array([None] * 5)})
    with pytest.raises(SpecError, match="val_images holds Python objects"):
        data.load(dataset)


NO_CLASSES: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, "it has no train_labels, val_labels and test_labels"),
    "one split": ({"train": [0, 1] * 3}, "it has no val_labels and test_labels"),
    "several an image": (
        alternating(EYE.__getitem__, val=[[1, 1], [0, 0], [0, 1], [1, 0], [1, 1]]),
        "3 of its images have several labels, or none",
    ),
    "one class": ({split: [2] * n for split, n in COUNTS.items()}, "all its training images are of the class 2"),
    "one class to learn": (
        {"train": [2] * 6, "val": [2, 3, 2, 3, 2], "test": [3] * 4},
        "all its training images are of the class 2",
    ),
}


@pytest.mark.parametrize("kind", NO_CLASSES)
def test_labels_that_are_no_classes_are_told_of(kind: str, tmp_path: Path) -> None:
    labels, reason = NO_CLASSES[kind]
    dataset = own(tmp_path, **labels)
    loaded = data.load(dataset)
    assert (loaded.classes, loaded.labels, loaded.no_classes) == (0, {}, reason)
    assert ("classes", f"none: {reason}") in api.plan(job(dataset)).rows()
    with pytest.raises(SpecError) as caught:
        api.plan(job(dataset, conditional=True))
    assert str(caught.value) == (
        f"network.conditional: true needs classes, and {dataset.path} has none: {reason}; "
        "mend its labels, or set it to false"
    )


def test_more_than_a_hundred_classes_are_none(tmp_path: Path) -> None:
    images = np.zeros((101, 28, 28), np.uint8)
    arrays = {f"{split}_images": images for split in SPLITS} | {f"{split}_labels": np.arange(101) for split in SPLITS}
    np.savez(tmp_path / "mine.npz", **arrays)  # type: ignore[arg-type]
    loaded = data.load(Dataset(name="npz", path=str(tmp_path / "mine.npz")))
    assert loaded.no_classes == "its training images have 101 labels, and 100 are the most"


def test_what_the_plan_cannot_read_it_calls_unknown(tmp_path: Path) -> None:
    unknown = ("classes", "unknown until the job reads the data set")
    assert unknown in api.plan(job(Dataset(name="npz", path=str(tmp_path / "no.npz")))).rows()
    assert unknown in api.plan(job(Dataset(name="bloodmnist", root=str(tmp_path)))).rows()
    assert ("classes", "none") in api.plan(job(Dataset(name="histology"))).rows()


def test_a_published_file_that_is_damaged_is_left_to_the_job(tmp_path: Path) -> None:
    (tmp_path / "bloodmnist.npz").write_bytes(b"no archive")
    made = api.plan(job(Dataset(name="bloodmnist", root=str(tmp_path))))
    assert made.classes == "unknown until the job reads the data set" and made.training_images is not None


def test_images_carry_no_labels_by_themselves() -> None:
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    assert Images(images, images, images).classes == 0
