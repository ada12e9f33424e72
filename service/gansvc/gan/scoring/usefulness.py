"""Usefulness of generated images as training data: accuracy of classifiers on real test images.

Train on synthetic, test on real. The classifier is that of gan/scoring/classifier.py, and the protocol is this.

- It learns from real training images, from generated ones, or from both: with 10 % of the real ones and with all.
  The 10 % are drawn once per data set from a fixed stream, class by class, at least one image of each.
- There are as many generated images as all real training images, and they are of the same classes, so the balance of
  the classes is the same. With "both" every image, real or generated, is seen equally often.
- Every classifier takes the same number of optimiser steps, however many images it has. Three seeds each give it other
  first weights and another order of the images.
- The real validation split, all or 2,000 images of it, chooses the best of ten moments of every training, those on 10 %
  or on generated images included: one rule for all. So even "generated" has seen real labels in that choice, and at
  10 % the choice may rest on more images than the training. The test split judges and chooses nothing.
- Of more than 5,000 training images a stratified subset of about 5,000 stands for all of them.

The generator itself was trained on all training images. So "both" at 10 % isn't learning from few images: it shows what
the generated images carry over from the other 90 %.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import torch
from torch import nn

from gansvc.errors import reason_of
from gansvc.gan.data import Images
from gansvc.gan.sampling import generate_of
from gansvc.gan.scoring import cache, classifier
from gansvc.gan.scoring.classifier import BATCH, RECIPE, LabelledImages
from gansvc.gan.streams import Stream, generator
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.audits import ClassifierProtocol, MixtureResult, Usefulness
from gansvc.store.records import RunRecord

SHARES = (0.1, 1.0)
"""Shares of the real training images."""
SEEDS = (0, 1, 2)
"""Seeds of the classifiers."""
MAX_TRAIN_IMAGES = 5_000
"""Training images that are used at most, but for rounding: so that each is seen at least twice in any mixture."""
MAX_VAL_IMAGES = 2_000
"""Validation images that are used at most."""
_DRAW = 0


@dataclass(frozen=True)
class UsefulnessData:
    """The real images of a measure, each split as far as it is used."""

    train: LabelledImages
    val: LabelledImages
    test: LabelledImages
    classes: int
    of: int
    """Training images of the data set."""

    @property
    def steps(self) -> int:
        """Optimiser steps of every classifier."""
        return classifier.steps(len(self.train))

    def part(self, share: float) -> LabelledImages:
        """Return a stratified share of the training images."""
        return self.train[stratified(self.train.labels, share)]

    def protocol(self) -> ClassifierProtocol:
        """Return what all classifiers have in common."""
        largest = int(torch.bincount(self.test.labels).max())
        return ClassifierProtocol(
            classes=self.classes,
            majority=largest / len(self.test),
            train_images=len(self.train),
            of=self.of,
            val_images=len(self.val),
            test_images=len(self.test),
            steps=self.steps,
            batch_size=BATCH,
        )


def select_runs(spec: JobSpec, runs: Sequence[RunRecord]) -> frozenset[str]:
    """Return the names of the runs whose usefulness is measured: of each loss the best one on the validation split.

    A run costs nine trainings of a classifier, and only a conditional generator can be asked for classes: none is
    measured in other jobs, nor where the spec does without audits.
    """
    if not (spec.evaluation.audit and spec.network.conditional):
        return frozenset()
    scored = [run for run in runs if run.best_objective is not None]
    best_last = sorted(scored, key=lambda run: run.best_objective or 0.0, reverse=True)
    return frozenset({run.label: layout.run_name(run.label, run.seed) for run in best_last}.values())


def measure(run: RunRecord, network: nn.Module, spec: JobSpec, images: Images, device: str = "cpu") -> Usefulness:
    """Return what classifiers learn from a run's images; a failure is told in the record, and raises nothing.

    Args:
        run: the run.
        network: its conditional generator, on the device.
        spec: the job's spec.
        images: the data set, which has classes.
        device: where to train the classifiers.
    """
    started = time.monotonic()
    bare = Usefulness(label=run.label, seed=run.seed, step=run.best_step or 0)
    try:
        real = select_data(images)
        made = generate_of(network, spec.network.latent_dim, spec.evaluation.seed, real.train.labels)
        found: dict[str, object] = {"exam": real.protocol(), "rows": mixture_results(made, real, device)}
    except Exception as error:  # a measure beside the score must not cost the score
        found = {"failed": reason_of(error)}
    return bare.model_copy(update={**found, "seconds": time.monotonic() - started})


def cache_baselines(images: Images, device: str = "cpu") -> None:
    """Put the rows of real images alone into the cache; where that fails, the measure will fail and say so."""
    with suppress(Exception):
        real_only_baselines(select_data(images), device)


def select_data(images: Images) -> UsefulnessData:
    """Return what of a data set with classes is used."""

    def of(split: str, most: int) -> LabelledImages:
        whole = classifier.labelled_split(images, split)
        return whole[stratified(whole.labels, min(1.0, most / len(whole)))]

    train, val = of("train", MAX_TRAIN_IMAGES), of("val", MAX_VAL_IMAGES)
    return UsefulnessData(train, val, classifier.labelled_split(images, "test"), images.classes, len(images.train))


def stratified(labels: torch.Tensor, share: float) -> torch.Tensor:
    """Return the indices of a fixed random share of some images, in rising order.

    Of each class they are that share, rounded to the nearest number, but one image at least.

    Args:
        labels: int64 (N,).
        share: above 0, at most 1.
    """
    parts = []
    for number in labels.unique().tolist():
        members = (labels == number).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=generator(_DRAW, Stream.SUBSET, 1 + int(number)))
        parts.append(members[order[: max(1, int(share * len(members) + 0.5))]])
    return torch.cat(parts).sort().values


def mixture_results(generated: torch.Tensor, real: UsefulnessData, device: str = "cpu") -> tuple[MixtureResult, ...]:
    """Return the rows of some generated images, those of real images alone first.

    Args:
        generated: images of the classes that the real training images have, in their order, uint8 (N, C, H, W).
        real: the real images.
        device: where to train the classifiers.
    """
    fake, rows = LabelledImages(generated, real.train.labels), list(real_only_baselines(real, device))
    for share in SHARES:
        part = real.part(share)
        both = LabelledImages(torch.cat([part.images, fake.images]), torch.cat([part.labels, fake.labels]))
        rows.append(_row("both", share, len(part), len(fake), _test_accuracies(both, real, device)))
    rows.append(_row("generated", 0.0, 0, len(fake), _test_accuracies(fake, real, device)))
    return tuple(rows)


def real_only_baselines(real: UsefulnessData, device: str = "cpu") -> tuple[MixtureResult, ...]:
    """Return the rows of real images alone, one per share; kept in this machine's cache by the images' content."""
    made_by = (RECIPE, f"torch {torch.__version__}", torch.device(device).type)
    about = (*made_by, str(real.classes), str(real.steps), str(SHARES), str(SEEDS))
    hashes = (text for split in (real.train, real.val, real.test) for text in split.hashes())
    parts = [real.part(share) for share in SHARES]
    judged = cache.get_or_make(
        "usefulness",
        [*about, *hashes],
        lambda: {"judged": torch.stack([_test_accuracies(part, real, device) for part in parts])},
        lambda found: list(found) == ["judged"] and found["judged"].shape == (len(SHARES), 2, len(SEEDS)),
    )
    found = judged["judged"]
    return tuple(_row("real", share, len(p), 0, one) for share, p, one in zip(SHARES, parts, found, strict=True))


def _test_accuracies(train: LabelledImages, real: UsefulnessData, device: str) -> torch.Tensor:
    """Return accuracy and balanced accuracy on the test images of a classifier per seed, float64 (2, seeds)."""
    found = []
    for seed in SEEDS:
        network = classifier.fit(train, real.val, real.classes, real.steps, seed, device)
        right = classifier.outputs(network, real.test.images).logits.argmax(dim=1) == real.test.labels
        recalls = [right[real.test.labels == number].double().mean() for number in real.test.labels.unique()]
        found.append(torch.stack([right.double().mean(), torch.stack(recalls).mean()]))
    return torch.stack(found, dim=1)


def _row(
    what: Literal["real", "generated", "both"], share: float, real: int, generated: int, judged: torch.Tensor
) -> MixtureResult:
    plain, balanced = judged.tolist()
    return MixtureResult(
        what=what,
        share=share,
        real_images=real,
        generated_images=generated,
        accuracy=fmean(plain),
        accuracies=dict(zip(SEEDS, plain, strict=True)),
        balanced_accuracy=fmean(balanced),
        balanced_accuracies=dict(zip(SEEDS, balanced, strict=True)),
    )
