"""Records of the audits of scored runs: plain models, no torch, no Ray."""

from __future__ import annotations

from typing import Literal

from gansvc.schema.bounded import BySeed, Count, Few, Text
from gansvc.store.measured import Measured
from gansvc.store.records import Record

QUANTILE = 0.05
"""What counts as close: as only this share of real images are. Without copying, that is the share to expect."""
CLOSER_LIMIT = 2 * QUANTILE
"""What that share must surpass to be a sign of copying: related images make intervals a little too narrow."""
TENDENCY_LIMIT = 0.6
"""What the chance must surpass that, without copying, is 0.5; for the same reason."""


class Estimate(Record):
    """A number with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Pair(Record):
    """A generated image, its nearest training image and its nearest held-out image."""

    generated: Count
    """Index of the generated sample."""
    train: Count
    """Index among the training images that were searched."""
    heldout: Count
    """Index among the held-out images that were searched."""
    to_train: float
    """Distance of the generated image to that training image, in the extractor's feature space."""
    to_heldout: float


class Memorisation(Record):
    """How near generated images come to the training images; gan/scoring/memorisation.py has the definitions."""

    images: Count
    """Generated images."""
    train_images: Count
    """Training images that were searched."""
    heldout_images: Count
    """Held-out images that were searched; those that also stand in train are not among them."""
    fresh_images: Count
    """Fresh images that were used; those that also stand in train or among the held-out ones are not among them."""
    heldout_in_train: Count = 0
    """Held-out images of the whole split that were left out, as they also stand in train."""
    fresh_in_train: Count = 0
    """Fresh images of the whole split that were left out, as they also stand in train."""
    fresh_in_heldout: Count = 0
    """Fresh images that were left out, as they also stand in the held-out split, and not in train."""
    to_train: float
    """Median distance of a generated image to its nearest training image, in the extractor's feature space."""
    to_heldout: float | None
    """Median distance to its nearest held-out image; None, like all that needs them, where no such image is left."""
    heldout_to_train: float | None
    """Median distance of a held-out image to its nearest training image."""
    near: Estimate | None
    """Share of generated images nearer to a training image than 95 % of held-out images are."""
    closer: Estimate | None
    """Share of generated images nearer to train, relative to held-out images, than 95 % of fresh real images are."""
    tendency: Estimate | None
    """Chance that a generated image is nearer to train, relative to held-out, than a fresh real one: 0.5 if alike."""
    authenticity: Estimate
    """AuthPct, 0 to 100: percentage of authentic images."""
    heldout_authenticity: Estimate | None
    """AuthPct of held-out images in place of generated ones."""
    flagged: bool | None
    """Whether there are signs of copying; None where there are too few real images to tell."""
    pairs: Few[Pair]
    """The closest pairs, the smallest to_train / to_heldout first."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """Which real images were left out and why, in words."""
        found = (
            ("test", "train", self.heldout_in_train),
            ("val", "train", self.fresh_in_train),
            ("val", "test", self.fresh_in_heldout),
        )
        return tuple(
            f"{count:,} {split} image{'s' * (count > 1)} left out for standing in {other}, too"
            for split, other, count in found
            if count
        )


class Classes(Record, Measured):
    """What a small classifier of the data set's own classes sees in images; gan/scoring/classifier.py trains it.

    Its metrics are is, is_std, kid and kid_std of its logits and features, against the held-out images.
    """

    images: Count
    """Images that it looked at."""
    accuracy: float
    """Share of the held-out real images that it classifies rightly."""
    majority: float
    """Share of the largest class among them: what always guessing it gets right."""
    train: Few[float]
    """Share of each class among the labels of the train split."""
    heldout: Few[float]
    """Share of each class that it sees in the held-out images."""
    seen: Few[float]
    """Share of each class that it sees in these images."""
    distance: float
    """Total variation distance between the last two: 0 where they are equal, 1 where they share no class."""


class Audit(Record):
    """What one scored checkpoint was looked at for beyond its scores (evaluation/<label>-seed<k>.audit.json)."""

    label: Text
    """Label of the loss, or ``real`` for fresh real images: those of the validation split."""
    seed: Count
    step: Count
    """Generator step of the checkpoint."""
    extractor: Text
    """Whose feature space the distances are in."""
    memorisation: Memorisation | None = None
    """None for real images."""
    classes: Classes | None = None
    """None where the data set has no classes."""
    failed: Text = ""
    """Why there is neither, where the audit failed."""


class MixtureResult(Record):
    """How well classifiers judge real test images after learning from one mixture of training images."""

    what: Literal["real", "generated", "both"]
    share: float
    """Share of the real training images among what they learned from, 0 to 1; 0 for generated images alone."""
    real_images: Count
    generated_images: Count
    accuracy: float
    """Share of the test images that they classify rightly, 0 to 1; the mean over seeds."""
    accuracies: BySeed[float]
    """Seed of the classifier to its accuracy."""
    balanced_accuracy: float
    """The mean over the classes of the share of their test images that are classified rightly; the mean over seeds."""
    balanced_accuracies: BySeed[float]


class ClassifierProtocol(Record):
    """What all classifiers of a data set have in common; gan/scoring/usefulness.py has the protocol."""

    classes: Count
    """Classes of the data set."""
    majority: float
    """Share of the largest class among the test images: what always guessing it gets right."""
    train_images: Count
    """Real training images that are used at most: share 1."""
    of: Count
    """Real training images that there are."""
    val_images: Count
    """Validation images that chose each classifier's best moment."""
    test_images: Count
    steps: Count
    """Optimiser steps of each classifier."""
    batch_size: Count


class Usefulness(Record):
    """What classifiers learn from a generator's images (evaluation/<label>-seed<k>.usefulness.json)."""

    label: Text
    """Label of the loss."""
    seed: Count
    """Seed of the run."""
    step: Count
    """Generator step of the checkpoint."""
    exam: ClassifierProtocol | None = None
    """None where the measure failed."""
    rows: Few[MixtureResult] = ()
    failed: Text = ""
    """Why there are no rows, where the measure failed."""
    seconds: float = 0.0
    """Process-seconds; those of real images alone are in it only where they weren't cached."""
