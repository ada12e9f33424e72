"""Write the model folder: the generator in three forms, its card for programs and for people, a grid."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version

import safetensors.torch
import torch

from gansvc.gan import checkpoint
from gansvc.gan.artifact import portable
from gansvc.gan.artifact.card import readme
from gansvc.gan.images import png
from gansvc.gan.modelfolder import ModelCard
from gansvc.gan.sampling import generate
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score


def export(
    target: Folder,
    job: str,
    spec: JobSpec,
    channels: int,
    run: RunRecord,
    score: Score,
    weights: Folder,
    classes: tuple[str, ...] = (),
) -> dict[str, str]:
    """Write the model folder of one run's best checkpoint; return the reason by the name of each form that failed.

    The forms that need no gansvc come last: the model itself is there without them.

    Args:
        target: the model folder.
        job: the job's id.
        spec: the job's spec.
        channels: channels of the images, 1 or 3.
        run: how the run ended.
        score: its final score.
        weights: the run's checkpoints folder.
        classes: names of the data set's classes; a conditional generator needs them.
    """
    state = checkpoint.load_best(weights)
    weights_file = safetensors.torch.save(state)
    card = ModelCard(
        network=spec.network,
        channels=channels,
        size=spec.dataset.size,
        job=job,
        dataset=spec.dataset.model_dump(mode="json", exclude_none=True),
        licence=spec.dataset.entry.licence,
        loss=run.values,
        seed=run.seed,
        step=score.step,
        score=score,
        source=spec.dataset.entry.source,
        spec=spec.model_dump(mode="json", exclude_none=True),
        weights_sha256=hashlib.sha256(weights_file).hexdigest(),
        gansvc=version("gansvc"),
        torch=torch.__version__,
        created=datetime.now(UTC),
        classes=classes if spec.network.conditional else (),
        shares=tuple(state["shares"].tolist()) if spec.network.conditional else (),
    )
    network = card.generator(state)
    target.write(layout.GENERATOR, weights_file)
    target.write_record(layout.MODEL_CARD, card)
    target.write(layout.MODEL_SAMPLES, png(torch.cat(list(generate(network, spec.network.latent_dim, 0, 64)))))
    inputs = {"z": torch.zeros(2, spec.network.latent_dim)}
    inputs |= {"labels": torch.zeros(2, dtype=torch.int64)} if card.classes else {}
    forms, failed = portable.forms(network, inputs)
    for name in portable.NAMES:
        # What an earlier export left is of other weights.
        target.write(name, forms[name]) if name in forms else target.delete(name)
    target.write(layout.MODEL_README, readme(card, tuple(forms)))
    return failed
