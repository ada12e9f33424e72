"""What a job will do, computed before anything starts, and what its driver is told."""

import base64
import shlex
import zlib
from pathlib import Path

import numpy as np
import pytest

from gansvc import api
from gansvc.catalog.losses import LOSSES
from gansvc.client import rayclusters
from gansvc.gan.run import RunPlan
from gansvc.spec import drivercommand, jobfile
from gansvc.store import jobfolder
from gansvc.store.jobfolder import Job

SPEC = """
name: small
dataset: histology
losses: [lsgan, wgan]
training: {epochs: 2, seeds: [0, 1], evaluations: 3}
search: {trials: 4, epochs: 1}
evaluation: {extractor: efficientnet-lite0}
"""


def test_the_plan_counts_what_the_job_will_do(tmp_path: Path) -> None:
    images = {"train": np.zeros((100, 28, 28), np.uint8), "test": np.zeros((10, 28, 28), np.uint8)}
    images["val"] = np.arange(10 * 784, dtype=np.uint8).reshape(10, 28, 28)
    np.savez(tmp_path / "mine.npz", **{f"{split}_images": array for split, array in images.items()})  # type: ignore[arg-type]
    spec = jobfile.parse(SPEC).with_values(
        {"dataset": {"name": "npz", "path": str(tmp_path / "mine.npz")}, "training.batch_size": 32}
    )
    made = api.plan(spec)
    # 2 epochs of 100 images in batches of 32: 7 critic steps; WGAN's generator moves every fifth, and two are left out.
    assert [(loss.critic_steps, loss.generator_steps) for loss in made.losses] == [(7, 7), (5, 1)]
    assert [loss.critic_images for loss in made.losses] == [224, 160]
    assert ("critic images a run", "lsgan 224, wgan 160: unequal, as n_critic doesn't divide the budget's batches") in (
        made.rows()
    )
    assert (made.trials, made.runs, made.checkpoints) == (8, 4, 12)
    # A trial has 4 critic steps, or 5 where it draws an n_critic of 5.
    assert (made.search_images, made.training_images) == (8 * 160, 2 * 224 + 2 * 160)
    assert (made.dataset, made.weights, made.obstacles) == ("at hand", "at hand", ())


@pytest.mark.parametrize("budget", [{"epochs": 3}, {"images": 3000}], ids=str)
def test_every_loss_gets_the_same_critic_images(budget: dict[str, int]) -> None:
    spec = jobfile.parse(SPEC).with_values({"losses": list(LOSSES), "search": None, "training.batch_size": 20})
    spec = spec.with_values({f"training.{field}": value for field, value in budget.items()})
    planned = {loss.label: loss for loss in api.plan(spec).losses}
    train = spec.dataset.entry.images["train"]
    batches = -(-spec.training.budget(train) // 20)
    assert len({loss.n_critic for loss in spec.losses}) > 1
    for loss in spec.losses:
        run = RunPlan(spec, loss.label, 0, spec.training.epochs, 1, spec.training.images)
        steps = run.steps(train)
        found = planned[loss.label]
        assert (found.critic_steps, found.generator_steps) == (steps * loss.n_critic, steps)
        assert found.critic_images == steps * loss.n_critic * 20
        # Only what doesn't fill a last generator step, n_critic batches, is left out.
        assert 0 <= batches - steps * loss.n_critic < loss.n_critic


def test_the_plan_counts_a_budget_in_images() -> None:
    spec = jobfile.parse(SPEC).with_values({"training.images": 6400, "search.images": 640})
    made = api.plan(spec)
    assert [(loss.critic_steps, loss.generator_steps) for loss in made.losses] == [(100, 100), (100, 20)]
    assert not any(title == "critic images a run" for title, _ in made.rows()), "they are equal"
    assert (made.search_images, made.training_images) == (8 * 640, 4 * 6400)


@pytest.mark.parametrize(
    ("images", "budgets"), [(64, (64, 320)), (320, (320, 320)), (384, (384, 320)), (640, (640, 640)), (639, (640, 640))]
)
def test_the_plan_a_run_and_a_trial_count_critic_images_alike(images: int, budgets: tuple[int, int]) -> None:
    spec = jobfile.parse(SPEC).with_values({"training.images": images, "search.images": images})
    made = api.plan(spec)
    assert tuple(loss.critic_images for loss in made.losses) == budgets
    for label, budget in zip(("lsgan", "wgan"), budgets, strict=True):
        for is_trial in (False, True):
            plan = RunPlan(spec, label, 0, 1, 3, images, is_trial)
            assert plan.steps(4608) * plan.loss.n_critic * 64 == budget
    assert made.training_images == 2 * sum(budgets)


@pytest.mark.parametrize(
    ("space", "most"),
    [("learning-rates", 64 + 320), ("default", 2 * 320), ({"wgan.n_critic": {"int_uniform": [2, 3]}}, 64 + 320)],
)
def test_a_search_is_planned_by_the_largest_n_critic_that_it_may_draw(space: object, most: int) -> None:
    spec = jobfile.parse(SPEC).with_values({"search.images": 64, "search.space": space})
    assert api.plan(spec).search_images == 4 * most


def test_seeds_of_a_search_multiply_what_it_costs() -> None:
    one, three = (jobfile.parse(SPEC).with_values({"search.images": 640, "search.seeds": n}) for n in (1, 3))
    assert [(made.trials, made.search_images) for made in map(api.plan, (one, three))] == [(8, 5120), (8, 15360)]
    assert ("trials", "8 (4 a loss), 3 seeds each") in api.plan(three).rows()
    assert ("trials", "8 (4 a loss)") in api.plan(one).rows()


def test_a_run_of_another_budget_is_another_run() -> None:
    spec = jobfile.parse(SPEC)
    runs = [RunPlan(spec, "wgan", 0, 2, 3), RunPlan(spec, "wgan", 0, 2, 3, 500), RunPlan(spec, "wgan", 0, 4, 3)]
    assert len({str(run.identity()) for run in runs}) == 3


def test_the_plan_of_a_missing_file_knows_no_sizes(tmp_path: Path) -> None:
    made = api.plan(jobfile.parse(SPEC).with_values({"dataset": {"name": "npz", "path": str(tmp_path / "no.npz")}}))
    assert made.training_images is None and made.losses[0].generator_steps is None
    assert made.obstacles == (made.dataset,) and "no.npz" in made.dataset
    assert ("critic images", "search at most unknown, training unknown") in made.rows()


def test_what_can_be_downloaded_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    values = {"dataset": {"name": "breastmnist", "root": str(tmp_path)}, "evaluation.extractor": "inception-v3"}
    made = api.plan(jobfile.parse(SPEC).with_values(values))
    assert made.obstacles == () and str(tmp_path / "breastmnist.npz") in made.dataset
    assert made.weights.startswith("not at hand: will be downloaded from https://")


def test_the_plan_without_a_search() -> None:
    made = api.plan(jobfile.parse(SPEC.replace("search: {trials: 4, epochs: 1}", "")))
    assert (made.trials, made.search_images) == (0, 0) and ("trials", "none: no search") in made.rows()


def test_the_driver_gets_the_whole_spec_and_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = jobfile.parse(SPEC).with_values({"dataset.root": "data", "evaluation.extractor.weights": "w.pth"})
    spec = rayclusters.absolute(spec)
    assert spec.dataset.root == str(tmp_path / "data")
    assert spec.evaluation.extractor.weights == str(tmp_path / "w.pth")
    job = jobfolder.new(spec.name, str(tmp_path / "my jobs"))
    words = shlex.split(drivercommand.compose(job, spec))
    assert words[:5] == ["exec", "python", "-P", "-m", "gansvc.pipeline"]
    options = dict(zip(words[5::2], words[6::2], strict=True))
    assert options["--job"] == job.id and options["--storage"] == str(tmp_path / "my jobs")
    assert jobfile.parse(zlib.decompress(base64.b64decode(options["--spec"])).decode()) == spec
    assert "--folder" not in options


@pytest.mark.parametrize(
    ("folder", "around"),
    [("/jobs/renamed", "/jobs"), ("/renamed", "/"), ("s3://b/jobs/kept", "s3://b/jobs"), ("s3://b", "s3://b")],
)
def test_the_driver_of_a_renamed_job_gets_the_folder_itself(folder: str, around: str) -> None:
    job = Job(id="small-20260101-000000-aaaa", folder=folder)
    words = shlex.split(drivercommand.compose(job, jobfile.parse(SPEC)))
    options = dict(zip(words[5::2], words[6::2], strict=True))
    assert (options["--job"], options["--storage"], options["--folder"]) == (job.id, around, folder)
