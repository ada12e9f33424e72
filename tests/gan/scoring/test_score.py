"""Scores of a run and of the noise floor: their metrics, their contract, and why a number is missing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gansvc.catalog.extractors import Extractor
from gansvc.catalog.metrics import KID, Features
from gansvc.cluster.evaluation import Evaluator
from gansvc.gan import checkpoint
from gansvc.gan.data import Images, content_hash
from gansvc.gan.networks import build_generator
from gansvc.gan.sampling import chunks
from gansvc.gan.scoring.features import extract
from gansvc.gan.scoring.score import make_score
from gansvc.spec.capacity import WorkerResources
from gansvc.spec.job import JobSpec
from gansvc.store.audits import Usefulness
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score

Make = Callable[..., JobSpec]
LITE = Extractor(name="efficientnet-lite0", size=32)


def test_a_score_of_features_that_are_no_numbers_says_so(tiny: Make, histology: Images) -> None:
    real = extract(chunks(histology.test), LITE)
    score = make_score(
        "wgan", 0, 1, Features(real.pool * math.nan, real.logits), histology.test, real, tiny().evaluation
    )
    assert set(score.metrics) == {"is", "is_std"} and score.contract.samples == 60
    assert set(score.skipped) == {"fid", "kid", "precision", "recall", "f_score"}


@pytest.mark.parametrize("conditional", [False, True])
def test_a_run_whose_images_are_no_numbers_is_scored_with_the_reason_alone(
    conditional: bool, tiny: Make, histology: Images, tmp_path: Path
) -> None:
    labels = {split: torch.arange(len(histology.split(split))) % 2 for split in ("train", "val", "test")}
    images = dataclasses.replace(histology, labels=labels, names=("0", "1"))
    spec, folder = tiny(dataset="breastmnist", network__conditional=conditional), Folder(tmp_path)
    shares = torch.tensor([0.5, 0.5]) if conditional else None
    state = build_generator(spec.network, 3, 28, shares).state_dict()
    weights = {name: tensor if name == "shares" else tensor * math.nan for name, tensor in state.items()}
    checkpoint.save_best(folder / "wgan-seed0" / "checkpoints", weights, 4, 0.5)
    run = RunRecord(label="wgan", seed=0, values={}, state="finished", best_step=4, best_objective=0.5)
    useful = frozenset({"wgan-seed0"} if conditional else ())
    evaluator = Evaluator(spec, images, folder, folder, WorkerResources(1, 0), useful)
    # Two evaluators share the samples.
    evaluator.score(run, (extract(chunks(images.test), LITE), None), *(evaluator.extract(run, n, 2) for n in range(2)))
    score = folder.read_record("wgan-seed0.json", Score)
    assert score is not None and score.metrics == {} and score.contract.samples == 60
    assert set(score.skipped) == {"is", "fid", "kid", "precision", "recall", "f_score"}
    assert not folder.exists("wgan-seed0.png")
    if conditional:
        learned = folder.read_record("wgan-seed0.usefulness.json", Usefulness)
        assert learned is not None and "images that aren't numbers" in learned.failed


def test_score_carries_its_contract(tiny: Make, histology: Images) -> None:
    evaluation = tiny().evaluation
    features = extract(chunks(histology.test), LITE)
    score = make_score("wgan", 3, 7, features, histology.test, features, evaluation, histology.content)
    assert (score.label, score.seed, score.step) == ("wgan", 3, 7)
    contract = score.contract
    assert contract.fields().keys() > {"torch", "timm", "torch_fidelity", "fid", "data.train_images", "data.val_images"}
    assert contract.details == {}, "what was there before details has fields of its own"
    assert contract.reference_sha256 == content_hash(histology.test) and contract.samples == 60
    assert contract.weights_sha256.startswith("57934424") and contract.kid_subset_size == 60
    assert set(score.metrics) == {"is", "is_std", "fid", "kid", "kid_std", "precision", "recall", "f_score"}
    other = contract.model_copy(update={"resize": 224})
    assert contract.differences(other) == ["resize"]


@pytest.mark.parametrize(("reference", "floor"), [("test", "train"), ("train", "test")])
def test_noise_floor_never_compares_a_split_with_itself(
    reference: str, floor: str, tiny: Make, histology: Images, tmp_path: Path
) -> None:
    images = Images(histology.train[:60], histology.val, histology.test)
    folder = Folder(tmp_path)
    evaluator = Evaluator(tiny(evaluation__reference=reference), images, folder, folder, WorkerResources(1, 0))
    assert evaluator.score(None, evaluator.prepare(), evaluator.extract(None)) == "real"
    score = folder.read_record("real.json", Score)
    assert score is not None and score.contract.reference_split == reference
    assert score.contract.reference_sha256 == content_hash(images.split(reference))
    real, other = (extract(chunks(images.split(name)), LITE) for name in (reference, floor))
    assert score.metrics["kid"] == pytest.approx(KID.compute(other, real)["kid"], rel=1e-6)
    assert (tmp_path / "real.png").is_file()
