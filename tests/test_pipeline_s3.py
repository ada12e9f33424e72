"""A whole job whose folder is in an object storage: submitted, followed, read, pulled; and no secret left anywhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gansvc import api
from gansvc.cli import app
from gansvc.client import jobsapi as drivers
from gansvc.client import local
from gansvc.cluster.search import LEFTOVER
from gansvc.errors import ClusterError
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import FINAL_PHASES, History, RunRecord

from .object_storage import SECRET

LIMIT = 240.0
"""Seconds after which a job counts as hung."""


def test_tune_sends_its_workers_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution.class_cache import _ActorClassCache

    from gansvc.cluster import search

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", "77")

    class Trainable:
        pass

    def sent() -> str:
        return repr(_ActorClassCache().get(Trainable)._default_options["runtime_env"])

    search.keep_keys_at_home()
    assert SECRET not in sent() and "77" in sent(), "what else Ray sends is sent"


@pytest.mark.ray
def test_a_job_in_an_object_storage(
    tiny: Callable[..., JobSpec],
    cluster: local.Cluster,
    bucket: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    storage = f"s3://{bucket}/jobs"
    # Both of Ray's own writers are at work: Tune in the search, Train in the run of two workers.
    search = {"trials": 2, "epochs": 1, "evaluations": 2}
    spec = tiny(losses=["lsgan"], training__workers=2, evaluation__audit=False, search=search)
    job = api.submit(spec, storage=storage)
    assert job.folder == f"{storage}/{job.id}"
    assert [status.job for status in api.jobs(storage)] == [job.id]
    deadline = time.monotonic() + LIMIT
    for status in api.follow(job):
        assert time.monotonic() < deadline, "".join(api.logs(job))[-3000:]
        if status.phase in FINAL_PHASES:
            break
    log = "".join(api.logs(job))
    assert status.phase == "SUCCEEDED", (status.error, log[-3000:])

    # The folder is whole: what a run leaves, and what the search does.
    folder = Folder(job.folder)
    run = folder.read_record("train/lsgan-seed0/run.json", RunRecord)
    assert run is not None and run.state == "finished" and run.world_size == 2
    assert folder.read_lines("train/lsgan-seed0/history.jsonl", History)[-1].step == run.step
    assert (folder / "train" / "lsgan-seed0" / "tensorboard").names()
    assert len(json.loads(folder.read("search/lsgan/trials.json") or b"")) == 2

    # Of Tune's own files the storage has heard nothing: nobody reads them.
    (seen,) = tmp_path_factory.getbasetemp().glob("s3[0-9]/server.log")
    requests = [line for line in seen.read_text().splitlines() if f"/{bucket}" in line]
    assert any("/search/lsgan/trial-00001/" in line for line in requests), "the server's log names its requests"
    told = (f"/search/{LEFTOVER}", "experiment_state", "/result.json", "/progress.csv", "/params.json")
    assert [line for line in requests if any(name in line for name in told)] == []

    # Each command reads it, given the storage or the job's own address.
    command(capsys, "list", "--storage", storage, says=job.id)
    command(capsys, "status", job.id[:12], "--storage", storage, says="SUCCEEDED")
    command(capsys, "report", job.folder, says="lsgan")
    pulled = tmp_path / "pulled"
    command(capsys, "pull", job.id, str(pulled), "--all", "--storage", storage, says=str(pulled))
    assert (pulled / "report" / "report.html").is_file() and (pulled / "model" / "generator.safetensors").is_file()
    assert (pulled / "train" / "lsgan-seed0" / "run.json").is_file()

    # The secret: not in the folder, not in the driver's log, not in Ray's logs and list of jobs.
    jobs = repr(drivers._client(drivers.Target(cluster.dashboard, local.token())).list_jobs())
    assert job.id in jobs and storage in jobs and SECRET not in jobs and SECRET not in log
    files = [path for root in (pulled, Path(cluster.temp)) for path in root.rglob("*") if path.is_file()]
    assert [str(path) for path in files if SECRET.encode() in path.read_bytes()] == []
    assert any(path.name == f"job-driver-{job.id}.log" for path in files)


@pytest.mark.ray
def test_a_cluster_of_other_credentials_is_not_used(
    tiny: Callable[..., JobSpec], cluster: local.Cluster, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of another user")
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(ClusterError) as caught:
        api.submit(tiny(), storage=f"s3://{bucket}/jobs")
    assert "started with another AWS_SECRET_ACCESS_KEY, AWS_REGION than is set here" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert api.jobs(f"s3://{bucket}/jobs") == []


def command(capsys: pytest.CaptureFixture[str], *words: str, says: str) -> None:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        app.main(words)
    assert not ended.value.code and says in capsys.readouterr().out
