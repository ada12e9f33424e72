"""A job's folder that gansvc 0.1.0 wrote is read, resumed and reported by this version (tests/kept/README.md)."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from gansvc import pipeline
from gansvc.errors import RunError
from gansvc.gan import checkpoint, data, modelfolder
from gansvc.gan.run import RunPlan, single_process
from gansvc.gan.sampling import chunks
from gansvc.gan.scoring import scorefiles
from gansvc.gan.scoring.features import extract
from gansvc.gan.scoring.validation import Validator
from gansvc.gan.train import train
from gansvc.report import build, html, markdown, model
from gansvc.spec import identity, jobfile
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import DataRecord, RunRecord, Start, Status, ValidationScore
from gansvc.store.scores import Score
from gansvc.store.submissions import Submission

KEPT = Path(__file__).parent / "kept" / "job-0.1.0.tar.gz"
RUN = "lsgan-seed0"


class OneProcess:
    """Trains in this process what the pipeline hands to a cluster."""

    def __init__(self, spec: JobSpec) -> None:
        self.images, extractor = data.load(spec.dataset), spec.evaluation.extractor
        self.content = self.images.content | {"extractor_weights": extractor.weights_hash()}
        real = extract(chunks(self.images.val[: spec.evaluation.validation_samples]), extractor)
        self.validator = Validator(spec.evaluation, spec.objective, real, spec.network.latent_dim)

    def train(self, spec: JobSpec, todo: list[tuple[RunPlan, Folder]]) -> list[RunRecord]:
        return [train(plan, self.images.train, self.validator, here, single_process()) for plan, here in todo]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    with tarfile.open(KEPT) as archive:
        archive.extractall(tmp_path / "job", filter="data")
    return Folder(tmp_path / "job")


@pytest.fixture
def spec(folder: Folder) -> JobSpec:
    return jobfile.read(folder.read(layout.JOB) or b"", layout.JOB)


@pytest.fixture(scope="module")
def cluster() -> Any:
    with tarfile.open(KEPT) as archive:
        member = archive.extractfile(f"./{layout.JOB}")
        assert member is not None
        return OneProcess(jobfile.read(member.read(), layout.JOB))


def test_its_records_and_its_model_are_read(folder: Folder, spec: JobSpec) -> None:
    status, where = folder.read_record(layout.STATUS, Status), folder.read_record(layout.SUBMISSION, Submission)
    assert status is not None and status.complete and where is not None and where.host == "laptop"
    told = folder.read_record(layout.DATA, DataRecord)
    assert told is not None and told.images == spec.dataset.entry.images
    card, _ = modelfolder.load_model(Path(folder.path(layout.MODEL)))
    assert card.gansvc == "0.1.0" and card.score is not None


def test_its_report_is_rendered_as_it_was_made(folder: Folder) -> None:
    report = model.read(folder)
    assert report is not None
    text, page = markdown.render(report), html.render(report, {}, ())
    for row in report.leaderboard:
        assert f"| {row.label} |" in text and row.label in page


def test_it_is_resumed_from_its_checkpoint(folder: Folder, spec: JobSpec, cluster: Any) -> None:
    assert identity.compare_and_keep(folder, identity.of_job(spec, cluster.content)) == ()
    one = spec.with_values({"losses": [spec.loss("lsgan").model_dump()], "training.seeds": [0]})
    run = folder / layout.TRAIN / RUN
    (record,) = pipeline.train(folder, found := pipeline.search(folder, one, cluster), cluster)
    assert found.loss("lsgan").critic_lr != spec.loss("lsgan").critic_lr, "the search's value"
    assert record.starts == 1, "a run that is over isn't trained again"
    run.delete(layout.RUN)
    earlier = run.read_lines(layout.EVALUATIONS, ValidationScore)
    (resumed,) = pipeline.train(folder, found, cluster)
    assert (resumed.state, resumed.step, resumed.starts, resumed.warnings) == ("finished", 369, 2, ())
    assert [start.step for start in run.read_lines(layout.STARTS, Start)] == [0, 184]
    assert run.read_lines(layout.EVALUATIONS, ValidationScore)[:2] == earlier[:2]
    assert resumed.best_objective is not None and resumed.best_objective <= earlier[1].objective


def test_another_spec_is_refused_with_the_field(folder: Folder, spec: JobSpec, cluster: Any) -> None:
    (folder / layout.TRAIN / RUN).delete(layout.RUN)
    one = spec.with_values({"losses": [spec.loss("lsgan").model_dump()], "training.seeds": [0], "training.ema": 0.5})
    with pytest.raises(RunError, match=r"training\.ema: 0\.999 there, 0\.5 here"):
        pipeline.train(folder, pipeline.search(folder, one, cluster), cluster)


def test_its_scores_hold_and_its_report_is_built_again(folder: Folder, spec: JobSpec, cluster: Any) -> None:
    score = (folder / layout.EVALUATION).read_record(layout.score(RUN), Score)
    record = (folder / layout.TRAIN / RUN).read_record(layout.RUN, RunRecord)
    digest = checkpoint.best_digest(folder / layout.TRAIN / RUN / layout.CHECKPOINTS)
    assert score is not None and record is not None and digest is not None
    assert scorefiles.outdated_fields(score, digest, record.identity, cluster.images.content) == []
    before, again = model.read(folder), build.build(folder, spec)
    assert before is not None and again.leaderboard == before.leaderboard and again.headline == before.headline
    assert again.curves == before.curves and again.trials == before.trials
    build.write(folder, again)
    assert model.read(folder) == again
