"""A small classifier of a data set's own classes, trained on its train split and cached by content.

It looks at generated images as someone who knows the classes would: which does it see, how sure is it, and how far are
its features from those of real images.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from gansvc.catalog.metrics import METRICS, Features
from gansvc.gan.data import Images, content_hash, to_float
from gansvc.gan.scoring import cache
from gansvc.gan.scoring.metrics import measure
from gansvc.gan.streams import Order
from gansvc.store.audits import Classes

BUDGET = 20_000
"""Images that the training sees, or each training image once where there are more."""
BATCH = 64
RECIPE = "2"
"""Part of the cache's key: change it with the network or the training."""
_WIDTH, _CHECKS, _SEED = 16, 10, 0


@dataclass(frozen=True)
class LabelledImages:
    """Images and their classes."""

    images: torch.Tensor
    """uint8 (N, C, H, W)."""
    labels: torch.Tensor
    """int64 (N,), numbered from 0."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: torch.Tensor) -> LabelledImages:
        return LabelledImages(self.images[index], self.labels[index])

    def to(self, device: str) -> LabelledImages:
        """Return the same on a device."""
        return LabelledImages(self.images.to(device), self.labels.to(device))

    def hashes(self) -> tuple[str, str]:
        """Return the hashes of the images' and of the labels' content."""
        return content_hash(self.images), hashlib.sha256(self.labels.cpu().numpy().tobytes()).hexdigest()


class Classifier(nn.Module):
    """Three convolutions and a linear layer: uint8 images (N, C, H, W) to features (N, 64) and logits (N, classes)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        widths = (channels, _WIDTH, 2 * _WIDTH, 4 * _WIDTH)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        # The last one pools over all that is left of the image.
        self.body = nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features and logits."""
        features = self.body(to_float(images))
        return features, self.head(features)


def train_or_load(images: Images, device: str = "cpu") -> Classifier:
    """Return the classifier of a data set with labels, on the CPU; trained, if this machine's cache doesn't have it."""
    train, val = labelled_split(images, "train"), labelled_split(images, "val")
    network = _initialise(images.channels, images.classes, _SEED)
    shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
    made_by = (RECIPE, f"torch {torch.__version__}", torch.device(device).type)
    key = [*made_by, str(images.classes), *train.hashes(), *val.hashes()]
    weights = cache.get_or_make(
        "classifiers",
        key,
        lambda: fit(train, val, images.classes, steps(len(train)), _SEED, device).cpu().state_dict(),
        lambda found: {name: (tensor.shape, tensor.dtype) for name, tensor in found.items()} == shapes,
    )
    network.load_state_dict(weights)
    return network.eval()


def labelled_split(images: Images, split: str) -> LabelledImages:
    """Return a split of a data set with labels."""
    return LabelledImages(images.split(split), images.labels[split])


def steps(count: int) -> int:
    """Return the optimiser steps of a training on so many images."""
    return max(_CHECKS, max(BUDGET, count) // BATCH)


def fit(
    train: LabelledImages, val: LabelledImages, classes: int, steps: int, seed: int = _SEED, device: str = "cpu"
) -> Classifier:
    """Return a classifier that is trained on some images, in evaluation mode on the device.

    Plain cross-entropy by AdamW from a seed, without augmentation; of ten moments of the training, the one with the
    lowest loss on the validation images is kept.

    Args:
        train: what it learns from.
        val: what chooses the moment.
        classes: how many classes there are.
        steps: optimiser steps, at least 10, on batches of 64.
        seed: seed of its first weights and of the order of the images.
        device: where to train.
    """
    # Channels last is the layout that convolutions are fastest in: a third less time on a CPU.
    network = _initialise(train.images.shape[1], classes, seed).to(device).to(memory_format=torch.channels_last)
    data, order = train.to(device), Order(seed, len(train), BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2, fused=True)
    best, least = network, torch.inf
    for step in range(1, steps + 1):
        batch = data[order.batch(step - 1).to(device)]
        network.train()
        optimizer.zero_grad()
        functional.cross_entropy(network(batch.images)[1], batch.labels).backward()
        optimizer.step()
        if step * _CHECKS // steps > (step - 1) * _CHECKS // steps:
            loss = functional.cross_entropy(outputs(network, val.images).logits, val.labels).item()
            if loss < least:
                best, least = copy.deepcopy(network), loss
    return best.to(memory_format=torch.contiguous_format).eval()


def _initialise(channels: int, classes: int, seed: int) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(channels, classes)


@torch.no_grad()
def outputs(network: Classifier, images: torch.Tensor) -> Features:
    """Return the classifier's features (N, 64) and logits (N, classes) of uint8 images, on the CPU."""
    network.eval()
    device = next(network.parameters()).device
    rows = [network(part.to(device)) for part in images.split(500)]
    return Features(torch.cat([pool for pool, _ in rows]).cpu(), torch.cat([logits for _, logits in rows]).cpu())


def compare_classes(found: Features, heldout: Features, images: Images, truth: torch.Tensor) -> Classes:
    """Return what the classifier sees in some images, against held-out real ones.

    The histogram of generated images is compared with the one that the classifier gives of held-out images, rather
    than with their labels: so its own mistakes stand on both sides.

    Args:
        found: the classifier's outputs for the images.
        heldout: its outputs for the held-out images.
        images: the data set.
        truth: labels of the held-out images (N,).
    """
    count = images.classes
    metrics, skipped = measure(found, heldout, [METRICS[name] for name in ("is", "kid")])
    seen, real = _shares(found.logits.argmax(dim=1), count), _shares(heldout.logits.argmax(dim=1), count)
    return Classes(
        images=len(found),
        accuracy=(heldout.logits.argmax(dim=1) == truth).double().mean().item(),
        majority=_shares(truth, count).max().item(),
        train=tuple(_shares(images.labels["train"], count).tolist()),
        heldout=tuple(real.tolist()),
        seen=tuple(seen.tolist()),
        distance=(seen - real).abs().sum().item() / 2,
        metrics=metrics,
        skipped=skipped,
    )


def _shares(labels: torch.Tensor, count: int) -> torch.Tensor:
    return torch.bincount(labels, minlength=count).double() / len(labels)
