"""The audit of a checkpoint, as an evaluator writes it: before the score, and of the images that were scored."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gansvc.catalog.datasets import Dataset
from gansvc.catalog.metrics import Features
from gansvc.cluster.evaluation import Evaluator
from gansvc.errors import ClusterError
from gansvc.gan import checkpoint, data
from gansvc.gan.data import Images
from gansvc.gan.networks import build_generator
from gansvc.gan.sampling import chunks, subset
from gansvc.gan.scoring import audit, classifier, scorefiles, usefulness
from gansvc.gan.scoring.features import extract, reference_features
from gansvc.gan.scoring.score import make_score
from gansvc.report.memorisation import verdict
from gansvc.spec.capacity import WorkerResources
from gansvc.spec.job import Evaluation, JobSpec
from gansvc.store.audits import Audit, Usefulness
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score

SPLITS = ("train", "val", "test")
RUN = RunRecord(label="wgan", seed=3, values={}, state="finished", best_step=7)


@pytest.fixture
def evaluator(tiny: Callable[..., JobSpec], histology: Images, tmp_path: object) -> Evaluator:
    folder, spec = Folder(str(tmp_path)), tiny()
    torch.manual_seed(0)
    weights = build_generator(spec.network, 3).state_dict()
    checkpoint.save_best(folder / "train" / "wgan-seed3" / "checkpoints", weights, 7, 0.5)
    return Evaluator(spec, histology, folder / "train", folder / "evaluation", WorkerResources(1, 0))


def test_a_job_may_do_without_audits(evaluator: Evaluator) -> None:
    evaluator.spec = evaluator.spec.with_values({"evaluation.audit": False})
    evaluator.score(RUN, evaluator.prepare(), evaluator.extract(RUN))
    assert sorted(evaluator.target.names()) == ["wgan-seed3.json", "wgan-seed3.png"]


def test_a_scored_run_is_audited(evaluator: Evaluator) -> None:
    assert evaluator.score(RUN, evaluator.prepare(), evaluator.extract(RUN)) == "wgan-seed3"
    found = evaluator.target.read_record("wgan-seed3.audit.json", Audit)
    assert found is not None and found.memorisation is not None
    assert (found.label, found.seed, found.step, found.extractor) == ("wgan", 3, 7, "efficientnet-lite0")
    memory = found.memorisation
    assert (memory.images, memory.train_images, memory.heldout_images, memory.fresh_images) == (60, 160, 60, 50)
    assert memory.flagged is False, "an untrained generator knows no training image"
    # The audit is no score, and doesn't get in the scores' way.
    assert [score.label for score in scorefiles.read_scores(evaluator.target)] == ["wgan"]

    picture = np.asarray(Image.open(io.BytesIO(evaluator.target.read("wgan-seed3.pairs.png") or b"")))
    assert picture.shape == (2 * (3 * 29 + 1), 2 * (8 * 29 + 1), 3)
    generated = torch.cat(list(evaluator._samples(RUN, 60)))
    rows = (generated, evaluator.images.train, evaluator.images.test)
    pair = memory.pairs[2]
    for row, (images, index) in enumerate(zip(rows, (pair.generated, pair.train, pair.heldout), strict=True)):
        tile = picture[2 * (29 * row + 1) : 2 * 29 * (row + 1) : 2, 2 * (29 * 2 + 1) : 2 * 29 * 3 : 2]
        assert np.array_equal(tile, images[index].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("part", ["real_reference", "draw_pairs"])
def test_an_audit_that_fails_says_why_and_does_not_cost_the_score(
    part: str, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bytes:
        raise RuntimeError("no memory")

    monkeypatch.setattr(audit, part, fails)
    evaluator.score(RUN, evaluator.prepare(), evaluator.extract(RUN))
    found = evaluator.target.read_record("wgan-seed3.audit.json", Audit)
    assert found is not None and found.failed == "RuntimeError: no memory" and found.memorisation is None
    assert evaluator.target.read_record("wgan-seed3.json", Score) is not None
    assert [*scorefiles.failures(evaluator.target, "wgan-seed3")] == [("the audit of wgan-seed3", found.failed)]


def test_a_storage_that_fails_under_an_audit_is_no_fault_of_the_audit(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bytes:
        raise ClusterError("storage: the disk is full")

    prepared, features = evaluator.prepare(), evaluator.extract(RUN)
    monkeypatch.setattr(audit, "draw_pairs", full)
    with pytest.raises(ClusterError, match="full"):
        evaluator.score(RUN, prepared, features)
    assert evaluator.target.read_record("wgan-seed3.json", Score) is None, "a resumed job does both again"


def test_a_score_holds_the_digest_of_the_weights_that_it_scored(evaluator: Evaluator) -> None:
    evaluator.score(
        run := RUN.model_copy(update={"identity": {"seed": 3}}), evaluator.prepare(), evaluator.extract(RUN)
    )
    found = evaluator.target.read_record("wgan-seed3.json", Score)
    assert found is not None and found.contract.data == (data := evaluator.images.content)
    digest = checkpoint.best_digest(evaluator.train / "wgan-seed3" / "checkpoints")
    assert digest is not None and found.weights == digest
    assert scorefiles.outdated_fields(found, digest, run.identity, data) == []
    assert scorefiles.outdated_fields(found, "0" * 64, {"seed": 4}, data | {"train_images": "cd"}) == [
        f"weights: {digest[:12]} there, 000000000000 here",
        "run.seed: 3 there, 4 here",
        f"data.train_images: {data['train_images'][:12]} there, cd here",
    ]


def test_a_set_with_classes_is_looked_at_by_a_classifier(
    evaluator: Evaluator, histology: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two classes that a histogram can show: dark tiles and bright ones.
    brightness = {name: histology.split(name).float().mean(dim=(1, 2, 3)) for name in SPLITS}
    labels = {name: (values > values.median()).long() for name, values in brightness.items()}
    evaluator.images = Images(histology.train, histology.val, histology.test, labels)
    monkeypatch.setattr(classifier, "BUDGET", 64 * 40)
    prepared = evaluator.prepare()
    for run in (RUN, None):
        evaluator.score(run, prepared, evaluator.extract(run))
    found = evaluator.target.read_record("wgan-seed3.audit.json", Audit)
    real = evaluator.target.read_record("real.audit.json", Audit)
    assert found and found.memorisation and found.classes and real and real.classes
    assert real.memorisation is None, "real images can't be copies"
    assert (
        found.classes.train
        == real.classes.train
        == pytest.approx([(labels["train"] == k).double().mean().item() for k in (0, 1)])
    )
    # The grey of an untrained generator is one class only; the fresh real images are of both.
    assert found.classes.images == 60 and max(found.classes.seen) == 1
    assert real.classes.images == 60 and max(real.classes.seen) < 1
    assert real.classes.distance < found.classes.distance
    assert real.classes.metrics["kid"] < found.classes.metrics["kid"]


def test_a_chosen_conditional_run_is_measured_and_no_failure_costs_the_score(
    evaluator: Evaluator, histology: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "BUDGET", 64 * 10)
    monkeypatch.setattr(usefulness, "SEEDS", (0,))
    # Any data set with classes will do: its images are given here.
    values = {"dataset": {"name": "bloodmnist"}, "network.conditional": True, "evaluation.audit": False}
    evaluator.spec = evaluator.spec.with_values(values)
    labels = {name: torch.arange(len(histology.split(name))) % 2 for name in SPLITS}
    evaluator.images = Images(histology.train, histology.val, histology.test, labels)
    weights = build_generator(evaluator.spec.network, 3, 28, torch.tensor([0.5, 0.5])).state_dict()
    checkpoint.save_best(evaluator.train / "wgan-seed3" / "checkpoints", weights, 7, 0.5)

    evaluator.useful = frozenset({"wgan-seed3"})
    evaluator.score(RUN, evaluator.prepare(), evaluator.extract(RUN))
    found = evaluator.target.read_record("wgan-seed3.usefulness.json", Usefulness)
    assert found is not None and found.failed == "" and len(found.rows) == 5
    assert found.exam is not None and (found.exam.train_images, found.exam.test_images) == (160, 60)
    assert [score.label for score in scorefiles.read_scores(evaluator.target)] == ["wgan"], "the measure is no score"

    evaluator.target.delete("wgan-seed3.json")
    evaluator.images = Images(histology.train, histology.val, histology.test)
    evaluator.score(RUN, evaluator.prepare(), evaluator.extract(RUN))
    found = evaluator.target.read_record("wgan-seed3.usefulness.json", Usefulness)
    assert found is not None and found.rows == () and found.failed == "KeyError: 'train'"
    assert [score.label for score in scorefiles.read_scores(evaluator.target)] == ["wgan"]


def test_what_the_scores_need_is_extracted_once(
    tiny: Callable[..., JobSpec], histology: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = tiny(evaluation__samples=200).evaluation
    reference, floor = (reference_features(x, evaluation.extractor) for x in (histology.test, histology.train))
    extracted: list[int] = []

    def counting(images: Sequence[torch.Tensor], *rest: Any) -> Features:
        extracted.append(sum(map(len, images)))
        return extract(images, *rest)

    monkeypatch.setattr("gansvc.gan.scoring.features.extract", counting)
    real = audit.real_reference(histology, reference, evaluation)
    assert extracted == [50], "the fresh images alone; here no validation has extracted them"
    assert torch.equal(real.train, histology.train) and torch.equal(real.neighbours.train, floor.pool)
    assert torch.equal(real.heldout, histology.test) and torch.equal(real.neighbours.heldout, reference.pool)


def test_a_large_split_is_searched_in_part(
    tiny: Callable[..., JobSpec], histology: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MIN_SEARCHED", 40)
    evaluation = tiny(evaluation__samples=50).evaluation
    reference = reference_features(histology.test, evaluation.extractor)
    real = audit.real_reference(histology, reference, evaluation)
    assert torch.equal(real.train, histology.train[subset(160, 50, 0)])
    assert torch.equal(real.heldout, histology.test[subset(60, 50, 0)])
    again = reference_features(real.heldout, evaluation.extractor)
    assert torch.allclose(real.neighbours.heldout, again.pool, atol=1e-4)


# --- splits that share images ---------------------------------------------------------------------------------------


def judged(images: Images, generated: torch.Tensor, evaluation: Evaluation) -> Audit:
    """Return the audit of some images, as if a generator had made them."""
    reference = reference_features(images.test, evaluation.extractor)
    real = audit.real_reference(images, reference, evaluation)
    made = extract(chunks(generated), evaluation.extractor)
    score = make_score("wgan", 3, 7, made, images.test, reference, evaluation)
    return audit.make_audit(score, made, generated, images, real)


@pytest.fixture(scope="module")
def tissue() -> dict[str, torch.Tensor]:
    """Tiles of four parts of the tissue: of a train, a val and a test split, and of no split."""
    whole = data.load(Dataset(name="histology"))
    return {"train": whole.train[:200], "val": whole.val[:90], "test": whole.test[:90], "other": whole.val[180:270]}


def generators(tissue: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what a generator draws that copies training images, up to noise, and what one draws that doesn't."""
    copies = tissue["train"][::2].float()
    noise = 2 * torch.randn(copies.shape, generator=torch.Generator().manual_seed(0))
    return {"copies": (copies + noise).round().clamp(0, 255).to(torch.uint8), "draws": tissue["other"]}


@pytest.mark.parametrize("made", ["copies", "draws"])
def test_whole_splits_that_stand_elsewhere_leave_nothing_to_judge_by(
    made: str, tiny: Callable[..., JobSpec], tissue: dict[str, torch.Tensor]
) -> None:
    train, val, test = (tissue[name] for name in SPLITS)
    evaluation, drawn = tiny().evaluation, generators(tissue)[made]
    for images, held, fresh, reason in (
        (Images(train, test.clone(), test), 90, 0, "90 val images left out for standing in test, too"),
        (Images(train, train[50:120], test), 90, 0, "70 val images left out for standing in train, too"),
        (Images(train, val, train.clone()), 0, 50, "200 test images left out for standing in train, too"),
    ):
        found = judged(images, drawn, evaluation)
        memory = found.memorisation
        assert memory is not None and memory.flagged is None
        assert (memory.heldout_images, memory.fresh_images) == (held, fresh)
        assert verdict(found) == (
            f"wgan, seed 3, can't be judged: {held} held-out images and {fresh} fresh ones are too few; {reason}"
        )
        assert memory.closer is None and (memory.to_heldout is None) == (held == 0) == (memory.pairs == ())


@pytest.mark.parametrize("part", ["val in train", "test in train", "val in test"])
def test_splits_that_share_some_images_are_judged_by_the_others(
    part: str, tiny: Callable[..., JobSpec], tissue: dict[str, torch.Tensor]
) -> None:
    split, _, other = part.partition(" in ")
    parts = {name: tissue[name] for name in SPLITS}
    parts[split] = torch.cat([parts[split][:60], parts[other][10:40]])
    images, evaluation = (
        Images(parts["train"], parts["val"], parts["test"]),
        tiny(evaluation__validation_samples=90).evaluation,
    )
    for made, flagged in (("copies", True), ("draws", False)):
        memory = judged(images, generators(tissue)[made], evaluation).memorisation
        assert memory is not None and memory.flagged is flagged
        assert (memory.heldout_images, memory.fresh_images) == ((60, 90) if split == "test" else (90, 60))
        assert memory.left_out == (f"30 {split} images left out for standing in {other}, too",)


def test_an_image_is_left_out_though_its_copy_is_not_searched(
    tiny: Callable[..., JobSpec], tissue: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MIN_SEARCHED", 40)
    evaluation = tiny(evaluation__samples=50).evaluation
    train, val, test = (tissue[name] for name in SPLITS)
    unsearched = torch.ones(200, dtype=torch.bool)
    unsearched[subset(200, 50, evaluation.seed)] = False
    copied = train[unsearched][:100]
    images = Images(train, torch.cat([val[:40], copied[:50]]), torch.cat([copied[50:], test]))
    real = audit.real_reference(images, reference_features(images.test, evaluation.extractor), evaluation)
    assert real.neighbours.left_out == (50, 50, 0)
    assert torch.equal(real.heldout, test[subset(90, 50, evaluation.seed)])
    assert len(real.neighbours.fresh) == 40


def test_a_run_on_splits_that_are_one_is_scored_and_audited(
    evaluator: Evaluator, histology: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "BUDGET", 64 * 10)
    monkeypatch.setattr(usefulness, "SEEDS", (0,))
    images = histology.train[:60]
    evaluator.images = Images(images, images, images, {name: torch.arange(60) % 2 for name in SPLITS})
    evaluator.score(RUN, evaluator.prepare(), evaluator.extract(RUN))
    found = evaluator.target.read_record("wgan-seed3.audit.json", Audit)
    assert found is not None and found.classes is not None and found.memorisation is not None
    assert found.memorisation.flagged is None and found.memorisation.heldout_to_train is None
    assert evaluator.target.read("wgan-seed3.pairs.png") is None, "there are no pairs to show"
    assert len(usefulness.mixture_results(images, usefulness.select_data(evaluator.images))) == 5
