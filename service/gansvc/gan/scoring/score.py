"""Score generated images: metrics of their features, with the contract that makes them comparable."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from gansvc.catalog import frechet
from gansvc.catalog.extractors import Extractor
from gansvc.catalog.metrics import KID, METRICS, Features
from gansvc.gan.data import content_hash
from gansvc.gan.scoring.metrics import measure
from gansvc.spec.job import Evaluation
from gansvc.store.scores import Contract, Score

_OWN_FIELDS = ("kid", "fid")
"""Metrics whose settings have fields of their own in a contract."""


def make_score(
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
    metrics, skipped = measure(fake, real, [METRICS[name] for name in evaluation.metrics])
    contract = Contract(
        samples=len(fake),
        reference_split=evaluation.reference,
        reference_images=len(reference),
        reference_sha256=content_hash(reference),
        kid_subset_size=KID.size(len(fake), len(real)),
        kid_subsets=KID.subsets,
        dtype="float32",
        seed=evaluation.seed,
        fid=frechet.RECIPE,
        data=dict(content or {}),
        **_made_with(evaluation.extractor, evaluation.metrics),
    )
    seconds = time.monotonic() - started
    return Score(
        label=label, seed=seed, step=step, metrics=metrics, contract=contract, skipped=skipped, seconds=seconds
    )


def _made_with(extractor: Extractor, metrics: tuple[str, ...]) -> dict[str, Any]:
    """Return the contract's fields of the extractor, of the packages that matter, and of the metrics' settings."""
    versions = extractor.versions()
    own = {
        "torch_fidelity": version("torch-fidelity"),
        "torch": version("torch"),
        "timm": versions.get("timm", "not used"),
    }
    packages = {f"packages.{name}": text for name, text in versions.items() if name.replace("-", "_") not in own}
    settings = {f"settings.{name}": METRICS[name].settings for name in metrics if name not in _OWN_FIELDS}
    return {
        "extractor": extractor.name,
        "weights_sha256": extractor.weights_hash(),
        "resize": extractor.resize,
        **own,
        "details": packages | {name: text for name, text in settings.items() if text},
    }
