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
from typing import TYPE_CHECKING

import torch
from torch import nn

from gansvc.catalog.extractors import Extractor
from gansvc.gan.data import content_hash, with_channels
from gansvc.gan.images import NotFiniteError, pictures
from gansvc.gan.scoring import cache, fid
from gansvc.gan.scoring.cache import Tensors
from gansvc.gan.scoring.metrics import measures
from gansvc.gan.streams import Stream, generator, sample_labels, sample_latents
from gansvc.spec.job import Evaluation
from gansvc.store.scores import Contract, Score

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

    Raises:
        NotFiniteError: an image isn't finite.
    """
    network.eval()
    device, shares = next(network.parameters()).device, getattr(network, "shares", None)
    for drawn in _chunks(count, rank, world_size):
        inputs = [sample_latents(seed, drawn.start, drawn.stop, latent_dim)]
        inputs += [] if shares is None else [sample_labels(seed, drawn.start, drawn.stop, shares)]
        yield pictures(network(*(part.to(device) for part in inputs)))


def _chunks(count: int, rank: int, world_size: int) -> list[range]:
    """Return this worker's chunks of the samples 0..count-1."""
    return [range(first, min(first + CHUNK, count)) for first in range(rank * CHUNK, count, world_size * CHUNK)]


def extract_samples(
    network: nn.Module, latent_dim: int, evaluation: Evaluation, count: int, rank: int = 0, world_size: int = 1
) -> Features:
    """Return the features of this worker's chunks of the samples 0..count-1; all NaN where one holds no numbers.

    So workers that share the samples all come to their end.
    """
    device = str(next(network.parameters()).device)
    try:
        images = generate(network, latent_dim, evaluation.seed, count, rank, world_size)
        return extract(images, evaluation.extractor, device)
    except NotFiniteError:
        blank = extract([torch.zeros(1, 3, 28, 28, dtype=torch.uint8)], evaluation.extractor, device)
        rows = sum(len(drawn) for drawn in _chunks(count, rank, world_size))
        return Features(*((part * math.nan).expand(rows, -1) for part in (blank.pool, blank.logits)))


def joined(parts: Sequence[Features]) -> Features:
    """Join the features of shared work in the order of the samples: chunk k is in part k modulo their number."""
    # A part whose turn never came has no chunk at all.
    cut = [list(zip(p.pool.split(CHUNK), p.logits.split(CHUNK), strict=True)) if len(p) else [] for p in parts]
    rows = [chunk for turn in zip_longest(*cut) for chunk in turn if chunk]
    return Features(torch.cat([pool for pool, _ in rows]), torch.cat([logits for _, logits in rows]))


def reference_features(images: torch.Tensor, extractor: Extractor, device: str = "cpu") -> Features:
    """Return the features of real images, from the cache where it has them."""
    about = [extractor.name, str(extractor.size), weights_hash(extractor), "float32", torch.device(device).type]
    versions = [f"{package} {version(package)}" for package in extractor.entry.packages]
    key = [content_hash(images), *about, *versions]

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
    metrics, skipped = measures(fake, real, evaluation.metrics, KID_SUBSETS, size)
    if "fid" in metrics:
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
