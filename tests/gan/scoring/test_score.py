"""Scoring: samples, features and their cache, metrics that move the right way, and a contract that says all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gansvc.catalog.extractors import Extractor
from gansvc.catalog.metrics import Features, FrechetDistance, KernelDistance, Metric, PrecisionRecall
from gansvc.cluster.evaluation import Evaluator
from gansvc.errors import RunError, SpecError
from gansvc.gan import checkpoint
from gansvc.gan.data import Images, content_hash, to_float, to_uint8
from gansvc.gan.networks import build_generator
from gansvc.gan.sampling import CHUNK, chunks, generate
from gansvc.gan.scoring.features import extract, extract_samples, join, reference_features
from gansvc.gan.scoring.metrics import measure
from gansvc.gan.scoring.score import make_score
from gansvc.gan.scoring.validation import Validator
from gansvc.spec.capacity import WorkerResources
from gansvc.spec.job import JobSpec
from gansvc.store.audits import Usefulness
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Contract, Score

Make = Callable[..., JobSpec]
LITE = Extractor(name="efficientnet-lite0", size=32)


def metrics_of(fake: Features, real: Features, *metrics: Metric) -> dict[str, float]:
    return measure(fake, real, metrics).metrics


def test_uint8_and_float_are_inverse() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_uint8(to_float(values)), values)
    assert to_uint8(torch.tensor([-5.0, 5.0])).tolist() == [0, 255]


def test_samples_do_not_depend_on_how_the_work_is_shared(tiny: Make) -> None:
    network = build_generator(tiny().network, 3).eval()
    whole = torch.cat(list(generate(network, 8, 3, 130)))
    assert whole.shape == (130, 3, 28, 28) and whole.dtype == torch.uint8
    shared = [list(generate(network, 8, 3, 130, rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat([shared[0][0], shared[1][0], shared[0][1]]), whole)
    assert torch.equal(torch.cat(list(generate(network, 8, 3, 50))), whole[:50])


def test_joined_parts_are_in_the_order_of_the_samples() -> None:
    rows = torch.arange(130.0).view(130, 1)
    pieces = torch.split(rows, CHUNK)
    # Of four parts the last one's turn never came.
    for count in (1, 2, 3, 4):
        shared = [torch.cat([rows[:0], *pieces[part::count]]) for part in range(count)]
        whole = join([Features(part, -part) for part in shared])
        assert torch.equal(whole.pool, rows) and torch.equal(whole.logits, -rows)


def test_precision_and_recall_are_not_swapped() -> None:
    torch.manual_seed(0)
    real = torch.randn(200, 8) * 3
    # All of the fakes lie in the middle of the real ones: each is believable, few real ones are covered.
    fake = torch.randn(200, 8) * 0.5
    found = metrics_of(Features(fake, fake), Features(real, real), PrecisionRecall())
    assert found["precision"] > 0.9 and found["recall"] < 0.2


def test_metrics_move_the_right_way(histology: Images) -> None:
    features = {
        name: extract(chunks(images), LITE)
        for name, images in {
            "real": histology.test,
            "near": histology.val,
            "noise": torch.randint(0, 256, (60, 3, 28, 28), dtype=torch.uint8),
        }.items()
    }
    near, noise = (
        metrics_of(features[n], features["real"], KernelDistance(), FrechetDistance()) for n in ("near", "noise")
    )
    assert near["kid"] < noise["kid"] and near["fid"] < noise["fid"]
    # The KID between a set and itself, unbiased, is at most nought.
    assert metrics_of(features["real"], features["real"], KernelDistance(subsets=1))["kid"] <= 0


def test_kid_against_the_formula() -> None:
    torch.manual_seed(1)
    x, y = torch.randn(6, 4).double(), torch.randn(6, 4).double() + 1

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.pow(a @ b.T / 4 + 1, 3)

    off = ~torch.eye(6, dtype=torch.bool)
    expected = (kernel(x, x)[off].sum() + kernel(y, y)[off].sum()) / 30 - 2 * kernel(x, y).mean()
    found = metrics_of(Features(x, x), Features(y, y), KernelDistance(subsets=1))["kid"]
    assert found == pytest.approx(float(expected), rel=1e-9)


def test_efficientnet_gives_imagenet_features() -> None:
    features = extract([torch.zeros(2, 1, 28, 28, dtype=torch.uint8)], LITE)
    assert features.pool.shape == (2, 1280) and features.logits.shape == (2, 1000)
    assert torch.allclose(features.pool[0], features.pool[1])


def test_validator_is_deterministic(tiny: Make, validator: Validator) -> None:
    network = build_generator(tiny().network, 3)
    assert validator(network) == validator(network)


@pytest.mark.parametrize("variance", [math.nan, -1.0])
def test_images_that_are_no_numbers_are_refused_and_have_no_score(
    variance: float, tiny: Make, validator: Validator
) -> None:
    network = build_generator(tiny().network, 3)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_var is not None:
            layer.running_var.fill_(variance)
    with pytest.raises(RunError, match="images that aren't numbers"):
        list(generate(network, 8, 0, 60))
    found = validator(network)
    assert math.isnan(found.objective) and found.diversity is None
    # Of 130 samples the second of two workers has the second chunk.
    evaluation = tiny().evaluation
    for rank, rows in ((0, 80), (1, 50)):
        features = extract_samples(network, 8, evaluation, 130, rank, 2)
        assert features.pool.shape == (rows, 1280) and features.logits.shape == (rows, 1000)
        assert bool(features.pool.isnan().all()) and bool(features.logits.isnan().all())


def test_real_images_that_are_all_alike_have_no_diversity_to_share(tiny: Make, validator: Validator) -> None:
    alike = extract(chunks(torch.full((50, 3, 28, 28), 9, dtype=torch.uint8)), LITE)
    # The images needn't be alike for that: what counts are their features.
    same = Features(alike.pool[:1].expand(50, -1), alike.logits[:1].expand(50, -1))
    found = dataclasses.replace(validator, reference=same)(build_generator(tiny().network, 3))
    assert found.diversity is None and math.isfinite(found.objective)


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


def test_reference_features_are_kept_by_content(
    histology: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = reference_features(histology.test[:10], LITE)
    kept = list((tmp_path / "cache" / "features").iterdir())
    assert len(kept) == 1
    monkeypatch.setattr("gansvc.gan.scoring.features.extract", None)
    assert torch.equal(reference_features(histology.test[:10], LITE).pool, first.pool)
    with pytest.raises(TypeError):
        reference_features(histology.test[1:11], LITE)


def test_score_carries_its_contract(tiny: Make, histology: Images) -> None:
    evaluation = tiny().evaluation
    features = extract(chunks(histology.test), LITE)
    score = make_score("wgan", 3, 7, features, histology.test, features, evaluation)
    assert (score.label, score.seed, score.step) == ("wgan", 3, 7)
    contract = score.contract
    assert contract.reference_sha256 == content_hash(histology.test) and contract.samples == 60
    assert contract.weights_sha256.startswith("57934424") and contract.kid_subset_size == 60
    assert set(score.metrics) == {"is", "is_std", "fid", "kid", "kid_std", "precision", "recall", "f_score"}
    other = contract.model_copy(update={"resize": 224})
    assert contract.differences(other) == ["resize"]


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    import pickle

    target = tmp_path / "executed"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return (Path.touch, (target,))

    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Attack()))
    for name in ("inception-v3", "efficientnet-lite0"):
        with pytest.raises(SpecError, match=r"weights.pth doesn't fit this extractor"):
            Extractor(name=name, weights=str(path)).build()
    assert not target.exists()


def test_weights_of_other_shapes_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "weights.pth")
    for name in ("inception-v3", "efficientnet-lite0"):
        with pytest.raises(SpecError, match="doesn't fit this extractor"):
            Extractor(name=name, weights=str(tmp_path / "weights.pth")).build()


def test_missing_weights_name_path_source_and_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    problem = Extractor(name="inception-v3").missing()
    assert problem is not None and str(tmp_path) in problem and "https://" in problem and "weights: PATH" in problem


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
    assert score.metrics["kid"] == pytest.approx(metrics_of(other, real, KernelDistance())["kid"], rel=1e-6)
    assert (tmp_path / "real.png").is_file()


def test_contracts_differ_by_field_and_a_field_that_an_older_record_lacks_is_said_to_be_unknown(
    tiny: Make, histology: Images
) -> None:
    features = extract(chunks(histology.test), LITE)
    args = ("wgan", 3, 7, features, histology.test, features, tiny().evaluation)
    contract = make_score(*args, histology.content).contract
    assert contract.fields().keys() > {"torch", "timm", "torch_fidelity", "fid", "data.train_images", "data.val_images"}
    assert make_score(*args, histology.content).contract.differences(contract) == []
    changed = contract.model_copy(update={"data": contract.data | {"val_images": "ab" * 32}})
    assert contract.unlike(changed) == [f"data.val_images ({contract.data['val_images'][:12]} and abababababab)"]
    # What a record of an earlier version holds.
    older = Contract.model_validate(contract.model_dump(exclude={"torch", "timm", "fid", "data"}))
    assert older.differences(contract) == contract.differences(older) == older.unlike(contract) == []
    assert older.unknown(contract) == contract.unknown(older) == ["data", "fid", "timm", "torch"]
    assert older.unknown(older) == ["data", "fid", "timm", "torch"], "nor can two older ones be told to be alike"
    assert contract.unknown(contract) == []
    assert older.unlike(contract.model_copy(update={"seed": 1})) == ["seed (0 and 1)"]


def test_what_only_one_contract_was_made_with_is_no_difference(tiny: Make, histology: Images) -> None:
    features = extract(chunks(histology.test), LITE)
    contract = make_score(
        "wgan", 3, 7, features, histology.test, features, tiny().evaluation, histology.content
    ).contract
    assert contract.details == {}, "what was there before details has fields of its own"
    one, other = (contract.model_copy(update={"details": {"settings.new": text}}) for text in ("width 1", "width 2"))
    assert contract.differences(one) == contract.unknown(one) == one.unknown(contract) == []
    assert one.unlike(other) == ["settings.new (width 1 and width 2)"]
