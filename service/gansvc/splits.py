"""Whether a data set's splits hold what a job's scores need: asked before anything is sent, and before it is trained.

It is asked of numpy arrays as the file holds them, and of tensors as they are trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gansvc.catalog.datasets import SPLITS
from gansvc.catalog.metrics import METRICS
from gansvc.errors import SpecError
from gansvc.spec import JobSpec


def sizes(spec: JobSpec) -> dict[str, int] | None:
    """Return the images per split, None while the user's own file isn't here; that file is read and checked.

    Raises:
        SpecError: the file has another form, or its images can't be scored.
    """
    dataset = spec.dataset
    if dataset.entry.images:
        return dict(dataset.entry.images)
    if dataset.missing():
        return None
    images = dataset.entry.read(dataset).images
    check(spec, images)
    return {split: len(images[split]) for split in SPLITS}


def check(spec: JobSpec, images: Mapping[str, Any]) -> None:
    """Refuse a data set that the job's scores can't be made from.

    Args:
        spec: the job.
        images: split to its images, an array or a tensor (N, ...).

    Raises:
        SpecError: a split holds fewer images than a metric needs, or the validation images are all alike.
    """
    of, asked = f"{spec.dataset.path or spec.dataset.name}'s", spec.evaluation.metrics
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
