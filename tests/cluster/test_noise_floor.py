"""The noise floor as an evaluator measures it: which split's images, against which, on test and on validation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gansvc.catalog import frechet
from gansvc.cluster.evaluation import Evaluator
from gansvc.gan.data import Images
from gansvc.gan.sampling import chunks, subset
from gansvc.gan.scoring.features import extract
from gansvc.spec.capacity import WorkerResources
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.scores import Score

Make = Callable[..., JobSpec]


def scored(spec: JobSpec, images: Images, path: Path) -> Score:
    """Return the record of the noise floor that an evaluator writes."""
    evaluator = Evaluator(spec, images, Folder(path / "train"), Folder(path / "evaluation"), WorkerResources(1, 0))
    assert evaluator.score(None, evaluator.prepare(), evaluator.extract(None)) == "real"
    found = Folder(path / "evaluation").read_record("real.json", Score)
    assert found is not None
    return found


def kid(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the unbiased squared MMD with the cubic kernel of two equally large sets of features (N, D)."""
    count, dimensions = one.shape

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a.double() @ b.double().T / dimensions + 1) ** 3

    def within(found: torch.Tensor) -> torch.Tensor:
        return (found.sum() - found.diagonal().sum()) / (count * (count - 1))

    return float(within(kernel(one, one)) + within(kernel(other, other)) - 2 * kernel(one, other).mean())


@pytest.mark.parametrize(
    ("values", "train"),
    [
        # The floor's 60 training images, of which as many are taken as the validation has.
        ({}, lambda: subset(160, 60, 0)[subset(60, 50, 0)]),
        # The floor's images are test images here; the training images are the reference.
        ({"evaluation__reference": "train"}, lambda: subset(160, 50, 0)),
        # The floor has fewer images than the validation.
        ({"evaluation__samples": 50, "evaluation__validation_samples": 55}, lambda: subset(160, 55, 0)),
    ],
)
def test_the_floor_of_validation_is_of_train_against_val_whatever_the_reference(
    tiny: Make, histology: Images, tmp_path: Path, values: dict[str, Any], train: Callable[[], torch.Tensor]
) -> None:
    spec = tiny(evaluation__audit=False, evaluation__metrics=["kid"], **values)
    found = scored(spec, histology, tmp_path)
    chosen, extractor = train(), spec.evaluation.extractor
    val = histology.val[subset(60, len(chosen), 0)]
    real, fresh = (extract(chunks(images), extractor).pool for images in (histology.train[chosen], val))
    assert found.validation == pytest.approx(kid(real, fresh), rel=1e-4)
    assert found.validation != pytest.approx(found.metrics["kid"], rel=1e-2), "the test split's is another"


def test_it_is_measured_by_the_metric_that_chooses(tiny: Make, histology: Images, tmp_path: Path) -> None:
    spec = tiny(evaluation__audit=False, evaluation__metrics=["kid"], search={"objective": "fid"})
    found, extractor = scored(spec, histology, tmp_path), spec.evaluation.extractor
    chosen = histology.train[subset(160, 60, 0)[subset(60, 50, 0)]]
    val = histology.val[subset(60, 50, 0)]
    expected = frechet.distance(extract(chunks(chosen), extractor).pool, extract(chunks(val), extractor).pool)
    assert found.validation == pytest.approx(expected, rel=1e-6) and expected > 1


@pytest.mark.parametrize(("reference", "split"), [("test", "train"), ("train", "test")])
def test_the_floor_never_scores_a_split_against_itself(
    tiny: Make, histology: Images, tmp_path: Path, reference: str, split: str
) -> None:
    spec = tiny(evaluation__audit=False, evaluation__metrics=["kid"], evaluation__reference=reference)
    evaluator = Evaluator(spec, histology, Folder(tmp_path / "train"), Folder(tmp_path / "e"), WorkerResources(1, 0))
    features, _ = evaluator.extract(None)
    own = histology.split(split)
    expected = extract(chunks(own[subset(len(own), 60, 0)]), spec.evaluation.extractor)
    assert torch.allclose(features.pool, expected.pool, atol=1e-5)


def test_scores_of_runs_and_of_earlier_versions_have_no_floor_of_validation() -> None:
    contract = {"extractor": "e", "weights_sha256": "5", "resize": 9, "samples": 9, "reference_split": "test"}
    contract |= {"reference_images": 9, "reference_sha256": "a", "kid_subset_size": 9, "kid_subsets": 1}
    contract |= {"dtype": "float32", "seed": 0, "torch_fidelity": "0.4.0"}
    old = {"label": "real", "seed": 0, "step": 0, "metrics": {}, "contract": contract, "seconds": 1.0}
    assert Score.model_validate(old).validation is None
