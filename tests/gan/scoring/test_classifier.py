"""The classifier of a data set's classes: it learns, it is trained once, and what it sees is counted rightly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gansvc.catalog.datasets import Dataset
from gansvc.catalog.metrics import Features
from gansvc.gan import data
from gansvc.gan.data import Images
from gansvc.gan.scoring import classifier
from gansvc.gan.scoring.classifier import Classifier
from gansvc.store.audits import Classes

OFFICIAL = Path(__file__).parents[4] / "shared" / "data" / "medmnist"


def stripes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy grey images with lying stripes, class 0, standing ones, class 1, or none, class 2."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    wave = 60 * torch.sin(torch.arange(28) * 1.3)
    shapes = torch.stack([wave[:, None].expand(28, 28), wave[None, :].expand(28, 28), torch.zeros(28, 28)])
    images = 128 + shapes[labels] + 20 * torch.randn(count, 28, 28, generator=rng)
    return images.clamp(0, 255).to(torch.uint8).unsqueeze(1), labels


@pytest.fixture
def images() -> Images:
    train, val, test = (stripes(count, seed) for seed, count in enumerate((240, 60, 90)))
    return Images(train[0], val[0], test[0], {"train": train[1], "val": val[1], "test": test[1]})


def test_it_learns_and_is_the_same_each_time(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "BUDGET", 64 * 40)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = classifier.train_or_load(images)
    assert torch.equal(torch.random.get_rng_state(), before), "a job's own draws aren't touched"
    seen = classifier.outputs(first, images.test)
    assert (seen.logits.argmax(dim=1) == images.labels["test"]).float().mean() > 0.95
    assert seen.pool.shape == (90, 64) and seen.logits.shape == (90, 3)

    monkeypatch.setenv("GANSVC_CACHE", str(tmp_path / "other"))
    again = classifier.train_or_load(images)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))


def test_it_is_kept_by_content(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "BUDGET", 64 * 10)
    first = classifier.train_or_load(images)
    monkeypatch.setattr(classifier, "fit", None)
    kept = classifier.train_or_load(images)
    assert torch.equal(classifier.outputs(kept, images.test).logits, classifier.outputs(first, images.test).logits)
    relabelled = {**images.labels, "train": images.labels["train"].flip(0)}
    for other in (
        Images(images.train, images.val, images.test, relabelled),
        Images(images.train.flip(0), images.val, images.test, images.labels),
        Images(images.train, images.val.flip(0), images.test, images.labels),
    ):
        with pytest.raises(TypeError):
            classifier.train_or_load(other)


def test_outputs_do_not_depend_on_the_batch(images: Images) -> None:
    network = Classifier(1, 3)
    whole = classifier.outputs(network.train(), images.train)
    assert torch.allclose(classifier.outputs(network, images.train[7:9]).logits, whole.logits[7:9], atol=1e-5)


def said(*labels: int) -> Features:
    """Return outputs that name these classes, each with features of its own."""
    logits = 10 * torch.eye(3)[list(labels)]
    return Features(torch.randn(len(labels), 64, generator=torch.Generator().manual_seed(len(labels))), logits)


def test_shares_and_their_distance_are_counted(images: Images) -> None:
    heldout, truth = said(*[0] * 50, *[1] * 30, *[2] * 20), torch.tensor([0] * 60 + [1] * 40)
    found = classifier.compare_classes(said(*[0] * 10, *[2] * 30), heldout, images, truth)
    assert found.images == 40
    assert found.heldout == pytest.approx((0.5, 0.3, 0.2)) and found.seen == pytest.approx((0.25, 0, 0.75))
    assert found.train == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    # Half of 0.25 + 0.3 + 0.55.
    assert found.distance == pytest.approx(0.55)
    assert found.accuracy == pytest.approx((50 + 20) / 100) and found.majority == pytest.approx(0.6)


def test_domain_inception_score_of_sure_and_even_answers_is_their_number(images: Images) -> None:
    # torch-fidelity takes the mean over ten random parts, in which the classes aren't quite even.
    heldout, truth = said(*[0, 1, 2] * 30), torch.zeros(90).long()
    even = classifier.compare_classes(said(*[0, 1, 2] * 100), heldout, images, truth)
    one = classifier.compare_classes(said(*[1] * 300), heldout, images, truth)
    assert 2.8 < even.metrics["is"] < 3 and one.metrics["is"] == pytest.approx(1)
    assert set(even.metrics) == {"is", "is_std", "kid", "kid_std"}


def test_a_metric_that_so_few_images_do_not_give_is_left_out_with_the_reason(images: Images) -> None:
    found = classifier.compare_classes(said(0, 1, 2, 0, 1), said(*[0, 1, 2] * 30), images, torch.zeros(90).long())
    assert set(found.metrics) == {"kid", "kid_std"}
    assert found.skipped == {"is": "5 images are too few for a mean over 10 splits, which takes 10"}
    assert Classes.model_validate_json(found.model_dump_json()) == found and "null" not in found.model_dump_json()


@pytest.mark.parametrize(("name", "least"), [("retinamnist", 0.0), ("breastmnist", 0.03)])
def test_it_learns_the_official_sets(name: str, least: float) -> None:
    if not (OFFICIAL / f"{name}.npz").is_file():
        pytest.skip(f"{OFFICIAL} doesn't hold {name}.npz")
    images = data.load(Dataset(name=name, root=str(OFFICIAL)))
    network = classifier.train_or_load(images)
    heldout = classifier.outputs(network, images.test)
    fresh = classifier.compare_classes(classifier.outputs(network, images.val), heldout, images, images.labels["test"])
    assert fresh.accuracy > fresh.majority + least, "better than always guessing the largest class"
    noise = torch.randint(0, 256, images.val.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    wild = classifier.compare_classes(classifier.outputs(network, noise), heldout, images, images.labels["test"])
    assert wild.metrics["kid"] > 10 * abs(fresh.metrics["kid"]) and wild.metrics["is"] < fresh.metrics["is"]
    assert wild.distance > fresh.distance
