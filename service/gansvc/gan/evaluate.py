"""Scoring a generator: images from (seed, index) alone, features through an extractor, metrics by torch-fidelity."""

from __future__ import annotations

import functools
import hashlib
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.distributed as dist
from torch import nn

from gansvc.catalog.extractors import Extractor
from gansvc.catalog.metrics import METRICS
from gansvc.errors import RunError
from gansvc.gan import cache, fid
from gansvc.gan.cache import Tensors
from gansvc.gan.data import content_hash, to_uint8, with_channels
from gansvc.gan.streams import Stream, generator, sample_labels, sample_latents
from gansvc.records import Contract, Score
from gansvc.spec import Evaluation

if TYPE_CHECKING:
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

CHUNK = 50
"""Images generated, and fed to the extractor, together: fixed, so that no score depends on how the work is shared."""
KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
"""torch-fidelity's defaults; a smaller set makes smaller subsets."""


@dataclass(frozen=True)
class Features:
    """An extractor's output for N images: features (N, D) and logits (N, K), float32 on the CPU."""

    pool: torch.Tensor
    logits: torch.Tensor

    def __len__(self) -> int:
        return len(self.pool)


@functools.cache
def loaded(extractor: Extractor, device: str = "cpu") -> FeatureExtractorBase:
    """Return the extractor, loaded once a process.

    Raises:
        SpecError: its weights are missing or don't fit.
    """
    return extractor.build().to(device)


@torch.no_grad()
def extract(images: Iterable[torch.Tensor], extractor: Extractor, device: str = "cpu") -> Features:
    """Return the features of chunks of uint8 images (n, C, H, W); grey ones are repeated to three channels."""
    network = loaded(extractor, device)
    rows: list[dict[str, torch.Tensor]] = []
    for chunk in images:
        found = network.convert_features_tuple_to_dict(network(with_channels(chunk, 3).to(device)))
        rows.append({name: value.float().cpu() for name, value in found.items()})
    entry = extractor.entry
    if not rows:
        return Features(torch.empty(0, entry.dimensions), torch.empty(0, 1))
    return Features(torch.cat([r[entry.features] for r in rows]), torch.cat([r[entry.logits] for r in rows]))


def chunks(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Cut images into chunks of the one size that all scores use."""
    return torch.split(images, CHUNK)


@torch.no_grad()
def generate(
    network: nn.Module, latent_dim: int, seed: int, count: int, rank: int = 0, world_size: int = 1
) -> Iterable[torch.Tensor]:
    """Yield this worker's chunks of the generated samples 0..count-1, uint8 (n, C, H, W) on the CPU.

    A conditional generator is asked for classes as often as they occur in its train split.
    """
    network.eval()
    device, shares = next(network.parameters()).device, getattr(network, "shares", None)
    for first in range(rank * CHUNK, count, world_size * CHUNK):
        stop = min(first + CHUNK, count)
        inputs = [sample_latents(seed, first, stop, latent_dim)]
        inputs += [] if shares is None else [sample_labels(seed, first, stop, shares)]
        yield to_uint8(network(*(part.to(device) for part in inputs))).cpu()


def joined(parts: Sequence[Features]) -> Features:
    """Join the features of shared work in the order of the samples: chunk k is in part k modulo their number."""
    # A part whose turn never came has no chunk at all.
    cut = [list(zip(p.pool.split(CHUNK), p.logits.split(CHUNK), strict=True)) if len(p) else [] for p in parts]
    rows = [chunk for turn in zip_longest(*cut) for chunk in turn if chunk]
    return Features(torch.cat([pool for pool, _ in rows]), torch.cat([logits for _, logits in rows]))


def reference_features(images: torch.Tensor, extractor: Extractor, device: str = "cpu") -> Features:
    """Return the features of real images, from the cache where it has them."""
    versions = [f"{package} {version(package)}" for package in extractor.entry.packages]
    key = [content_hash(images), extractor.name, str(extractor.size), weights_hash(extractor), "float32", *versions]

    def make() -> dict[str, torch.Tensor]:
        made = extract(chunks(images), extractor, device)
        return {"pool": made.pool, "logits": made.logits}

    def fits(found: Tensors) -> bool:
        rows = {name: tensor.shape[:1] for name, tensor in found.items() if tensor.dtype == torch.float32}
        return rows == {"pool": (len(images),), "logits": (len(images),)}

    found = cache.kept("features", key, make, fits)
    return Features(found["pool"], found["logits"])


@functools.cache
def weights_hash(extractor: Extractor) -> str:
    """Return the SHA-256 of the extractor's weights file, as 64 hex digits."""
    return hashlib.sha256(extractor.at_hand().read_bytes()).hexdigest()


def subset(count: int, size: int, seed: int) -> torch.Tensor:
    """Return the indices of a fixed random subset, in rising order; all of them where size isn't smaller."""
    return torch.randperm(count, generator=generator(seed, Stream.SUBSET))[:size].sort().values


class Validation(NamedTuple):
    """What a Validator says of a generator."""

    objective: float
    diversity: float
    """Spread of the samples' features as a share of the real images': 0 where all samples are one image."""


def spread(features: torch.Tensor) -> float:
    """Return the root of the total variance of features (N, D), N at least 2."""
    return math.sqrt(features.double().var(dim=0).sum().item())


@dataclass(frozen=True)
class Validator:
    """Scores a generator on its way against the validation features; lower is better.

    KID is the unbiased estimate over all images at once, FID the usual one.
    """

    evaluation: Evaluation
    objective: str
    reference: Features
    latent_dim: int

    def __call__(self, network: nn.Module, rank: int = 0, world_size: int = 1) -> Validation:
        """Return the same score on every worker; the workers share the generating and the extracting."""
        device = str(next(network.parameters()).device)
        images = generate(network, self.latent_dim, self.evaluation.seed, len(self.reference), rank, world_size)
        mine = extract(images, self.evaluation.extractor, device)
        fake = mine if world_size == 1 else _gathered(mine, world_size)
        return Validation(self.measured(fake), spread(fake.pool) / spread(self.reference.pool))

    def measured(self, fake: Features) -> float:
        """Return the score of features, those of real images too: so the noise floor of validation is measured."""
        size = min(len(fake), len(self.reference))
        return measure(fake, self.reference, (self.objective,), kid_subsets=1, kid_subset_size=size)[self.objective]


def score(
    label: str,
    seed: int,
    step: int,
    fake: Features,
    reference: torch.Tensor,
    real: Features,
    evaluation: Evaluation,
    content: Mapping[str, str] | None = None,
) -> Score:
    """Return the metrics of generated features against a reference split, with the contract that they hold under.

    Args:
        label: label of the loss.
        seed: seed of the run.
        step: generator step of the scored checkpoint.
        fake: features of the scored images.
        reference: the reference images, uint8.
        real: their features.
        evaluation: what the spec asks for.
        content: hashes of the data set, see ``Images.content``.
    """
    started = time.monotonic()
    extractor = evaluation.extractor
    size = min(KID_SUBSET_SIZE, len(fake), len(real))
    metrics = measure(fake, real, evaluation.metrics, KID_SUBSETS, size)
    skipped = {}
    if "fid" in evaluation.metrics:
        if reason := fid.too_few(len(fake), extractor.entry.dimensions):
            skipped["fid_inf"] = reason
        else:
            metrics["fid_inf"] = fid.at_infinity(fake.pool, real.pool)
    contract = Contract(
        extractor=extractor.name,
        weights_sha256=weights_hash(extractor),
        resize=extractor.size or extractor.entry.size,
        samples=len(fake),
        reference_split=evaluation.reference,
        reference_images=len(reference),
        reference_sha256=content_hash(reference),
        kid_subset_size=size,
        kid_subsets=KID_SUBSETS,
        dtype="float32",
        seed=evaluation.seed,
        torch_fidelity=version("torch-fidelity"),
        torch=version("torch"),
        timm=version("timm") if "timm" in extractor.entry.packages else "not used",
        fid=fid.RECIPE,
        data=dict(content or {}),
    )
    seconds = time.monotonic() - started
    return Score(
        label=label, seed=seed, step=step, metrics=metrics, contract=contract, skipped=skipped, seconds=seconds
    )


def measure(
    fake: Features, real: Features, metrics: tuple[str, ...], kid_subsets: int, kid_subset_size: int
) -> dict[str, float]:
    """Return our columns of the asked metrics, computed by torch-fidelity's own functions on features, but for FID.

    Raises:
        RunError: a metric that was asked for didn't come back.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    found: dict[str, float] = {}
    if "is" in metrics:
        found |= isc_features_to_metric(fake.logits)
    if "fid" in metrics:
        found[KEY_METRIC_FID] = fid.distance(fake.pool, real.pool)
    if "kid" in metrics:
        sizes = {"kid_subsets": kid_subsets, "kid_subset_size": kid_subset_size}
        found |= kid_features_to_metric(fake.pool, real.pool, verbose=False, **sizes)
    if "precision-recall" in metrics:
        # torch-fidelity takes the generated features first; swapped, precision would be recall.
        found |= prc_features_to_metric(fake.pool, real.pool, verbose=False)
    columns = [column for name in metrics for column in METRICS[name].columns]
    if absent := [key for _, key in columns if key not in found]:
        raise RunError(f"torch-fidelity gave no {', '.join(absent)}; its version may have renamed them")
    return {ours: float(found[theirs]) for ours, theirs in columns}


def _gathered(mine: Features, world_size: int) -> Features:
    """Return the features of all workers' chunks, on every worker."""
    parts = [mine] * world_size
    dist.all_gather_object(parts, mine)
    return joined(parts)
