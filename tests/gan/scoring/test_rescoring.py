"""A model folder scored again: the job's own number, another data set, and what doesn't compare."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich.console
import safetensors.torch
import torch

from gansvc import api
from gansvc.catalog.datasets import SPLITS
from gansvc.cli import app, scoretables
from gansvc.cluster.evaluation import Evaluator
from gansvc.errors import RunError, SpecError
from gansvc.gan import checkpoint, data
from gansvc.gan.artifact import export
from gansvc.gan.networks import build_generator
from gansvc.spec import jobfile
from gansvc.spec.capacity import WorkerResources
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score

JOB = """
name: tiny
dataset: histology
network: {name: dcgan, width: 4, latent_dim: 8}
losses: [wgan]
evaluation: {extractor: {name: efficientnet-lite0, size: 32}, samples: 70, seed: 4}
"""


def labelled(path: Path) -> Path:
    """Write a set of two classes, one three times as frequent and brighter."""
    draws = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        labels = np.arange(60) % 4 // 3
        noise = draws.integers(0, 100, (60, 28, 28))
        arrays |= {f"{split}_images": (noise + 150 * labels[:, None, None]).astype(np.uint8), f"{split}_labels": labels}
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Score]:
    """Return the model folder of a job's run, and the score that an evaluator of the job gave it."""
    torch.set_num_threads(1)
    return scored(jobfile.parse(JOB), tmp_path_factory)


def scored(spec: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Score]:
    folder, images = Folder(tmp_path_factory.mktemp("job") / "tiny-1"), data.load(spec.dataset)
    torch.manual_seed(0)
    weights = folder / "train" / "wgan-seed3" / "checkpoints"
    shares = data.class_shares(images.labels["train"]) if images.classes else None
    checkpoint.save_best(weights, build_generator(spec.network, images.channels, 28, shares).state_dict(), 7, 0.5)
    values = spec.loss("wgan").model_dump(mode="json")
    run = RunRecord(label="wgan", seed=3, values=values, state="finished", best_step=7)

    patch = pytest.MonkeyPatch()
    patch.setenv("GANSVC_CACHE", str(tmp_path_factory.mktemp("cache")))
    evaluator = Evaluator(spec, images, folder / "train", folder / "evaluation", WorkerResources(1, 0))
    # Two evaluators shared this run's samples.
    parts = [evaluator.extract(run, part, 2) for part in range(2)]
    evaluator.score(run, evaluator.prepare(), *parts)
    patch.undo()
    score = (folder / "evaluation").read_record("wgan-seed3.json", Score)
    assert score is not None
    names = images.titles
    export.export(folder / "model", "tiny-1", spec, images.channels, run, score, weights, names)
    return Path((folder / "model").uri), score


def test_a_model_gets_the_jobs_number_again(job: tuple[Path, Score]) -> None:
    model, score = job
    found = api.evaluate(model)
    assert found.differences == () and found.card == score and found.dataset == "histology"
    assert (found.score.label, found.score.seed, found.score.step) == ("wgan", 3, 7)
    assert found.score.metrics == pytest.approx(score.metrics, rel=1e-9)
    assert found.score.skipped == score.skipped != {}


def test_a_conditional_model_gets_the_jobs_number_again_and_can_be_scored_against_a_set_without_classes(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = labelled(tmp_path / "two.npz")
    values = {"dataset": {"name": "npz", "path": str(path)}, "network.conditional": True, "evaluation.audit": False}
    model, score = scored(jobfile.parse(JOB).with_values(values), tmp_path_factory)
    found = api.evaluate(model)
    assert found.differences == () and found.score.metrics == pytest.approx(score.metrics, rel=1e-9)
    other = api.evaluate(model, "histology", {"evaluation.metrics": ["kid"]})
    assert "reference_sha256" in other.differences and other.score.metrics["kid"] > 0


def test_naming_the_same_data_set_changes_nothing_and_other_samples_do(job: tuple[Path, Score]) -> None:
    model, score = job
    named = api.evaluate(model, "histology", {"evaluation.metrics": ["kid"]})
    assert named.differences == () and named.score.metrics["kid"] == pytest.approx(score.metrics["kid"], rel=1e-9)
    assert set(named.score.metrics) == {"kid", "kid_std"}
    fewer = api.evaluate(model, None, {"evaluation.metrics": ["kid"], "evaluation.samples": 50})
    assert fewer.differences == ("samples", "kid_subset_size")
    assert fewer.score.metrics["kid"] != pytest.approx(score.metrics["kid"], rel=1e-3)


def test_another_data_set_is_read_as_the_model_makes_images_and_does_not_compare(
    job: tuple[Path, Score], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "grey.npz", **{f"{split}_images": noise for split in ("train", "val", "test")})  # type: ignore[arg-type]
    found = api.evaluate(job[0], {"name": "npz", "path": str(tmp_path / "grey.npz")}, {"evaluation.metrics": ["kid"]})
    assert set(found.differences) == {
        *("reference_images", "reference_sha256", "kid_subset_size"),
        *(f"data.{split}_images" for split in ("train", "val", "test")),
    }
    assert found.score.contract.reference_sha256 == data.content_hash(
        torch.from_numpy(noise)[:, None].expand(-1, 3, -1, -1)
    )
    assert found.score.metrics["kid"] != pytest.approx(job[1].metrics["kid"], rel=0.1)


@pytest.mark.parametrize(
    ("dataset", "values", "expected"),
    [
        ("retinamnits", {}, "did you mean 'retinamnist'"),
        (5, {}, "dataset: 5 "),
        (None, {"evaluation.samples": 3}, "evaluation.samples: 3 "),
        (None, {"evaluation.extractor.weights": "nowhere.pth"}, "nowhere.pth"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    job: tuple[Path, Score], dataset: object, values: dict[str, object], expected: str
) -> None:
    with pytest.raises(SpecError, match=expected):
        api.evaluate(job[0], dataset, values)


def test_a_card_without_a_score_is_scored_as_usual(job: tuple[Path, Score], tmp_path: Path) -> None:
    for path in job[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    card = json.loads((tmp_path / "model.json").read_text()) | {"score": None}
    (tmp_path / "model.json").write_text(json.dumps(card))
    values = {"evaluation.extractor": {"name": "efficientnet-lite0", "size": 32}, "evaluation.samples": 50}
    found = api.evaluate(tmp_path, None, values | {"evaluation.metrics": ["kid"]})
    assert found.card is None and found.differences == () and found.score.contract.samples == 50


@pytest.mark.parametrize(
    ("variance", "raised", "expected"),
    [(torch.nan, SpecError, "holds weights that aren't numbers"), (-1.0, RunError, "makes images that aren't numbers")],
)
def test_a_model_that_makes_no_numbers_has_no_score_and_no_picture(
    variance: float, raised: type[Exception], expected: str, job: tuple[Path, Score], tmp_path: Path
) -> None:
    for path in job[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    state = safetensors.torch.load((job[0] / "generator.safetensors").read_bytes())
    name = next(name for name in state if name.endswith("running_var"))
    weights = safetensors.torch.save(state | {name: torch.full_like(state[name], variance)})
    (tmp_path / "generator.safetensors").write_bytes(weights)
    card = json.loads((tmp_path / "model.json").read_text()) | {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(raised, match=expected):
        api.evaluate(tmp_path)
    with pytest.raises(raised, match=expected):
        api.sample(tmp_path, 4, tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_what_the_card_lacks_is_asked_for_again_and_said(job: tuple[Path, Score], tmp_path: Path) -> None:
    arrays = {f"{s}_images": np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8) for s in SPLITS}
    np.savez(tmp_path / "few.npz", **arrays)  # type: ignore[arg-type]
    found = api.evaluate(job[0], {"name": "npz", "path": str(tmp_path / "few.npz")})
    assert set(found.score.skipped) == {"precision", "recall", "f_score", "fid_inf"}
    shown = io.StringIO()
    rich.console.Console(width=160, file=shown).print(scoretables.rescored(found))
    assert "n/a: 3 images are too few for the distance to the third neighbour" in shown.getvalue()
    for path in job[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    card = json.loads((tmp_path / "model.json").read_text()) | {"score": found.score.model_dump(mode="json")}
    (tmp_path / "model.json").write_text(json.dumps(card))
    assert set(api.evaluate(tmp_path).score.metrics) == set(job[1].metrics)


def test_a_field_that_an_older_card_lacks_is_unknown_and_said_so(
    job: tuple[Path, Score], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in job[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    card = json.loads((tmp_path / "model.json").read_text())
    del card["score"]["contract"]["torch"], card["score"]["contract"]["details"]
    (tmp_path / "model.json").write_text(json.dumps(card))
    found = api.evaluate(tmp_path, None, {"evaluation.metrics": ["kid"]})
    assert found.differences == () and found.unknown == ("torch",)
    app.evaluate(tmp_path, values=["evaluation.metrics=[kid]"])
    assert "isn't known: the older card lacks torch" in " ".join(capsys.readouterr().err.split())


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="give the model/ folder of a pulled job"):
        api.evaluate(tmp_path)
