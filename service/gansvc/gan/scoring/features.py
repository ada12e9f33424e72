"""Extract features of images: of real ones by way of the cache, of generated ones in chunks that workers share."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from itertools import zip_longest

import torch
from torch import nn

from gansvc.catalog.extractors import Extractor
from gansvc.catalog.metrics import Features
from gansvc.errors import RunError
from gansvc.gan.data import content_hash, with_channels
from gansvc.gan.images import NotFiniteError
from gansvc.gan.sampling import chunk_ranges, chunks, generate
from gansvc.gan.scoring import cache
from gansvc.gan.scoring.cache import Tensors
from gansvc.spec.job import Evaluation


@functools.cache
def load_extractor(extractor: Extractor, device: str = "cpu") -> nn.Module:
    """Return the extractor's network, loaded once a process.

    Raises:
        SpecError: its weights are missing or don't fit.
    """
    return extractor.build().to(device)


@torch.no_grad()
def extract(images: Iterable[torch.Tensor], extractor: Extractor, device: str = "cpu") -> Features:
    """Return the features of chunks of uint8 images (n, C, H, W); grey ones are repeated to three channels.

    Raises:
        RunError: the extractor gives features of another width than it says.
    """
    network, width = load_extractor(extractor, device), extractor.entry.dimensions
    rows: list[tuple[torch.Tensor, torch.Tensor]] = []
    for chunk in images:
        pool, logits = network(with_channels(chunk, 3).to(device))
        if pool.shape[1] != width:
            raise RunError(f"the extractor {extractor.name} gives {pool.shape[1]} features, and says {width}")
        rows.append((pool.float().cpu(), logits.float().cpu()))
    if not rows:
        return Features(torch.empty(0, width), torch.empty(0, 1))
    return Features(torch.cat([pool for pool, _ in rows]), torch.cat([logits for _, logits in rows]))


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
        rows = sum(len(drawn) for drawn in chunk_ranges(count, rank, world_size))
        return Features(*((part * math.nan).expand(rows, -1) for part in (blank.pool, blank.logits)))


def join(parts: Sequence[Features]) -> Features:
    """Join the features of shared work in the order of the samples: chunk k is in part k modulo their number."""
    # A part whose turn never came has no chunk at all.
    cut = [list(zip(chunks(p.pool), chunks(p.logits), strict=True)) if len(p) else [] for p in parts]
    rows = [chunk for turn in zip_longest(*cut) for chunk in turn if chunk]
    return Features(torch.cat([pool for pool, _ in rows]), torch.cat([logits for _, logits in rows]))


def reference_features(images: torch.Tensor, extractor: Extractor, device: str = "cpu") -> Features:
    """Return the features of real images, from the cache where it has them."""
    about = [extractor.name, str(extractor.resize), extractor.weights_hash(), "float32", torch.device(device).type]
    versions = [f"{package} {version}" for package, version in extractor.versions().items()]

    def make() -> dict[str, torch.Tensor]:
        made = extract(chunks(images), extractor, device)
        return {"pool": made.pool, "logits": made.logits}

    def fits(found: Tensors) -> bool:
        rows = {name: tensor.shape[:1] for name, tensor in found.items() if tensor.dtype == torch.float32}
        return rows == {"pool": (len(images),), "logits": (len(images),)}

    found = cache.get_or_make("features", [content_hash(images), *about, *versions], make, fits)
    return Features(found["pool"], found["logits"])
