"""Every shipped job loads, and its plan says what it will do."""

from pathlib import Path

import pytest

from gansvc import api
from gansvc.client import plan

JOBS = sorted((Path(__file__).parents[2] / "jobs").glob("*.yaml"))
PUBLISHED = ("bloodmnist", "medmnist-gray", "pathmnist", "retinamnist", "mnist-wgan")
"""Jobs that repeat what somebody published."""


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_job_loads_and_is_planned(path: Path) -> None:
    spec = api.validate(path)
    planned = plan.make(spec)
    assert spec.name == path.stem and planned.runs == len(spec.losses) * len(spec.training.seeds)
    assert planned.trials == (spec.search.trials if spec.search else 0) * len(spec.losses)
    assert planned.training_images and planned.training_images > 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_jobs_use_the_published_protocol(name: str) -> None:
    evaluation = api.validate(JOBS[0].with_name(f"{name}.yaml")).evaluation
    assert evaluation.extractor.name == "inception-v3" and evaluation.samples == 10_000


def test_published_numbers_are_the_sources() -> None:
    pathmnist = {row.loss: row for row in api.validate(JOBS[0].with_name("pathmnist.yaml")).published}
    assert (pathmnist["wgan"].inception_score, pathmnist["wgan"].fid) == (2.11, 241.62)
    retina = {row.loss: row for row in api.validate(JOBS[0].with_name("retinamnist.yaml")).published}
    assert (retina["wgan-gp"].inception_score, retina["wgan-gp"].fid) == (1.0, 333.25)
    gray = {row.loss: row for row in api.validate(JOBS[0].with_name("medmnist-gray.yaml")).published}
    assert (gray["lsgan"].inception_score, gray["lsgan"].fid) == (1.44, 210.17)


def test_quickstart_needs_no_download() -> None:
    assert plan.make(api.validate(JOBS[0].with_name("quickstart.yaml"))).obstacles == ()
