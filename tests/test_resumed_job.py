"""A whole job that is resumed after its data, its spec or its weights changed: refused, or made again, never mixed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from gansvc import api
from gansvc.client import local
from gansvc.errors import SpecError
from gansvc.gan import checkpoint, tensorfile
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.jobfolder import Job
from gansvc.store.records import FINAL_PHASES, RunRecord, Start, Status
from gansvc.store.scores import Score

pytestmark = pytest.mark.ray

LIMIT = 300.0


def test_a_resumed_job_goes_on_with_its_own_data_spec_and_weights(
    tiny: Callable[..., JobSpec], cluster: local.Cluster, tmp_path: Path
) -> None:
    draw, data, elsewhere = np.random.default_rng(0), tmp_path / "mine.npz", tmp_path / "moved.npz"
    images: dict[str, Any] = {
        f"{split}_images": draw.integers(0, 256, (40, 28, 28), dtype=np.uint8) for split in ("train", "val", "test")
    }
    np.savez(data, **images)
    spec = tiny(dataset={"name": "npz", "path": str(data)}, losses=["lsgan"], evaluation__audit=False)
    job = api.submit(spec, storage=str(tmp_path))
    assert ended(job).phase == "SUCCEEDED"
    folder = Folder(job.folder)
    run, score = record(folder), scored(folder)

    # Other images under the same path: refused with the split that changed, and nothing is touched.
    cut_off(job)
    shutil.copy(data, elsewhere)
    np.savez(data, **images | {"train_images": 255 - images["train_images"]})
    assert api.resume(job)
    refused = ended(job)
    assert refused.phase == "FAILED" and "data.train_images: " in refused.error and "start anew" in refused.error
    assert "test_images" not in refused.error and (record(folder), scored(folder)) == (run, score)

    # The same images under another path: the same job, and nothing is done twice.
    edit(job, str(data), str(elsewhere))
    assert api.resume(job)
    assert ended(job).phase == "SUCCEEDED" and (record(folder), scored(folder)) == (run, score)

    # Another spec: refused before anything is sent.
    cut_off(job)
    edit(job, "epochs: 1", "epochs: 3")
    with pytest.raises(SpecError, match=r"training\.epochs: 1 there, 3 here"):
        api.resume(job)
    edit(job, "epochs: 3", "epochs: 1")

    # Damaged weights: trained again, and scored again.
    best = Path(job.folder, "train/lsgan-seed0/checkpoints", layout.BEST)
    best.write_bytes(best.read_bytes()[:-1] + b"\x55")
    assert api.resume(job)
    assert ended(job).phase == "SUCCEEDED"
    again = scored(folder)
    digest = checkpoint.best_digest(folder / "train/lsgan-seed0/checkpoints")
    assert again.seconds != score.seconds, "the score is made again"
    assert again.weights == digest == tensorfile.digest(load_file(Path(job.folder, "model/generator.safetensors")))
    assert again.metrics == pytest.approx(score.metrics), "the run is the same to the last step"


def test_a_job_whose_folder_is_renamed_ends_and_goes_on_in_the_renamed_one(
    tiny: Callable[..., JobSpec], cluster: local.Cluster, tmp_path: Path
) -> None:
    storage = tmp_path / "jobs"
    spec = tiny(
        losses=["lsgan"], training={"images": 60_000, "batch_size": 16, "evaluations": 30}, evaluation__audit=False
    )
    job = api.submit(spec, storage=str(storage))
    checkpoints = Path(job.folder, "train/lsgan-seed0/checkpoints")
    deadline = time.monotonic() + LIMIT
    while all(path.name.startswith("step-00000000") for path in checkpoints.glob("step-*.pt")):
        assert time.monotonic() < deadline and api.status(job).phase not in FINAL_PHASES
        time.sleep(0.2)
    renamed = tmp_path / "elsewhere" / "kept"
    renamed.parent.mkdir()
    Path(job.folder).rename(renamed)
    with pytest.raises(SpecError, match=r"holds no status\.json; it is no job's, was taken away"):
        api.status(job)
    lost = ended(moved := api.find(str(renamed)))
    assert moved == Job(id=job.id, folder=str(renamed))
    assert lost.phase == "FAILED" and "was taken away or renamed while the job ran" in lost.error

    # Nothing was made in its place, and the job goes on from what it had.
    assert list(storage.iterdir()) == [] and api.resume(str(renamed))
    assert ended(moved).phase == "SUCCEEDED" and list(storage.iterdir()) == []
    assert sorted(path.name for path in renamed.parent.iterdir()) == ["kept"] and not (renamed / job.id).exists()
    starts = Folder(renamed / "train/lsgan-seed0").read_lines("starts.jsonl", Start)
    assert len(starts) == 2 and starts[1].step > 0, "it didn't begin anew"
    assert api.report(moved, "json")["job"] == job.id
    assert '"job": "' + job.id in (api.pull(moved, tmp_path / "pulled") / "model/model.json").read_text()


def ended(job: Job) -> Status:
    deadline = time.monotonic() + LIMIT
    while (status := api.status(job)).phase not in FINAL_PHASES:
        assert time.monotonic() < deadline, "".join(api.logs(job))[-3000:]
        time.sleep(0.5)
    return status


def cut_off(job: Job) -> None:
    """Let a job that is over look like one that was stopped."""
    Folder(job.folder).write_record("status.json", api.status(job).model_copy(update={"phase": "STOPPED"}))


def edit(job: Job, old: str, new: str) -> None:
    path = Path(job.folder, "job.yaml")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def record(folder: Folder) -> RunRecord:
    found = folder.read_record("train/lsgan-seed0/run.json", RunRecord)
    assert found is not None
    return found


def scored(folder: Folder) -> Score:
    found = folder.read_record("evaluation/lsgan-seed0.json", Score)
    assert found is not None
    return found
