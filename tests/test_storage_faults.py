"""Storage that fails under a job: it goes on where that is for a while, and ends with a plain reason where it isn't."""

from __future__ import annotations

import base64
import signal
import subprocess
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import ray
import torch
from ray.train import WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

from gansvc import api, pipeline
from gansvc.client import local
from gansvc.cluster import failures
from gansvc.errors import ClusterError, RunError
from gansvc.files import filesystems
from gansvc.gan import checkpoint, data
from gansvc.gan.data import Images
from gansvc.gan.run import RunPlan, single_process
from gansvc.gan.scoring.validation import Validator
from gansvc.gan.train import train
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store import jobstatus, layout
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES, History, RunRecord

from .object_storage import RESET, SLOW_DOWN, Gate

Make = Callable[..., JobSpec]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 384 KiB, where the tests may: the tiny job's checkpoints don't fit."""
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=384k", "tmpfs", path], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


# --- for a while ----------------------------------------------------------------------------------------------------


def test_a_training_over_a_storage_that_falters_ends_as_over_a_disk(
    tiny: Make,
    histology: Images,
    validator: Validator,
    gate: Gate,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filesystems, "_FIRST_PAUSE", 0.02)
    plan = RunPlan(tiny(), "lsgan", 0, 1, 2)
    disk, storage = Folder(tmp_path / "run"), Folder(f"s3://{bucket}/run")
    train(plan, histology.train, validator, disk, single_process())
    for what in ("^PUT .*/history", "^PUT .*/step-", "^HEAD ", "^PUT .*/best", "^PUT .*/run.json", "list-type"):
        gate.answer(SLOW_DOWN, 2, what)
        gate.answer(RESET, 1, what)
    record = train(plan, histology.train, validator, storage, single_process())
    assert record.state == "finished" and not gate.planned(), "each fault was met"
    ours, theirs = (checkpoint.load_best(folder / "checkpoints") for folder in (storage, disk))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    lines = [[line.critic_loss for line in folder.read_lines("history.jsonl", History)] for folder in (storage, disk)]
    assert lines[0] == lines[1] and lines[0]


# --- for good -------------------------------------------------------------------------------------------------------


def test_a_driver_that_cannot_write_says_so_and_ends(
    tiny: Make, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobstatus.start(Job(id="tiny-1", folder=str(small_disk / "tiny-1")), "tiny")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    packed = base64.b64encode(zlib.compress(jobfile.dump(tiny()).encode())).decode()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert pipeline.main(["--job", "tiny-1", "--storage", str(small_disk), "--spec", packed]) == 3
    finally:
        signal.signal(signal.SIGTERM, handler)
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 2 and all(line.startswith(f"Error: storage: {small_disk}/tiny-1/") for line in lines)
    assert "EROFS" in lines[0] and "give a --storage that can be written" in lines[0]


def test_what_the_storage_did_is_found_in_what_ray_makes_of_it() -> None:
    full = ClusterError("storage: /x is full")
    in_task = ray.exceptions.RayTaskError("train", "Traceback ...\nClusterError: storage: /x is full", full)
    in_group = WorkerGroupError("...", {1: RunError("gloo"), 0: UserExceptionWithTraceback(full, "Traceback ...")})
    twice = ray.exceptions.RayTaskError("score", "Traceback ...", in_task)
    for error in (in_task, in_task.as_instanceof_cause(), in_group, twice):
        assert failures.cluster_fault(error) is full
    assert failures.cluster_fault(RunError("no score")) is None
    assert failures.cluster_fault(WorkerGroupError("...", {0: RunError("gloo")})) is None


@pytest.mark.parametrize("harm", ["flipped", "missing", None])
def test_a_run_whose_best_weights_are_lost_is_trained_again(tiny: Make, tmp_path: Path, harm: str | None) -> None:
    spec, folder = tiny(losses=["lsgan"], training__seeds=[0, 1, 2]), Folder(tmp_path)
    for seed, best_step in ((0, 7), (1, 7), (2, None)):
        here = folder / "train" / layout.run_name("lsgan", seed)
        about = {"identity": RunPlan(spec, "lsgan", seed, 1, 2).identity(), "best_step": best_step}
        record = RunRecord(label="lsgan", seed=seed, values={}, state="finished")
        here.write_record("run.json", record.model_copy(update=about))
        if best_step:
            checkpoint.save(here / "checkpoints", 7, {"x": torch.ones(1)}, {})
            checkpoint.save_best(here / "checkpoints", {"weight": torch.ones(9)}, best_step, 0.5)
    downstream = ["lsgan-seed1.json", "lsgan-seed1.audit.json", "lsgan-seed1.png", "lsgan-seed1.pairs.png"]
    for name in (*downstream, "lsgan-seed10.json", "real.json"):
        (folder / "evaluation").write(name, "{}")
    folder.write("report/report.json", "{}")
    folder.write("model/model.json", "{}")
    path = tmp_path / "train" / "lsgan-seed1" / "checkpoints" / layout.BEST
    if harm == "flipped":
        path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    elif harm == "missing":
        path.unlink()
    again: list[int] = []

    class Recorder:
        """Takes the place of the cluster, whose own work isn't looked at here."""

        content: Mapping[str, str] = MappingProxyType({})

        def train(self, spec: JobSpec, todo: list[tuple[RunPlan, Folder]]) -> list[RunRecord]:
            again.extend(plan.seed for plan, here in todo if not here.exists("run.json") | here.exists("checkpoints"))
            return []

    stand_in: Any = Recorder()
    kept = pipeline.train(folder, spec, stand_in)
    assert (again, [record.seed for record in kept]) == (([1], [0, 2]) if harm else ([], [0, 1, 2]))
    # What was made of the lost weights goes with them, and nothing else does.
    rest = {"lsgan-seed10.json", "real.json"}
    assert set((folder / "evaluation").names()) == (rest if harm else rest | set(downstream))
    assert folder.exists("report") == folder.exists("model") == (harm is None)


@pytest.mark.ray
def test_a_job_on_a_disk_that_fills_up_ends_with_the_reason(
    tiny: Make, cluster: local.Cluster, small_disk: Path
) -> None:
    spec = tiny(losses=["lsgan"], training__epochs=5)
    job = api.submit(spec, storage=str(small_disk))
    # A small file may still find its place, so that the status tells it; if not, the log does.
    for status in api.follow(job):
        if status.phase in FINAL_PHASES:
            break
    log = "".join(api.logs(job))
    assert status.phase == "FAILED", status
    assert "can't be written (ENOSPC: No space left on device); the disk is full: free space on it" in log
    last = next(line for line in log.splitlines() if line.startswith("Error: "))
    assert last.startswith(f"Error: storage: {small_disk}/{job.id}/"), "the job's reason is the storage's"
    content = data.load(spec.dataset).content | {"extractor_weights": spec.evaluation.extractor.weights_hash()}
    plan = RunPlan(spec, "lsgan", 0, spec.training.epochs, spec.training.evaluations, content=content)
    found = checkpoint.newest(Folder(job.folder) / "train" / "lsgan-seed0" / "checkpoints", plan.identity())
    assert found is None or not found[2], "what is there is whole"
