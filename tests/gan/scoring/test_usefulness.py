"""Usefulness: control sets whose answer is known, counts that are exact, and a failure that costs nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gansvc.gan.data import Images
from gansvc.gan.networks import build_generator
from gansvc.gan.scoring import classifier, usefulness
from gansvc.gan.scoring.classifier import LabelledImages
from gansvc.gan.scoring.usefulness import UsefulnessData
from gansvc.spec.job import JobSpec
from gansvc.store.audits import MixtureResult
from gansvc.store.records import RunRecord

RUN = RunRecord(label="wgan", seed=3, values={}, state="finished", best_step=7)
COUNTS = {"train": (180, 36, 24), "val": (45, 9, 6), "test": (60, 24, 16)}


def stripes(counts: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return so many noisy images without stripes, class 0, with lying ones, class 1, and with standing ones, 2."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=rng)]
    wave = 60 * torch.sin(torch.arange(16) * 1.3)
    shapes = torch.stack([torch.zeros(16, 16), wave[:, None].expand(16, 16), wave[None, :].expand(16, 16)])
    images = 128 + shapes[labels] + 20 * torch.randn(len(labels), 16, 16, generator=rng)
    return images.clamp(0, 255).to(torch.uint8).unsqueeze(1), labels


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> Images:
    monkeypatch.setattr(classifier, "BUDGET", 64 * 30)
    monkeypatch.setattr(usefulness, "SEEDS", (0, 1))
    made = {name: stripes(counts, seed) for seed, (name, counts) in enumerate(COUNTS.items())}
    labels = {name: pair[1] for name, pair in made.items()}
    return Images(made["train"][0], made["val"][0], made["test"][0], labels)


def row(rows: tuple[MixtureResult, ...], what: str, share: float) -> MixtureResult:
    return next(one for one in rows if one.what == what and one.share == share)


def test_controls_get_the_answer_that_is_known(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usefulness, "SEEDS", (0,))
    real = usefulness.select_data(images)
    labels = real.train.labels
    fresh, order = stripes(COUNTS["train"], 9)
    # In the order of the training images' classes, as a generator is asked for them.
    alike = fresh[order.argsort(stable=True)][labels.argsort(stable=True).argsort()]
    rows = usefulness.mixture_results(alike, real)
    assert [(one.what, one.share) for one in rows] == [
        *(("real", 0.1), ("real", 1.0), ("both", 0.1), ("both", 1.0), ("generated", 0.0)),
    ]
    assert [(one.real_images, one.generated_images) for one in rows] == [
        *((24, 0), (240, 0), (24, 240), (240, 240), (0, 240)),
    ]
    assert row(rows, "real", 1.0).accuracy > 0.95
    assert abs(row(rows, "generated", 0).accuracy - row(rows, "real", 1.0).accuracy) < 0.05
    assert row(rows, "both", 0.1).accuracy > 0.9

    # Labels that say nothing of the image: in every stretch of 20 images, all three classes in their proportion.
    rng = torch.Generator().manual_seed(1)
    said = torch.tensor([0] * 15 + [1] * 3 + [2] * 2)[torch.randperm(20, generator=rng)].repeat(12)
    by_truth = fresh[order.argsort(stable=True)]
    shuffled = by_truth[said.argsort(stable=True)][labels.argsort(stable=True).argsort()]
    noise = torch.randint(0, 256, alike.shape, dtype=torch.uint8, generator=rng)
    for worthless in (shuffled, noise):
        found = row(usefulness.mixture_results(worthless, real), "generated", 0)
        # Who learned nothing names one class always, mostly the most frequent one: 60 of the 100 test images.
        assert found.balanced_accuracy == pytest.approx(1 / 3, abs=0.08)
        assert found.accuracy < 0.68


def test_same_seeds_give_the_same_numbers(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "BUDGET", 64 * 10)
    first = usefulness.real_only_baselines(usefulness.select_data(images))
    monkeypatch.setenv("GANSVC_CACHE", str(tmp_path / "other"))
    torch.manual_seed(5)
    assert usefulness.real_only_baselines(usefulness.select_data(images)) == first
    assert set(first[0].accuracies) == {0, 1} == set(first[0].balanced_accuracies)
    # The training images themselves in place of generated ones: the same training, so the same numbers.
    copies = row(usefulness.mixture_results(images.train, usefulness.select_data(images)), "generated", 0)
    assert copies.accuracies == first[1].accuracies and copies.balanced_accuracies == first[1].balanced_accuracies


def test_real_rows_are_kept_by_content(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "BUDGET", 64 * 10)
    usefulness.cache_baselines(images)
    first = usefulness.real_only_baselines(usefulness.select_data(images))
    monkeypatch.setattr(classifier, "fit", None)
    assert usefulness.real_only_baselines(usefulness.select_data(images)) == first
    relabelled = {**images.labels, "test": images.labels["test"].flip(0)}
    other = Images(images.train, images.val, images.test, relabelled)
    with pytest.raises(TypeError):
        usefulness.real_only_baselines(usefulness.select_data(other))
    usefulness.cache_baselines(other)


def test_a_share_is_stratified_and_fixed() -> None:
    labels = torch.tensor([0] * 486 + [1] * 128 + [2] * 206 + [3] * 194 + [4] * 66 + [5] * 2)
    index = usefulness.stratified(labels, 0.1)
    assert torch.bincount(labels[index]).tolist() == [49, 13, 21, 19, 7, 1], "RetinaMNIST's, and a class of two"
    assert torch.equal(index, usefulness.stratified(labels, 0.1)) and torch.equal(index, index.unique())
    assert torch.equal(usefulness.stratified(labels, 1.0), torch.arange(len(labels)))
    # Spread over the class, not its first images.
    assert index[index < 486].max() > 100


def test_large_sets_are_used_in_part(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usefulness, "MAX_TRAIN_IMAGES", 48)
    monkeypatch.setattr(usefulness, "MAX_VAL_IMAGES", 20)
    real = usefulness.select_data(images)
    exam = real.protocol()
    assert (exam.train_images, exam.of, exam.val_images, exam.test_images) == (48, 240, 20, 100)
    assert torch.bincount(real.train.labels).tolist() == [36, 7, 5]
    assert (exam.classes, exam.majority, exam.steps, exam.batch_size) == (3, 0.6, 30, 64)


class Said(nn.Module):
    """Names the class that an image's first pixel holds."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images.float().mean(dim=(2, 3)), torch.eye(3)[images[:, 0, 0, 0].long()]


def test_accuracy_counts_images_and_balanced_accuracy_counts_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "fit", lambda *_: Said())
    monkeypatch.setattr(usefulness, "SEEDS", (0,))
    truth = torch.tensor([0] * 6 + [1] * 3 + [2])
    test = torch.zeros(10, 1, 4, 4, dtype=torch.uint8)
    test[:, 0, 0, 0] = torch.tensor([0, 0, 0, 0, 0, 1, 1, 0, 0, 0])
    part = LabelledImages(test, truth)
    found = usefulness.mixture_results(test, UsefulnessData(part, part, part, 3, 10))[0]
    assert found.accuracy == pytest.approx(6 / 10)
    assert found.balanced_accuracy == pytest.approx((5 / 6 + 1 / 3 + 0) / 3)


class Painter(nn.Module):
    """A conditional generator that knows the classes: stripes of the class, and the latent as noise."""

    def __init__(self) -> None:
        super().__init__()
        self.loudness = nn.Parameter(torch.tensor(0.1))
        wave = 0.5 * torch.sin(torch.arange(16) * 1.3)
        shapes = torch.stack([torch.zeros(16, 16), wave[:, None].expand(16, 16), wave[None, :].expand(16, 16)])
        self.register_buffer("shapes", shapes)
        self.register_buffer("shares", torch.ones(3) / 3)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        noise = self.loudness * z.repeat_interleave(32, dim=1).view(-1, 16, 16)
        return (self.get_buffer("shapes")[labels] + noise).unsqueeze(1)


def test_a_run_is_measured_with_images_of_the_training_labels(
    tiny: Callable[..., JobSpec], images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usefulness, "SEEDS", (0,))
    found = usefulness.measure(RUN, Painter(), tiny(), images)
    assert (found.label, found.seed, found.step, found.failed) == ("wgan", 3, 7, "")
    assert found.exam == usefulness.select_data(images).protocol() and found.seconds > 0
    assert row(found.rows, "generated", 0).accuracy > 0.8, "other classes than those asked for would teach nothing"


def test_a_failure_is_told_and_raises_nothing(tiny: Callable[..., JobSpec], images: Images) -> None:
    spec = tiny()
    found = usefulness.measure(RUN, build_generator(spec.network, 1), spec, images)
    assert found.failed.startswith("TypeError: ") and found.rows == () and found.exam is None


def test_each_losss_best_run_on_the_validation_split_is_measured(tiny: Callable[..., JobSpec]) -> None:
    objectives = {("wgan", 0): 0.3, ("wgan", 1): 0.1, ("wgan", 2): 0.2, ("lsgan", 0): 0.9, ("lsgan", 1): None}
    runs = [
        RUN.model_copy(update={"label": label, "seed": seed, "best_objective": value})
        for (label, seed), value in objectives.items()
    ]
    labelled = {"dataset": {"name": "breastmnist"}}
    conditional = tiny(**labelled, network__conditional=True)
    assert usefulness.select_runs(conditional, runs) == {"wgan-seed1", "lsgan-seed0"}
    assert usefulness.select_runs(conditional.with_values({"evaluation.audit": False}), runs) == frozenset()
    assert usefulness.select_runs(tiny(**labelled), runs) == frozenset(), "an unconditional generator has no classes"
