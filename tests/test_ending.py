"""How a job ends: the report first, the model of its best seed, and a word on all that couldn't be made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gansvc import pipeline
from gansvc.cluster.monitor import Monitor
from gansvc.errors import ClusterError
from gansvc.gan import checkpoint
from gansvc.gan.artifact import export, portable
from gansvc.gan.networks import build_generator
from gansvc.gan.run import RunPlan
from gansvc.gan.scoring import outdated, scorefiles
from gansvc.report import build, figures, ranking
from gansvc.spec.job import JobSpec
from gansvc.store.audits import Audit
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score

from .builders.jobs import CONTRACT, make_job, make_score, make_spec


class Exporter:
    """Takes the place of the cluster: keeps what it was to export, and fails if told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.exported = error, ("", -1)

    def export(self, spec: JobSpec, run: RunRecord, score: Score, folder: Folder, job: str) -> dict[str, str]:
        self.exported = (run.label, run.seed)
        folder.write("model/generator.safetensors", b"half of it")
        if self.error:
            raise self.error
        return {}


def end(folder: Folder, spec: JobSpec, exporter: Exporter) -> Monitor:
    monitor, cluster = Monitor(folder, "compare-20260101-000000-1a2b", spec), exporter
    stand_in: Any = cluster
    pipeline.report(folder, spec, spec, stand_in, monitor)
    return monitor


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return make_job(tmp_path)


@pytest.mark.parametrize("objective", ["kid", "fid"])
def test_the_exported_seed_is_the_one_that_the_report_ranks_first(objective: str, folder: Folder) -> None:
    # By KID seed 1 is the best, by FID seed 0.
    for seed, kid, fid in ((0, 0.020, 50.0), (1, 0.010, 70.0)):
        score = make_score("wgan-gp", seed, kid=kid)
        score = score.model_copy(update={"metrics": score.metrics | {"fid": fid}})
        folder.write_record(f"evaluation/wgan-gp-seed{seed}.json", score)
    exporter = Exporter()
    end(folder, make_spec(search={"trials": 4, "objective": objective}), exporter)
    assert exporter.exported == ("wgan-gp", {"kid": 1, "fid": 0}[objective])


def test_a_spec_that_is_edited_while_the_job_runs_is_not_what_the_report_tells_of(folder: Folder) -> None:
    folder.write("job.yaml", "name: compare\ndataset: histology\nlosses: [lsgan]\ntraining: {epochs: 3}\n")
    end(folder, make_spec(training={"seeds": [0, 1], "epochs": 1}), Exporter())
    report = (folder.read("report/report.json") or b"").decode()
    assert '"epochs": 1' in report and '"epochs": 3' not in report


def test_an_export_that_fails_does_not_cost_the_report_and_leaves_no_half_of_a_model(folder: Folder) -> None:
    monitor = end(folder, make_spec(), Exporter(RuntimeError("no\nkernel")))
    assert folder.exists("report/report.json") and not folder.exists("model")
    assert monitor._status.missing == ("the model",)
    assert monitor._status.warnings == (
        "the model could not be made (RuntimeError: no kernel); `gansvc resume` tries again",
    )


def test_a_storage_that_fails_under_the_export_is_no_fault_of_the_export(folder: Folder) -> None:
    with pytest.raises(ClusterError, match="full"):
        end(folder, make_spec(), Exporter(ClusterError("storage: the disk is full")))
    assert folder.exists("report/report.json")


def test_a_figure_that_fails_does_not_cost_the_report(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bytes:
        raise ValueError("cannot be drawn")

    monkeypatch.setattr(figures, "losses", fails)
    monitor = end(folder, make_spec(), Exporter())
    assert monitor._status.missing == ("the figure losses.png",)
    assert folder.exists("report/figures/kid.png") and not folder.exists("report/figures/losses.png")
    assert "losses.png" not in (folder.read("report/report.md") or b"").decode()


def test_where_no_run_has_a_score_by_the_ranking_metric_nothing_is_exported(folder: Folder) -> None:
    for name in (folder / "evaluation").names():
        folder.delete(f"evaluation/{name}")
    exporter = Exporter()
    monitor = end(folder, make_spec(), exporter)
    assert exporter.exported == ("", -1) and monitor._status.missing == ("the model",)
    assert ranking.best_run(build.build(folder, make_spec())) is None


@pytest.mark.parametrize("form", ["torchscript", "onnx"])
def test_a_form_that_fails_leaves_the_model_and_its_other_form(
    form: str, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bytes:
        raise RuntimeError("can't be traced")

    spec, weights, target = tiny(losses=["lsgan"]), Folder(tmp_path / "checkpoints"), Folder(tmp_path / "model")
    checkpoint.save_best(weights, build_generator(spec.network, 3).state_dict(), 40, 0.05)
    run = RunRecord(label="lsgan", seed=1, values={"name": "lsgan", "label": "lsgan"}, state="finished")
    score = Score(label="lsgan", seed=1, step=40, metrics={"kid": 0.05}, contract=CONTRACT, seconds=1)
    name, other = {"torchscript": portable.NAMES, "onnx": portable.NAMES[::-1]}[form]
    target.write(name, b"of other weights")
    monkeypatch.setattr(portable, form, fails)
    assert export.export(target, "tiny-1a2b", spec, 3, run, score, weights) == {name: "RuntimeError: can't be traced"}
    assert target.exists("generator.safetensors") and target.exists(other) and not target.exists(name)
    readme = (target.read("README.md") or b"").decode()
    assert f'"{other}"' in readme and f'"{name}"' not in readme


# --- what a start finds of an earlier one's scores --------------------------------------------------------------------


@pytest.fixture
def scored(tiny: Any, tmp_path: Path) -> tuple[Folder, JobSpec, RunRecord]:
    """A job folder with one run and its score, as they were made."""
    spec, folder = tiny(losses=["lsgan"]), Folder(tmp_path)
    plan = RunPlan(spec, "lsgan", 0, 1, 2, content={"train_images": "ab"})
    run = RunRecord(label="lsgan", seed=0, values={}, state="finished", best_step=7, identity=plan.identity())
    checkpoints = folder / "train" / "lsgan-seed0" / "checkpoints"
    checkpoint.save_best(checkpoints, {"weight": torch.ones(9)}, 7, 0.5)
    digest = checkpoint.best_digest(checkpoints) or ""
    contract = CONTRACT.model_copy(update={"data": {"train_images": "ab"}})
    score = make_score("lsgan", 0, contract).model_copy(update={"weights": digest, "identity": run.identity})
    folder.write_record("evaluation/lsgan-seed0.json", score)
    folder.write_record("evaluation/lsgan-seed0.audit.json", Audit(label="lsgan", seed=0, step=7, extractor="x"))
    folder.write("report/report.json", "{}")
    return folder, spec, run


def kept(scored: tuple[Folder, JobSpec, RunRecord], data: str = "ab") -> tuple[bool, bool]:
    """Return whether the score and the report are still there when the evaluation begins."""
    folder, spec, run = scored
    outdated.delete_outdated(folder, spec, "lsgan-seed0", run, {"train_images": data})
    return folder.exists("evaluation/lsgan-seed0.json"), folder.exists("report")


def test_a_score_that_holds_is_kept(scored: tuple[Folder, JobSpec, RunRecord]) -> None:
    assert kept(scored) == (True, True)


@pytest.mark.parametrize("change", ["weights", "data", "run"])
def test_a_score_of_other_weights_other_data_or_another_run_is_made_again(
    change: str, scored: tuple[Folder, JobSpec, RunRecord]
) -> None:
    folder, spec, run = scored
    if change == "weights":
        checkpoint.save_best(folder / "train/lsgan-seed0/checkpoints", {"weight": torch.zeros(9)}, 7, 0.5)
    if change == "run":
        run = run.model_copy(update={"identity": {**run.identity, "seed": 1}})
    assert kept((folder, spec, run), "cd" if change == "data" else "ab") == (False, False)
    assert (folder / "evaluation").names() == []


def test_a_score_whose_audit_failed_or_is_missing_is_made_again_and_the_report_stays(
    scored: tuple[Folder, JobSpec, RunRecord],
) -> None:
    folder, spec, run = scored
    failed = Audit(label="lsgan", seed=0, step=7, extractor="x", failed="no memory")
    folder.write_record("evaluation/lsgan-seed0.audit.json", failed)
    assert [*scorefiles.failures(folder / "evaluation", "lsgan-seed0")] == [("the audit of lsgan-seed0", "no memory")]
    assert kept(scored) == (False, True)
    folder.delete("evaluation/lsgan-seed0.audit.json")
    folder.write("evaluation/lsgan-seed0.json", make_score("lsgan", 0).model_dump_json())
    assert kept(scored)[0] is False
    assert run.best_step == 7 and spec.evaluation.audit
