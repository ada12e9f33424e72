"""The plain loop on RetinaMNIST, scored as a job scores: what jobs/retinamnist-rpgan.yaml is compared with.

    PYTHONPATH=tests python -m benchmarks.retinamnist --root FOLDER [--size 96] [--job JOB-FOLDER]

FOLDER holds retinamnist.npz. The settings are those of jobs/retinamnist.yaml in RGB: 51,200 critic images a loss, all
threads on one model, the checkpoint of ten that is best on the validation split. Writes build/retinamnist.json and
build/retinamnist.png. With the folder of a job in its storage it also prints the seconds that each of the job's runs
trained, and draws real, plain and the job's images side by side.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
from itertools import pairwise
from pathlib import Path

import safetensors.torch
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from gansvc.catalog.metrics import METRICS, Features
from gansvc.gan import data
from gansvc.gan.images import png
from gansvc.gan.modelfolder import ModelCard
from gansvc.gan.networks import build_generator
from gansvc.gan.sampling import generate
from gansvc.gan.scoring.features import extract, reference_features
from gansvc.gan.scoring.metrics import measure
from gansvc.gan.scoring.validation import Validator
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import History

from .plain import PlainLoop

JOBS = Path(__file__).parents[2] / "jobs"
BUILD = Path(__file__).parents[2] / "build"
CRITIC_IMAGES = 51_200
CHECKPOINTS = 10
SHOWN = 32


def main() -> None:
    """Train, score, print, and write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", required=True, help="folder that holds retinamnist.npz")
    parser.add_argument("--job", type=Path, help="folder of a finished job in its storage, to show beside")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=224, help="pixels that the extractor gets; 224 is its own")
    asked = parser.parse_args()
    values = {"dataset.channels": 3, "dataset.root": asked.root, "evaluation.samples": 1000}
    values |= {"evaluation.extractor.name": "efficientnet-lite0", "evaluation.extractor.size": asked.size}
    spec = jobfile.load(JOBS / "retinamnist.yaml").with_values(values)
    images = data.load(spec.dataset)
    real = reference_features(images.test, spec.evaluation.extractor)
    validator = Validator(
        spec.evaluation,
        "kid",
        reference_features(images.val, spec.evaluation.extractor),
        spec.network.latent_dim,
    )
    found: dict[str, dict[str, float]] = {}
    best: dict[str, nn.Module] = {}
    for loss in spec.losses:
        best[loss.label], found[loss.label] = _train(spec, loss.label, images.train, validator, real, asked.seed)
        print(loss.label, found[loss.label], flush=True)  # noqa: T201
    BUILD.mkdir(exist_ok=True)
    (BUILD / "retinamnist.json").write_text(json.dumps(found, indent=2) + "\n")
    winner = min(found, key=lambda label: found[label]["kid"])
    panels = {"real (test split)": images.test[:SHOWN], f"plain loop, {winner}": _sampled(spec, best[winner])}
    if asked.job:
        panels["gansvc"] = _best_of(asked.job / "model")
        for run in sorted((asked.job / "train").iterdir()):
            print(f"{run.name}: {_seconds(run):.1f} s of training, without scoring")  # noqa: T201
    _side_by_side(panels).save(BUILD / "retinamnist.png")


def _train(
    spec: JobSpec, label: str, images: Tensor, validator: Validator, real: Features, seed: int
) -> tuple[nn.Module, dict[str, float]]:
    """Return the generator that is best on the validation split, and its scores against the test split."""
    loss = spec.loss(label)
    loop = PlainLoop(spec, loss, images, seed)
    steps = CRITIC_IMAGES // (spec.training.batch_size * loss.n_critic)
    marks = {max(1, round(steps * k / CHECKPOINTS)) for k in range(1, CHECKPOINTS + 1)}
    best, validation, chosen = loop.generator, float("inf"), 0

    def score(step: int) -> None:
        nonlocal best, validation, chosen
        if step in marks:
            objective = validator(loop.generator).objective
            loop.generator.train()
            if objective < validation:
                best, validation, chosen = copy.deepcopy(loop.generator), objective, step

    loop.steps(steps, score)
    evaluation = spec.evaluation
    fake = extract(generate(best, spec.network.latent_dim, evaluation.seed, evaluation.samples), evaluation.extractor)
    scores = measure(fake, real, [METRICS[name] for name in ("kid", "fid", "precision-recall")]).metrics
    return best, scores | {"validation": validation, "step": chosen, "steps": steps, "seconds": loop.seconds}


def _sampled(spec: JobSpec, network: nn.Module) -> Tensor:
    return torch.cat(list(generate(network, spec.network.latent_dim, spec.evaluation.seed, SHOWN)))


def _seconds(run: Path) -> float:
    """Return the seconds that a run trained: its lines of history have the images per second between scores."""
    lines = Folder(run).read_lines("history.jsonl", History)
    counts = pairwise([0, *(line.critic_images for line in lines)])
    return sum((after - before) / line.images_per_second for (before, after), line in zip(counts, lines, strict=True))


def _best_of(model: Path) -> Tensor:
    card = ModelCard.model_validate(json.loads((model / "model.json").read_bytes()), strict=False)
    network = build_generator(card.network, card.channels, card.size)
    network.load_state_dict(safetensors.torch.load((model / "generator.safetensors").read_bytes()))
    return torch.cat(list(generate(network, card.network.latent_dim, 0, SHOWN)))


def _side_by_side(panels: dict[str, Tensor]) -> Image.Image:
    """Draw one titled grid of 4 rows beside the other, each pixel twice as large."""
    grids = [Image.open(io.BytesIO(png(images, columns=8))) for images in panels.values()]
    gap, title, (width, height) = 16, 24, grids[0].size
    canvas = Image.new("RGB", (len(grids) * (width + gap) - gap, height + title), "white")
    for index, (name, drawn) in enumerate(zip(panels, grids, strict=True)):
        canvas.paste(drawn, (index * (width + gap), title))
        ImageDraw.Draw(canvas).text((index * (width + gap), 4), name, fill="black", font_size=14)
    return canvas


if __name__ == "__main__":
    main()
