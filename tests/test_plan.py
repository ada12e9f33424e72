"""What a job will do, computed before anything starts, and what its driver is told."""

import base64
import shlex
import zlib
from pathlib import Path

import numpy as np
import pytest

from gansvc import api, jobfolder, specfile, submission

SPEC = """
name: small
dataset: histology
losses: [lsgan, wgan]
training: {epochs: 2, seeds: [0, 1], evaluations: 3}
search: {trials: 4, epochs: 1}
evaluation: {extractor: efficientnet-lite0}
"""


def test_the_plan_counts_what_the_job_will_do(tmp_path: Path) -> None:
    images = {f"{s}_images": np.zeros((n, 28, 28), np.uint8) for s, n in (("train", 100), ("val", 10), ("test", 10))}
    np.savez(tmp_path / "mine.npz", **images)  # type: ignore[arg-type]
    spec = specfile.parse(SPEC).with_values(
        {"dataset": {"name": "npz", "path": str(tmp_path / "mine.npz")}, "training.batch_size": 32}
    )
    made = api.plan(spec)
    # 2 epochs of 100 images in batches of 32: 7 critic steps; WGAN's generator moves every fifth.
    assert [(loss.critic_steps, loss.generator_steps) for loss in made.losses] == [(7, 7), (7, 1)]
    assert (made.trials, made.runs, made.checkpoints) == (8, 4, 12)
    assert (made.search_images, made.training_images) == (800, 800)
    assert (made.dataset, made.weights, made.obstacles) == ("at hand", "at hand", ())


def test_the_plan_of_a_missing_file_knows_no_sizes(tmp_path: Path) -> None:
    made = api.plan(specfile.parse(SPEC).with_values({"dataset": {"name": "npz", "path": str(tmp_path / "no.npz")}}))
    assert made.training_images is None and made.losses[0].generator_steps is None
    assert made.obstacles == (made.dataset,) and "no.npz" in made.dataset
    assert ("critic images", "search at most unknown, training unknown") in made.rows()


def test_what_can_be_downloaded_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    values = {"dataset": {"name": "breastmnist", "root": str(tmp_path)}, "evaluation.extractor": "inception-v3"}
    made = api.plan(specfile.parse(SPEC).with_values(values))
    assert made.obstacles == () and str(tmp_path / "breastmnist.npz") in made.dataset
    assert made.weights.startswith("not at hand: will be downloaded from https://")


def test_the_plan_without_a_search() -> None:
    made = api.plan(specfile.parse(SPEC.replace("search: {trials: 4, epochs: 1}", "")))
    assert (made.trials, made.search_images) == (0, 0) and ("trials", "none: no search") in made.rows()


def test_the_driver_gets_the_whole_spec_and_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = specfile.parse(SPEC).with_values({"dataset.root": "data", "evaluation.extractor.weights": "w.pth"})
    spec = submission._absolute(spec)
    assert spec.dataset.root == str(tmp_path / "data")
    assert spec.evaluation.extractor.weights == str(tmp_path / "w.pth")
    job = jobfolder.new(spec.name, str(tmp_path / "my jobs"))
    words = shlex.split(submission._entrypoint("python", job, spec))
    assert words[:4] == ["exec", "python", "-m", "gansvc.pipeline"]
    options = dict(zip(words[4::2], words[5::2], strict=True))
    assert options["--job"] == job.id and options["--storage"] == str(tmp_path / "my jobs")
    assert specfile.parse(zlib.decompress(base64.b64decode(options["--spec"])).decode()) == spec
