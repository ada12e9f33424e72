"""A model folder's files and a checkpoint's identity, as they are before the cases damage them."""

from __future__ import annotations

from typing import Any

import safetensors.torch

from gansvc.gan.networks import build_generator
from gansvc.spec import jobfile

IDENTITY: dict[str, object] = {"spec": "one", "seed": 0}
SPEC = jobfile.parse("{name: a, dataset: histology, network: {name: dcgan, width: 4, latent_dim: 4}, losses: [lsgan]}")
WEIGHTS = safetensors.torch.save(build_generator(SPEC.network, 3, 28).state_dict(), {"step": "1"})
CARD = {
    "network": SPEC.network.model_dump(mode="json"),
    "channels": 3,
    "job": "a-1",
    "dataset": {"name": "histology"},
    "licence": "CC0",
    "loss": {"name": "lsgan"},
    "seed": 0,
    "step": 1,
    "score": None,
}


def began_anew(found: tuple[int, dict[str, Any], list[str]] | None) -> bool:
    """Return whether the only checkpoint was passed over, and that is told."""
    return found is not None and found[:2] == (0, {}) and "none before it is whole" in "".join(found[2])
