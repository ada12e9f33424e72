"""Check that a data set's splits hold what a job and its scores need: before it is sent, and by its driver.

It is asked of numpy arrays as the file holds them, and of tensors as they are trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gansvc.catalog.arrays import Arrays
from gansvc.catalog.metrics import METRICS
from gansvc.errors import SpecError
from gansvc.spec.job import JobSpec


def read(spec: JobSpec) -> Arrays | None:
    """Return a data set as its file holds it, checked; None where that isn't here, or takes long to read.

    Raises:
        SpecError: the user's own file has another form, or the job can't be made of what it holds.
    """
    found = spec.dataset.read_if_quick()
    if found is not None:
        check(spec, found.images, found.labels.no_classes)
    return found


def check(spec: JobSpec, images: Mapping[str, Any], no_classes: str = "") -> None:
    """Refuse a data set that the job's networks can't learn from, or its scores can't be made from.

    Args:
        spec: the job.
        images: split to its images, an array or a tensor (N, ...).
        no_classes: why the data set has no classes, as the end of a sentence; empty where it has.

    Raises:
        SpecError: there are no classes and the job needs them, a split holds fewer images than a metric needs, or the
            validation images are all alike.
    """
    of, asked = f"{spec.dataset.path or spec.dataset.name}'s", spec.evaluation.metrics
    if spec.network.conditional and no_classes:
        raise SpecError(
            f"network.conditional: true needs classes, and {spec.dataset.path or spec.dataset.name} has none: "
            f"{no_classes}; mend its labels, or set it to false"
        )
    # The noise floor holds the train split against the test split.
    for split, names in {"train": asked, "val": (spec.objective,), "test": asked}.items():
        most = max((METRICS[name] for name in names), key=lambda metric: metric.real)
        if (count := len(images[split])) < most.real:
            fix = "" if split == "val" else f", or leave {most.name} out of evaluation.metrics"
            raise SpecError(
                f"dataset: {of} {split} split holds {count} image{'s' * (count != 1)}, too few for {most.name}: "
                f"{most.needs} takes {most.real}; add images to it{fix}"
            )
    if bool((images["val"] == images["val"][:1]).all()):
        raise SpecError(
            f"dataset: the {len(images['val'])} images of {of} val split are all alike, so no checkpoint can be chosen "
            "by them; put unlike images into it"
        )
