"""Whole jobs on the session's cluster: searched, trained with DDP, hit by a kill, scored, reported, pulled, drawn."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from PIL import Image

from gansvc import api
from gansvc.client import local
from gansvc.errors import SpecError
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES, DataRecord, RunRecord, Start, TrialRecord
from gansvc.store.scores import Score

pytestmark = pytest.mark.ray

Make = Callable[..., JobSpec]
LIMIT = 420.0
"""Seconds after which a job counts as hung."""


def test_a_job_survives_a_killed_worker_and_ends_in_a_report(
    tiny: Make, cluster: local.Cluster, tmp_path: Path
) -> None:
    spec = tiny(
        losses=["lsgan", {"name": "wgan-gp", "n_critic": 2}],
        training__workers=2,
        training__epochs=6,
        training__evaluations=6,
        search={"trials": 3, "epochs": 1, "evaluations": 2},
    )
    job = api.submit(spec, storage=str(tmp_path))
    assert [status.job for status in api.jobs(str(tmp_path))] == [job.id]
    killed = _kill_a_worker(tmp_path / job.id / "train" / "lsgan-seed0")
    _await_end(job)
    assert api.status(job).phase == "SUCCEEDED", api.status(job).error
    folder = Folder(tmp_path / job.id)

    # The search: every trial there, the paper's first, the best one's values in the run.
    trials = [TrialRecord.model_validate(t) for t in json.loads(folder.read("search/lsgan/trials.json") or b"")]
    assert len(trials) == 3 and sum(trial.defaults for trial in trials) == 1
    assert all(trial.objective is not None for trial in trials)
    assert trials == sorted(trials, key=lambda trial: trial.objective or 0.0)
    run = folder.read_record("train/lsgan-seed0/run.json", RunRecord)
    assert run is not None and run.state == "finished" and run.world_size == 2
    assert {field: run.values[field] for field in trials[0].values} == trials[0].values

    # The kill: the run went on from a checkpoint, and the report says so.
    starts = folder.read_lines("train/lsgan-seed0/starts.jsonl", Start)
    assert killed and run.starts == len(starts) == 2 and starts[1].step > 0
    report = api.report(job, "json")
    assert any("lsgan-seed0 was restarted 1 time" in warning for warning in report["warnings"])

    # The scores: every asked metric, one contract, and the noise floor.
    names = ["lsgan-seed0", "wgan-gp-seed0", "real"]
    scores = [folder.read_record(f"evaluation/{name}.json", Score) for name in names]
    assert all(
        score is not None and {"is", "fid", "kid", "precision", "recall"} <= set(score.metrics) for score in scores
    )
    assert scores[0] and scores[1] and not scores[0].contract.differences(scores[1].contract)
    assert {row["label"] for row in report["leaderboard"]} == {"lsgan", "wgan-gp"}

    # What the driver read is what the report is about.
    read = folder.read_record(layout.DATA, DataRecord)
    assert read is not None and read.images == spec.dataset.entry.images == report["dataset"]["images"]
    assert read.duplicates == report["dataset"]["duplicates"]

    # What the user takes home works by itself.
    target = api.pull(job, tmp_path / "pulled", storage=str(tmp_path))
    assert (target / "report" / "report.md").is_file()
    drawn = api.sample(target / "model", 9, tmp_path / "grid.png")
    with Image.open(drawn) as picture:
        assert min(picture.size) > 3 * 28
    log = "".join(api.logs(job))
    assert "scored real" in log


def test_tpe_and_trials_of_two_workers(tiny: Make, cluster: local.Cluster, tmp_path: Path) -> None:
    spec = tiny(
        losses=["wgan"], search={"trials": 2, "algorithm": "tpe", "workers": 2, "seeds": 2, "scheduler": "none"}
    )
    job = api.submit(spec, storage=str(tmp_path))
    _await_end(job)
    assert api.status(job).phase == "SUCCEEDED", api.status(job).error
    trials = json.loads(Folder(tmp_path / job.id).read("search/wgan/trials.json") or b"")
    assert len(trials) == 2 and sum(trial["defaults"] for trial in trials) == 1
    assert all(set(trial["objectives"]) == {"0", "1"} for trial in trials)
    seeds = [tmp_path / job.id / "search/wgan" / t["trial"] / f"seed{seed}" for t in trials for seed in (0, 1)]
    runs = [Folder(seed).read_record("run.json", RunRecord) for seed in seeds]
    assert all(run is not None and run.world_size == 2 for run in runs)
    assert not list((tmp_path / job.id).rglob(".ray*")), "Ray Train's own folders are cleared away"


def test_a_stopped_job_is_stopped_and_a_failing_one_says_why(
    tiny: Make, cluster: local.Cluster, tmp_path: Path
) -> None:
    job = api.submit(tiny(training__epochs=500), storage=str(tmp_path))
    deadline = time.monotonic() + LIMIT
    while not (tmp_path / job.id / "train").exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert api.stop(job).phase == "STOPPED" and api.status(job).phase == "STOPPED"
    path = tmp_path / "broken.npz"
    path.write_bytes(b"PK no archive")
    spec = tiny().with_values({"dataset": {"name": "npz", "path": str(path)}})
    with pytest.raises(SpecError, match="not in MedMNIST's form"):
        api.submit(spec, storage=str(tmp_path))


def _kill_a_worker(run: Path) -> bool:
    """Wait for the run's second checkpoint, then kill one of its workers; return whether one was killed."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if len(list((run / "checkpoints").glob("step-*.pt"))) >= 2 and not (run / "run.json").exists():
            for process in psutil.process_iter(["cmdline"]):
                if any("RayTrainWorker" in part for part in process.info["cmdline"] or ()):
                    os.kill(process.pid, signal.SIGKILL)
                    return True
        time.sleep(0.05)
    return False


def _await_end(job: Job) -> None:
    deadline = time.monotonic() + LIMIT
    while api.status(job).phase not in FINAL_PHASES:
        assert time.monotonic() < deadline, "".join(api.logs(job))[-3000:]
        time.sleep(1)
