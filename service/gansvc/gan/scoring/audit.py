"""Audit of a scored checkpoint: copies of training images, classes, and the picture of the closest pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gansvc.catalog.datasets import SPLITS, Split
from gansvc.catalog.duplicates import digests
from gansvc.catalog.metrics import Features
from gansvc.gan.data import Images
from gansvc.gan.images import png
from gansvc.gan.sampling import subset
from gansvc.gan.scoring import classifier, memorisation
from gansvc.gan.scoring.classifier import Classifier
from gansvc.gan.scoring.features import reference_features
from gansvc.gan.scoring.memorisation import LeftOut, NeighbourStatistics
from gansvc.spec.job import Evaluation
from gansvc.store.audits import Audit, Memorisation
from gansvc.store.scores import Score

MAX_AUDITED = 2000
"""Generated images that are audited, of those that were scored: enough for shares to within two percent points."""

MIN_SEARCHED = 3000
"""Training and held-out images that are searched at least, however few are scored: what isn't searched isn't found."""


@dataclass(frozen=True)
class RealReference:
    """The real images that generated ones are held against, and what is known of them; made once a job."""

    train: torch.Tensor
    """The training images that are searched, uint8."""
    heldout: torch.Tensor
    """The images of the test split that are searched; none of them stands in train."""
    neighbours: NeighbourStatistics
    classifier: Classifier | None
    """On the CPU; None where the data set has no classes."""
    seen: Features | None
    """The classifier's outputs for all held-out images."""


def real_reference(images: Images, reference: Features, evaluation: Evaluation, device: str = "cpu") -> RealReference:
    """Return what all audits of a job share.

    As many images of a split are searched as are scored, but 3,000 or all there are where that is more. Their features
    are mostly those that the scores, the noise floor and the validation need as well: then the cache has them. Left out
    are held-out images that also stand in train, and fresh ones that also stand in train or in the held-out split.

    Args:
        images: the data set.
        reference: features of the whole reference split.
        evaluation: what the spec asks for.
        device: where to extract.
    """

    own, left_out = _own(images)

    def of(name: Split, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        split, usable = images.split(name), own[name]
        index = usable[subset(len(usable), count, evaluation.seed)]
        if name == evaluation.reference or not len(index):
            return split[index], reference.pool[index]
        return split[index], reference_features(split[index], evaluation.extractor, device).pool

    count = max(MIN_SEARCHED, evaluation.samples)
    (train, train_features), (heldout, heldout_features) = of("train", count), of("test", count)
    _, fresh_features = of("val", evaluation.validation_samples)
    network = classifier.train_or_load(images, device) if images.classes else None
    return RealReference(
        train,
        heldout,
        memorisation.neighbour_statistics(train_features, heldout_features, fresh_features, left_out),
        network,
        classifier.outputs(network, images.test) if network else None,
    )


def _own(images: Images) -> tuple[dict[Split, torch.Tensor], LeftOut]:
    """Return the indices of each split's images that stand for it alone, and how many do not."""
    train, val, test = (digests(images.split(name).numpy()) for name in SPLITS)
    in_train, in_test = set(train), set(test)
    own: dict[Split, list[bool]] = {
        "train": [True] * len(train),
        "val": [digest not in in_train and digest not in in_test for digest in val],
        "test": [digest not in in_train for digest in test],
    }
    copied = sum(digest in in_train for digest in val)
    left_out = LeftOut(own["test"].count(False), copied, own["val"].count(False) - copied)
    return {name: torch.tensor(alone).nonzero().squeeze(1) for name, alone in own.items()}, left_out


def make_audit(
    score: Score, features: Features | None, shown: torch.Tensor, images: Images, real: RealReference
) -> Audit:
    """Return the audit of the images that a score is of.

    Args:
        score: the score.
        features: the extractor's features of the images; None for real ones, which can't be copies.
        shown: the audited images themselves, uint8.
        images: the data set.
        real: what its images are like.
    """
    memory, seen = None, None
    if features is not None:
        memory = memorisation.estimate(features.pool[: len(shown)], real.neighbours, score.contract.seed)
    if real.classifier is not None and real.seen is not None:
        found = classifier.outputs(real.classifier, shown)
        seen = classifier.compare_classes(found, real.seen, images, images.labels["test"])
    about = {"label": score.label, "seed": score.seed, "step": score.step, "extractor": score.contract.extractor}
    return Audit(memorisation=memory, classes=seen, **about)


def draw_pairs(found: Memorisation, generated: torch.Tensor, real: RealReference) -> bytes:
    """Return the closest pairs as a PNG of three rows: generated, nearest training image, nearest held-out image.

    Args:
        found: the audit's findings, which name the pairs.
        generated: the audited images, uint8 (N, C, H, W).
        real: the real images.
    """
    rows = (
        generated[[pair.generated for pair in found.pairs]],
        real.train[[pair.train for pair in found.pairs]],
        real.heldout[[pair.heldout for pair in found.pairs]],
    )
    return png(torch.cat(rows), columns=len(found.pairs))
