"""Made model folders, of a generator that nothing trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from gansvc.gan.artifact import export
from gansvc.gan.checkpoint import save_best
from gansvc.gan.networks import build_generator
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score

from .jobs import CONTRACT


def write_model(tiny: Callable[..., JobSpec], tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    """Return a model folder, and the module that it was written from."""
    spec = tiny(losses=["lsgan", "wgan-gp"])
    torch.manual_seed(3)
    network = build_generator(spec.network, 3)
    network(torch.randn(16, 8))
    weights = Folder(tmp_path / "checkpoints")
    save_best(weights, network.state_dict(), 40, 0.05)
    run = RunRecord(
        label="wgan-gp", seed=1, values={"name": "wgan-gp", "label": "wgan-gp", "critic_lr": 1e-4}, state="finished"
    )
    metrics = {"kid": 0.0312, "kid_std": 0.0021, "fid": 91.5}
    score = Score(label="wgan-gp", seed=1, step=40, metrics=metrics, contract=CONTRACT, seconds=1)
    export.export(Folder(tmp_path / "model"), "tiny-1a2b", spec, 3, run, score, weights)
    return tmp_path / "model", network.eval()
