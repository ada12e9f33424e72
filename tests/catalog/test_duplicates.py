"""Images that stand in two splits: counted at submit and when the job reads its data, and told by plan and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gansvc import api
from gansvc.catalog import duplicates
from gansvc.catalog.datasets import Dataset
from gansvc.gan import data
from gansvc.gan.data import Images
from gansvc.report import build, markdown
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import DataRecord

from ..builders.jobs import make_job, make_spec

Splits = dict[str, np.ndarray[Any, Any]]


def splits(*shape: int) -> Splits:
    """Return 8, 6 and 5 images of which 2 of val stand in train, 3 of test in train, and 4 of val in test."""
    own = iter(np.random.default_rng(0).integers(0, 256, (40, *(shape or (28, 28))), dtype=np.uint8))
    train = [next(own) for _ in range(8)]
    test = [train[0], train[0], train[5], next(own), next(own)]
    val = [next(own), train[5], test[0], test[3], test[4], next(own)]
    return {"train": np.stack(train), "val": np.stack(val), "test": np.stack(test)}


FOUND = {"val": {"train": 2, "test": 4}, "test": {"train": 3}}
TOLD = (
    "2 of 6 val images also stand in train: choosing by val favours copies of training images, and they are left out "
    "where copying is judged",
    "3 of 5 test images also stand in train: judging by test favours copies of training images, and they are left out "
    "where copying is judged",
    "4 of 6 val images also stand in test: what is chosen by val is chosen by test as well, and they are left out "
    "where copying is judged",
)


def spec_of(dataset: Dataset) -> JobSpec:
    return JobSpec.model_validate({"name": "a", "dataset": dataset, "losses": ("lsgan",)})


def own(folder: Path, images: Splits) -> Dataset:
    np.savez(folder / "mine.npz", **{f"{split}_images": array for split, array in images.items()})  # type: ignore[arg-type]
    return Dataset(name="npz", path=str(folder / "mine.npz"))


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3)], ids=str)
def test_images_of_two_splits_are_counted_by_pairs(shape: tuple[int, ...]) -> None:
    images = splits(*shape)
    assert duplicates.count(images) == FOUND
    assert duplicates.count(images | {"train": np.asfortranarray(images["train"])}) == FOUND
    assert duplicates.sentences(FOUND, {split: len(part) for split, part in images.items()}) == list(TOLD)
    assert (
        duplicates.summary(FOUND)
        == "exact duplicates: 2 val images in train, 4 val images in test, 3 test images in train"
    )


def test_one_other_pixel_makes_another_image() -> None:
    images = splits()
    images["val"] = images["test"].copy()
    images["val"][:, 27, 27] ^= 1
    assert duplicates.count(images) == {"val": {"train": 0, "test": 0}, "test": {"train": 3}}


def test_the_plan_tells_of_duplicates(tmp_path: Path) -> None:
    rows = api.plan(spec_of(own(tmp_path, splits()))).rows()
    assert [text for title, text in rows if title == "duplicate images"] == list(TOLD)


def test_the_plan_says_that_there_are_none_or_that_nobody_has_looked(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    unlike = own(tmp_path, {"train": images[:4], "val": images[4:8], "test": images[8:]})
    assert ("duplicate images", "none between train, val and test") in api.plan(spec_of(unlike)).rows()
    unknown = ("duplicate images", "unknown until the job reads the data set")
    assert unknown in api.plan(spec_of(Dataset(name="npz", path=str(tmp_path / "no.npz")))).rows()
    assert unknown in api.plan(spec_of(Dataset(name="bloodmnist", root=str(tmp_path)))).rows()


def test_a_job_counts_them_among_the_images_that_it_trains_on(tmp_path: Path) -> None:
    # Two colours of one luma: unlike in the file, alike in grey.
    colours = np.zeros((3, 4, 28, 28, 3), np.uint8)
    colours[0, ..., 0], colours[1, ..., 1], colours[2, ..., 2] = 100, 51, 250
    images = {"train": colours[0], "val": colours[1], "test": colours[2]}
    labels = {f"{split}_labels": np.array(["b", "a", "b", "a"]) for split in images}
    arrays: dict[str, Any] = {f"{split}_images": array for split, array in images.items()} | labels
    np.savez(tmp_path / "mine.npz", **arrays)
    dataset = Dataset(name="npz", path=str(tmp_path / "mine.npz"), channels=1)
    assert data.describe(data.load(dataset)) == DataRecord(
        images={"train": 4, "val": 4, "test": 4},
        channels=1,
        classes=("a", "b"),
        duplicates={"val": {"train": 4, "test": 0}, "test": {"train": 0}},
        largest=30,  # the luma of red 100, green 51 and blue 250, rounded
    )
    train, val, test = (torch.zeros(n, 1, 28, 28, dtype=torch.uint8) for n in (3, 2, 1))
    unlabelled = Images(train, val, test, no_classes="of a reason")
    found = data.describe(unlabelled)
    assert (found.images, found.classes, found.no_classes) == ({"train": 3, "val": 2, "test": 1}, (), "of a reason")


@pytest.fixture
def job(tmp_path: Path) -> tuple[Folder, JobSpec]:
    """A job on the user's own file, which has gone since."""
    folder = make_job(tmp_path)
    spec = make_spec().with_values({"dataset": {"name": "npz", "path": str(tmp_path / "gone.npz")}})
    images = {"train": 8, "val": 6, "test": 5}
    read = DataRecord(images=images, channels=3, classes=("cat|s", "dog"), duplicates=FOUND)
    folder.write_record(layout.DATA, read)
    return folder, spec


def protocol(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("- Data: "))


def test_the_report_has_its_facts_from_what_the_driver_read(job: tuple[Folder, JobSpec]) -> None:
    report = build.build(*job)
    assert (report.dataset.images, report.dataset.channels) == ({"train": 8, "val": 6, "test": 5}, 3)
    assert (report.dataset.classes, report.dataset.duplicates) == (("cat|s", "dog"), FOUND)
    assert [text for text in report.warnings if text in TOLD] == list(TOLD)
    assert (
        "3 channels; train 8, val 6, test 5; exact duplicates: 2 val images in train, 4 val images in test, "
        r"3 test images in train; classes 2: cat\|s, dog; licence the user's own" in protocol(markdown.render(report))
    )


def test_the_report_says_why_there_are_no_classes_and_that_no_image_stands_twice(job: tuple[Folder, JobSpec]) -> None:
    folder, spec = job
    none = {"val": {"train": 0, "test": 0}, "test": {"train": 0}}
    read = DataRecord(images={"train": 8}, channels=1, no_classes="it has no val_labels", duplicates=none)
    folder.write_record(layout.DATA, read)
    report = build.build(folder, spec)
    assert not any("also stand in" in text for text in report.warnings)
    said = "train 8; no exact duplicates between splits; no classes (it has no val_labels); licence"
    assert said in protocol(markdown.render(report))


def test_a_report_of_an_older_job_says_nothing_of_either(tmp_path: Path) -> None:
    report = build.build(make_job(tmp_path), make_spec())
    assert report.dataset.duplicates is None and report.dataset.images
    assert "duplicates" not in protocol(markdown.render(report))


@pytest.mark.parametrize(("largest", "said"), [(0, True), (1, True), (2, False), (255, False)])
def test_images_without_light_are_warned_of(largest: int, said: bool, job: tuple[Folder, JobSpec]) -> None:
    """Floats from 0 to 1 that were cast to bytes hold 0 and 1 alone."""
    folder, spec = job
    train = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    train[1, 0, 5, 5] = largest
    read = data.describe(Images(train, train, train, no_classes="of a reason"))
    folder.write_record(layout.DATA, read)
    warnings = build.build(folder, spec).warnings
    assert any(f"above {largest} of 255, so all of them are black" in text for text in warnings) is said
