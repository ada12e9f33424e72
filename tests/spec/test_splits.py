"""What a data set must hold for a job's scores: asked at submit and by the driver, in one sentence with the fix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gansvc import api
from gansvc.catalog import datasets
from gansvc.cluster import driver
from gansvc.errors import SpecError
from gansvc.spec import jobfile, splits
from gansvc.spec.job import JobSpec

SPEC = """
name: small
dataset: histology
losses: [lsgan]
evaluation: {extractor: efficientnet-lite0}
"""


def spec_of(path: Path, sizes: dict[str, int], **values: object) -> JobSpec:
    """Return the spec of a job on noise of so many images a split."""
    draws = np.random.default_rng(0)
    arrays = {f"{s}_images": draws.integers(0, 256, (n, 28, 28), dtype=np.uint8) for s, n in sizes.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return jobfile.parse(SPEC).with_values({"dataset": {"name": "npz", "path": str(path)}, **values})


def sizes_of(spec: JobSpec) -> dict[str, int] | None:
    read = splits.read(spec)
    return {split: len(images) for split, images in read.images.items()} if read else None


@pytest.mark.parametrize(
    ("sizes", "metrics", "expected"),
    [
        ((3, 5, 5), None, ("train split holds 3 images", "precision-recall", "takes 4", "leave precision-recall out")),
        ((5, 5, 2), None, ("test split holds 2 images", "precision-recall", "takes 4")),
        ((5, 1, 5), None, ("val split holds 1 image, ", "kid", "takes 2", "add images")),
        ((5, 5, 1), ("kid",), ("test split holds 1 image, ", "kid", "takes 2")),
        ((5, 0, 5), None, ("val split holds 0 images",)),
        ((5, 5, 0), ("is",), ("test split holds 0 images", "is", "takes 1")),
    ],
)
def test_a_split_too_small_for_its_scores_is_refused_before_anything_starts(
    tmp_path: Path, sizes: tuple[int, int, int], metrics: tuple[str, ...] | None, expected: tuple[str, ...]
) -> None:
    values = {} if metrics is None else {"evaluation.metrics": metrics}
    spec = spec_of(tmp_path / "a.npz", dict(zip(("train", "val", "test"), sizes, strict=True)), **values)
    # Elsewhere there is no plan that must hold, so each way is tried.
    for cluster in ("local", "http://127.0.0.1:9", "k8s://context/space"):
        with pytest.raises(SpecError) as caught:
            api.submit(spec, cluster, str(tmp_path / "jobs"))
        assert [part for part in (str(tmp_path / "a.npz"), *expected) if part not in str(caught.value)] == []
        assert "\n" not in str(caught.value)
    for ask in (api.plan, driver.connect):
        with pytest.raises(SpecError, match="split holds"):
            ask(spec)
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize(
    ("sizes", "metrics"),
    [((4, 2, 4), ("is", "fid", "kid", "precision-recall")), ((2, 2, 2), ("fid", "kid")), ((1, 2, 1), ("is",))],
)
def test_as_few_images_as_the_metrics_need_are_taken(
    tmp_path: Path, sizes: tuple[int, int, int], metrics: tuple[str, ...]
) -> None:
    counts = dict(zip(("train", "val", "test"), sizes, strict=True))
    assert sizes_of(spec_of(tmp_path / "a.npz", counts, **{"evaluation.metrics": metrics})) == counts


def test_validation_images_that_are_all_alike_are_refused(tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "a.npz", {"train": 5, "val": 5, "test": 5})
    images = {split: torch.full((5, 1, 28, 28), 7, dtype=torch.uint8) for split in ("train", "val", "test")}
    with pytest.raises(SpecError, match=r"a\.npz's val split are all alike"):
        splits.check(spec, images)
    images["val"][3, 0, 5, 5] = 8
    splits.check(spec, images)


def test_what_is_alike_only_in_grey_is_found_by_the_driver(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    arrays = {f"{s}_images": draws.integers(0, 256, (5, 28, 28, 3), dtype=np.uint8) for s in ("train", "test")}
    arrays["val_images"] = np.zeros((5, 28, 28, 3), np.uint8)
    arrays["val_images"][0, ..., 2] = 1
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    spec = jobfile.parse(SPEC).with_values({"dataset": {"name": "npz", "path": str(tmp_path / "a.npz")}})
    assert sizes_of(spec) == {"train": 5, "val": 5, "test": 5}
    with pytest.raises(SpecError, match="all alike"):
        driver.connect(spec.with_values({"dataset.channels": 1}))


def test_what_is_elsewhere_or_takes_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = jobfile.parse(SPEC)
    assert splits.read(spec) is None, "histology is in no .npz file"
    assert splits.read(spec.with_values({"dataset": {"name": "npz", "path": str(tmp_path / "none.npz")}})) is None
    counts = {"train": 6, "val": 5, "test": 4}
    mine = spec_of(tmp_path / "retinamnist.npz", counts)
    theirs = spec.with_values({"dataset": {"name": "retinamnist", "root": str(tmp_path)}})
    assert sizes_of(mine) == sizes_of(theirs) == counts
    monkeypatch.setattr(datasets, "_QUICK", 1000)
    assert splits.read(theirs) is None and sizes_of(mine) == counts, "nothing else knows the user's own images"
